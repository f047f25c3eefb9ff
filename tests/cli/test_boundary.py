"""The error boundary and what every command shares: exit codes, messages, --quiet, --debug, colours, odd terminals."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.test_commands import ROOT, assert_one_line_error, trm
from tests.conftest import ASSETS
from trm_deploy.cli.options import resumable
from trm_deploy.errors import Interrupted, TrmDeployError
from trm_deploy.support import terminal

PUZZLE = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"


@pytest.mark.parametrize("words", [(), ("data",), ("data", "build")])
def test_a_bare_command_shows_its_help_and_no_error(words: tuple[str, ...]) -> None:
    result = trm(*words)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"Usage: {' '.join(('trm-deploy', *words))} [OPTIONS] COMMAND")
    assert "\nCommands:\n" in result.stdout


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_version(flag: str) -> None:
    assert trm(flag).stdout == "trm-deploy 0.1.0\n"


def test_debug_may_stand_before_and_after_the_command(tmp_path: Path) -> None:
    for words in (("--debug", "inspect", tmp_path / "none.pt"), ("inspect", tmp_path / "none.pt", "--debug")):
        result = trm(*words)
        assert result.returncode == 2
        assert "Traceback" in result.stderr
        assert result.stderr.endswith(f"error: {tmp_path / 'none.pt'}: there is no such file\n")


def test_quiet_hides_messages_and_keeps_answers_and_errors(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text(f"{PUZZLE}\n" * 2)
    told = trm("run", "p.txt", cwd=tmp_path)
    assert "2 puzzles, 2 verified" in told.stderr
    for words in (("run", "p.txt", "-q"), ("--quiet", "run", "p.txt")):
        quiet = trm(*words, cwd=tmp_path)
        assert (quiet.returncode, quiet.stderr) == (0, "")
        assert quiet.stdout.count("verified: ") == 2
    assert_one_line_error(trm("run", "none.txt", "-q", cwd=tmp_path), 2, "none.txt: there is no such file")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("run", "x", "--attempts", "abc"), ("--attempts", "'abc' is not a whole number of at least 1")),
        (("run", "x", "--max-steps", "0"), ("--max-steps", "'0' is not a whole number from 1 to 65536")),
        (("run", "x", "--halt-threshold", "high"), ("'high' is not a number, inf or -inf",)),
        (("run", "x", "--precision", "int8"), ("'int8' is not one of fp32, bf16, fp16",)),
        (("parity", "x", "y", "--atol", "-1"), ("--atol", "'-1' is not a number of at least 0")),
        (("export", "x", "--format", "tflite"), ("'tflite' is not one of onnx, trt, rtx",)),
        (("export", "x", "--opset", "21"), ("'21' is not a whole number from 18 to 20",)),
        (("export", "x", "--steps", "0"), ("--steps", "from 1 to 65536")),
        (("export", "x", "--compute-capability", "abc"), ("'abc' is not a list of compute capabilities such as",)),
        (("tune", "x", "y", "--max-loss", "9" * 5000), ("is not a number of at least 0",)),
        (("run", "x", "--seed", "9" * 5000), ("is not a whole number of at least 0",)),
        (("data", "build", "sudoku", "--size", "5x5"), ("'5x5' is not one of 9x9, 6x6, 4x4",)),
        (("data", "build", "maze", "--size", "big"), ("'big' is not ROWSxCOLUMNS",)),
    ],
)
def test_values_are_checked_where_they_are_typed(words: tuple[str, ...], parts: tuple[str, ...]) -> None:
    result = trm(*words)
    assert_one_line_error(result, 2, *parts, "; type: trm-deploy ")
    assert ".;" not in result.stderr
    assert "Value error" not in result.stderr


def test_usage_errors_have_no_full_stop_before_the_hint() -> None:
    for words in (("export",), ("nonsense",), ("exprt",), ("data", "nonsense"), ("export", "x", "--nonsense")):
        result = trm(*words)
        assert_one_line_error(result, 2, "; type: trm-deploy")
        assert ".;" not in result.stderr


def test_a_full_standard_output_is_named() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "trm_deploy", "inspect", ASSETS / "sudoku.onnx"],
            stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "error: standard output: No space left on device\n")


def test_a_runtime_is_checked_by_the_table_of_back_ends() -> None:
    result = trm("run", PUZZLE, "--runtime", "abacus")
    assert_one_line_error(result, 2, "abacus", "expected one of", "onnxruntime")
    solved = trm("run", PUZZLE, "--runtime", "onnxruntime", "-q")
    assert (solved.returncode, "verified: " in solved.stdout) == (0, True)
    assert_one_line_error(trm("run", PUZZLE, "--runtime", "torch"), 2, "--runtime torch")


def test_set_reaches_every_command_that_reads_a_published_checkpoint() -> None:
    for words in (("run", PUZZLE, "-e"), ("inspect",)):
        result = trm(*words, ASSETS / "sudoku.onnx", "--set", "task=sudoku-9x9")
        assert_one_line_error(result, 2, "--set")


def test_a_path_that_cannot_be_read_is_unusable_input(tmp_path: Path) -> None:
    name = "x" * 300
    for words in (("inspect", name), ("run", "-e", name, "-"), ("run", "x"), ("export", name), ("parity", name, name)):
        assert_one_line_error(trm(*words, cwd=tmp_path), 2, words[-1] if words[-1] != "-" else name)
    (tmp_path / "loop.onnx").symlink_to("loop.onnx")
    assert_one_line_error(trm("inspect", "loop.onnx", cwd=tmp_path), 2, "loop.onnx")


def test_a_full_disk_and_ctrl_c_name_the_file_and_the_way_on(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    for there, hint in ((False, "free some space"), (True, "free some space, then add --resume to go on")):
        if there:
            file.touch()
        with pytest.raises(TrmDeployError) as full, resumable(file):
            raise OSError(28, "No space left on device")
        assert str(full.value) == f"{file}: No space left on device; {hint}"
        with pytest.raises(Interrupted) as pressed, resumable(file):
            raise KeyboardInterrupt
        assert str(pressed.value) == "interrupted" + ("; add --resume to go on" if there else "")
    with pytest.raises(PermissionError), resumable(file):
        raise PermissionError(13, "Permission denied")


def test_names_that_the_locale_cannot_show(tmp_path: Path) -> None:
    shutil.copy(ASSETS / "sudoku.onnx", tmp_path / "é.onnx")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

    def run(name: bytes, *, ascii_only: bool) -> tuple[int, bytes]:
        done = subprocess.run(
            [sys.executable, "-m", "trm_deploy", "inspect", name],
            capture_output=True, cwd=tmp_path, env=environment if ascii_only else {**environment, "PYTHONUTF8": "1"},
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    code, out = run("é.onnx".encode(), ascii_only=True)
    assert (code, "é.onnx" in out.decode()) == (0, True)
    assert run("ü.pt".encode(), ascii_only=True) == (2, "error: ü.pt: there is no such file\n".encode())
    for ascii_only in (True, False):
        assert run(b"x\xff.pt", ascii_only=ascii_only) == (2, b"error: x\\udcff.pt: there is no such file\n")


# What a shell starts in the background ignores it, and so does all that is started by that.
HEED_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "


def test_ctrl_c_at_any_moment_of_the_start_is_one_line() -> None:
    """From the moment that our own first line runs."""
    for delay in (0.0, 0.02, 0.05, 0.1, 0.2):
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", f"{HEED_CTRL_C}from trm_deploy.cli import main; print(''); main()", "doctor"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "\n"
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (130, "error: interrupted\n"), delay


LOSE_CTRL_C = f"""{HEED_CTRL_C}
import sys, weakref
from trm_deploy.cli import main

class Finder:  # presses Ctrl-C inside a callback, whose errors Python drops, while the command's own code is imported
    def find_spec(name, path=None, target=None):
        if name == "trm_deploy.inspection.doctor":
            thing = Finder()
            watch = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
            del thing

sys.meta_path.insert(0, Finder)
main()
"""


def test_ctrl_c_is_not_lost_in_code_whose_errors_python_drops() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOSE_CTRL_C, "doctor"], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert (done.returncode, done.stderr) == (130, "error: interrupted\n")


class Screen:
    """A terminal."""

    def __init__(self, *, is_terminal: bool) -> None:
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@pytest.mark.parametrize(
    ("is_terminal", "environment", "colour", "moves"),
    [
        (True, {"TERM": "xterm"}, True, True),
        (True, {}, True, True),
        (False, {"TERM": "xterm"}, False, False),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, False, True),
        (True, {"TERM": "xterm", "NO_COLOR": ""}, True, True),  # the standard: present and not empty
        (True, {"TERM": "dumb"}, False, False),
    ],
)
def test_colours_and_bars_follow_the_terminal(
    is_terminal: bool, environment: dict[str, str], colour: bool, moves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    screen = Screen(is_terminal=is_terminal)
    assert (terminal.use_colour(screen), terminal.can_move(screen)) == (colour, moves)  # type: ignore[arg-type]
