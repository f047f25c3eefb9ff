"""`run --trace` and `run --watch` as a user types them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.cli.test_commands import ROOT, assert_one_line_error, trm

NINE = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
HARD = "8..........36......7..9.2...5...7.......457.....1...3...1....68..85...1..9....4.."


def test_a_trace_beside_the_answers(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text(f"{NINE}\nrubbish\n{HARD}\n")
    result = trm("run", "--attempts", 1, "p.txt", "-o", "a.jsonl", "--trace", "t.json", cwd=tmp_path)
    assert result.returncode == 2, "one is unreadable"
    traces = json.loads((tmp_path / "t.json").read_text())["traces"]
    answers = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    solved = [answer for answer in answers if "error" not in answer]
    assert [trace["place"] for trace in traces] == ["p.txt line 1", "p.txt line 3"]
    for trace, answer in zip(traces, solved):
        last = trace["steps"][-1]
        assert (last["answer"], last["step"], last["verified"]) == (
            answer["answer"],
            answer["steps"],
            answer["verified"],
        )
    assert_one_line_error(trm("run", NINE, "--trace", "t.json", cwd=tmp_path), 2, "t.json: exists already")
    assert trm("run", NINE, "--trace", "t.json", "--force", cwd=tmp_path).returncode == 0
    assert len(json.loads((tmp_path / "t.json").read_text())["traces"]) == 1


def test_a_picture_shows_the_first_of_several_and_says_so(tmp_path: Path) -> None:
    result = trm("run", "--attempts", 1, NINE, HARD, "--trace", "t.png", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "t.png shows the first of 2 puzzles; name the one that you want" in result.stderr
    assert result.stdout.count("argument line 1") == 2, "all are solved"


def test_what_makes_no_sense_is_refused_before_the_work(tmp_path: Path) -> None:
    for flags, complaint in (
        (("--trace", "t.bmp"), "expected one of .html, .json, .gif, .png"),
        (("--trace", "t.html", "--ray", "local"), "leave out one of them"),
        (("--watch",), "is not a terminal that can; to write the steps to a page, use --trace FILE.html"),
        (("--watch", "--json"), "does not go with --json"),
        (("--watch", "-o", "a.jsonl"), "does not go with -o"),
    ):
        assert_one_line_error(trm("run", NINE, *flags, cwd=tmp_path), 2, complaint)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")
def test_watch_draws_in_a_terminal(tmp_path: Path) -> None:
    import fcntl
    import pty
    import struct
    import termios

    main, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    import subprocess

    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "trm_deploy", "run", NINE, "--watch", "--trace", "t.json"]
    with subprocess.Popen(command, stdout=terminal, stderr=subprocess.PIPE, cwd=tmp_path, env=environment) as running:
        os.close(terminal)
        shown = b""
        while True:
            try:
                block = os.read(main, 1 << 16)
            except OSError:  # the other end is closed
                break
            if not block:
                break
            shown += block
        assert running.stderr is not None
        complaints = running.stderr.read().decode()
    os.close(main)
    assert running.returncode == 0, complaints
    text = shown.decode()
    assert "argument line 1" in text
    assert "attempt 1, step 1: halting logit" in text
    assert "verified: 1 step" in text
    (trace,) = json.loads((tmp_path / "t.json").read_text())["traces"]
    assert trace["steps"][-1]["verified"]
