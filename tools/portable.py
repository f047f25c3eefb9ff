"""Runs the torch-free part of trm-deploy as it is installed: CI does so on macOS, Windows and with the oldest typer.

    python tools/portable.py [--without-posix]

`--without-posix` takes away first what macOS and Windows lack of Linux, so that Linux can show what it can of them.
Needs the package with the extra `onnx`, and nothing of the checkout but examples/. Ends with 1 at the first command
that does not do what it should.
"""

from __future__ import annotations

import argparse
import builtins
import contextlib
import importlib
import io
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

# What is missing on macOS or Windows, but for what Python's own library calls on Linux.
MISSING = {
    os: "sched_getaffinity sched_setaffinity sched_yield posix_fadvise posix_fallocate memfd_create eventfd pidfd_open"
    " copy_file_range splice sendfile getrandom fdatasync preadv pwritev pread pwrite fork forkpty getuid geteuid"
    " getgid getegid getgroups getlogin getpgid getpgrp getsid setsid setpgid killpg uname mkfifo mknod chroot chown"
    " lchown"
    " fchmod fchown getloadavg openpty sysconf confstr statvfs fstatvfs nice sync ctermid getpriority setpriority wait3"
    " wait4 pathconf O_DIRECTORY O_NOFOLLOW O_DIRECT O_SYNC O_DSYNC O_NONBLOCK O_NOCTTY O_TMPFILE",
    signal: "SIGHUP SIGQUIT SIGKILL SIGUSR1 SIGUSR2 SIGALRM SIGCHLD SIGPIPE SIGTSTP SIGCONT SIGRTMIN SIGRTMAX alarm"
    " setitimer getitimer pthread_kill pthread_sigmask sigwait sigpending pause",
}
MODULES = ("fcntl", "resource", "termios", "tty", "pty", "pwd", "grp", "syslog", "readline", "curses")


def take_away() -> None:
    """What macOS and Windows lack goes; links and files below /proc and /sys as well."""
    import multiprocessing
    import shutil
    import subprocess

    import numpy
    import onnxruntime
    import typer

    loaded = (multiprocessing, shutil, subprocess, numpy, onnxruntime, typer)  # with what they need of Linux
    assert all(loaded)
    for name in ("cuda.bindings.runtime", "openvino", "tensorrt_rtx"):  # those of Linux, where they are installed
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for module, names in MISSING.items():
        for name in names.split():
            if hasattr(module, name):
                delattr(module, name)
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    os.symlink = _refused  # type: ignore[assignment]
    os.link = _refused  # type: ignore[assignment]
    io.open = builtins.open = _without_linux(io.open)  # type: ignore[assignment]


def _refused(*arguments: Any, **named: Any) -> None:
    raise OSError(1314, "A required privilege is not held by the client")


def _without_linux(really: Callable[..., Any]) -> Callable[..., Any]:
    def opened(file: Any, *arguments: Any, **named: Any) -> Any:
        if str(file).startswith(("/proc/", "/sys/")):
            raise FileNotFoundError(2, "No such file or directory", str(file))
        return really(file, *arguments, **named)

    return opened


def call(*words: str, stdin: str = "", code: int = 0) -> str:
    """A command in this process; what it prints on standard output."""
    from trm_deploy.cli import main

    out, err = io.StringIO(), io.StringIO()
    sys.argv, sys.stdin = ["trm-deploy", *words], io.TextIOWrapper(io.BytesIO(stdin.encode()), "utf-8")
    found: Any = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as ended:
            found = ended.code or 0
    if found != code:
        sys.exit(f"{' '.join(words)}: exit code {found}, expected {code}\n{out.getvalue()}{err.getvalue()}")
    print(f"ok: trm-deploy {' '.join(words)}")
    return out.getvalue() + (err.getvalue() if code else "")


def expect(held: bool, what: str) -> None:
    """End with 1 where something does not hold."""
    if not held:
        sys.exit(f"failed: {what}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run every command that needs neither PyTorch nor a GPU."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--without-posix", action="store_true")
    if parser.parse_args(arguments).without_posix:
        take_away()
    from trm_deploy.runtimes.solving.session import shipped_engine

    puzzle, puzzles = str(EXAMPLES / "puzzle.txt"), str(EXAMPLES / "puzzles.csv")
    for words in ((), ("run",), ("export",), ("data",), ("data", "build")):
        expect("Usage: trm-deploy" in call(*words, "--help"), f"{words} --help")
    expect("--nonsense" in call("run", puzzle, "--nonsense", code=2), "a wrong option is named")
    expect("verified" in call("run", puzzle), "the puzzle is solved")
    answers = [
        json.loads(line) for line in call("run", "-", "--json", stdin=Path(puzzle).read_text("utf-8")).splitlines()
    ]
    expect([answer["verified"] for answer in answers] == [True], "the puzzle from standard input is solved")
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder, "answers.jsonl")
        few = "".join(Path(puzzles).read_text("utf-8").splitlines(keepends=True)[:3])
        puzzles = str(Path(folder, "few.csv"))
        Path(puzzles).write_text(few, "utf-8")
        call("run", puzzles, "-o", str(written))
        whole = written.read_bytes()
        call("run", puzzles, "-o", str(written), "--resume")
        expect(written.read_bytes() == whole, "a finished run that is resumed changes nothing")
        call("run", puzzles, "-o", str(written), code=2)
        call("tune", str(shipped_engine("step")), puzzles, "--max-steps", "4", "--json")
    for graph in ("step", "loop"):
        engine = str(shipped_engine(graph))  # type: ignore[arg-type]
        expect(json.loads(call("inspect", engine, "--json"))["seal"] == "holds", f"{graph}: inspect")
    expect(json.loads(call("verify", str(shipped_engine("step")), "--json"))["passed"], "verify")
    expect("onnxruntime" in json.loads(call("doctor", "--json")), "doctor")
    expect("there is no such file" in call("inspect", "missing.onnx", code=2), "a missing file is named")
    print("all of it holds")


if __name__ == "__main__":
    main()
