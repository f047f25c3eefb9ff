"""`run` as a user types it: a puzzle as the argument, --strict, what is refused and how, what a finished file says."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.cli.test_commands import ROOT, assert_one_line_error, trm

NINE = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
HARD = "8..........36......7..9.2...5...7.......457.....1...3...1....68..85...1..9....4.."


def test_a_puzzle_as_the_argument_is_solved(tmp_path: Path) -> None:
    result = trm("run", NINE, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("argument line 1\n+")
    assert "verified: 1 step" in result.stdout
    line = json.loads(trm("run", "--json", NINE, cwd=tmp_path).stdout)
    assert line["verified"] is True
    assert_one_line_error(trm("run", NINE[:80], cwd=tmp_path), 2, "there is no such file")
    assert_one_line_error(
        trm("run", NINE[:80] + "x", cwd=tmp_path), 2, "argument line 1 column 81: found 'x', expected"
    )
    assert_one_line_error(
        trm("run", "1234341221434321", cwd=tmp_path),
        2,
        "argument: holds a Sudoku of 4 x 4, for which no model is shipped (shipped: sudoku for sudoku-9x9",
        "--engine FILE, or train one: trm-deploy train sudoku-4x4",
    )


def test_without_an_engine_the_puzzles_choose_the_model(tmp_path: Path) -> None:
    maze = (ROOT / "examples" / "maze.txt").read_text()
    for words in ((ROOT / "examples" / "maze.txt",), (maze,), ("--engine", "maze", maze)):
        result = trm("run", *words, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert "verified: " in result.stdout
        assert ("model: maze, for maze-12x12" in result.stderr) == (len(words) == 1)
    (tmp_path / "m.txt").write_text("#####\n#S G#\n#####\n")
    assert_one_line_error(
        trm("run", "m.txt", cwd=tmp_path),
        2,
        "m.txt: holds a maze of 3 x 5, for which no model is shipped (shipped: sudoku for sudoku-9x9, ",
        "maze for maze-12x12",
        "--engine FILE, or train one: trm-deploy data build maze --size 3x5",
    )
    assert_one_line_error(trm("run", "-e", "mase", "m.txt", cwd=tmp_path), 2, "mase: there is no such file", "maze")


def test_the_shipped_models_are_listed() -> None:
    text, document = trm("models").stdout, json.loads(trm("models", "--json").stdout)
    for model in document["models"]:
        assert f"{model['name']}: {model['task']}\n" in text
        assert Path(model["card"]).is_file()
        for measured in model["measured"]:
            assert f"{measured['verified']:.1%} of {measured['puzzles']}" in text
    assert {"sudoku", "maze"} <= {model["name"] for model in document["models"]}


def test_strict_exits_with_5_where_an_answer_is_not_verified(tmp_path: Path) -> None:
    flags = ("--max-steps", 1)
    (tmp_path / "p.txt").write_text(f"{NINE}\n{HARD}\n")
    assert trm("run", *flags, "p.txt", cwd=tmp_path).returncode == 0
    result = trm("run", *flags, "--strict", "p.txt", "-o", "a.jsonl", cwd=tmp_path)
    assert_one_line_error(result, 5, "1 of 2 answers are not verified, which --strict does not allow", "--attempts")
    assert "2 puzzles, 1 verified" in result.stderr
    # Answers of an earlier run count too.
    assert_one_line_error(
        trm("run", *flags, "--strict", "p.txt", "-o", "a.jsonl", "--resume", cwd=tmp_path), 5, "1 of 2 answers"
    )
    assert trm("run", *flags, "--strict", NINE, cwd=tmp_path).returncode == 0
    (tmp_path / "q.txt").write_text(f"{HARD}\nrubbish\n")
    assert trm("run", *flags, "--strict", "q.txt", cwd=tmp_path).returncode == 2


def test_a_finished_file_says_that_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text(f"{NINE}\n" * 3)
    assert trm("run", "p.txt", "-o", "a.jsonl", cwd=tmp_path).returncode == 0
    result = trm("run", "p.txt", "-o", "a.jsonl", "--resume", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "a.jsonl: has 3 answers; checking 3 of the last ones" in result.stderr
    assert "nothing left to do" in result.stderr
    assert "puzzles a second" not in result.stderr


def test_a_finished_file_with_unreadable_puzzles_says_why_the_exit_code_is_2(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text(f"{NINE}\nrubbish\n")
    assert trm("run", "p.txt", "-o", "a.jsonl", cwd=tmp_path).returncode == 2
    result = trm("run", "p.txt", "-o", "a.jsonl", "--resume", cwd=tmp_path)
    assert result.returncode == 2
    assert "a.jsonl: has 2 answers (1 unreadable); checking 2 of the last ones" in result.stderr


def test_unreadable_puzzles_are_counted_apart_and_have_no_rate(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("rubbish\nmore\n")
    result = trm("run", "p.txt", cwd=tmp_path)
    assert result.returncode == 2
    assert "0 puzzles, 0 verified, 2 unreadable" in result.stderr
    assert "a second" not in result.stderr


def test_a_folder_named_by_a_dot(tiny_checkpoint: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_checkpoint, tmp_path / "tiny.pt")
    direct = trm("run", "-e", "tiny.pt", "--json", "1...............", cwd=tmp_path)
    folder = trm("run", "-e", ".", "--json", "1...............", cwd=tmp_path)
    assert folder.returncode == direct.returncode == 0, folder.stderr
    assert [json.loads(result.stdout)["answer"] for result in (direct, folder)] == [
        json.loads(direct.stdout)["answer"]
    ] * 2
    for arguments in (("export", "."), ("inspect", ".")):
        result = trm(*arguments, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert "Traceback" not in result.stderr
    assert [path.suffix for path in tmp_path.iterdir() if path.suffix == ".onnx"] == [".onnx"]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert_one_line_error(trm("run", "-e", ".", NINE, cwd=empty), 2, "is a folder without a checkpoint")


def test_what_is_given_twice_or_contradicts_itself_is_refused(tmp_path: Path) -> None:
    assert_one_line_error(
        trm("run", "-e", "a.onnx", "-e", "b.onnx", NINE), 2, "--engine is given 2 times (a.onnx, b.onnx)", "parity"
    )
    assert_one_line_error(trm("run", NINE, "--resume", "--force", "-o", "a"), 2, "leave out one of them")
    (tmp_path / "a.png").touch()
    result = trm("run", NINE, "--png", tmp_path / "a.png")
    assert_one_line_error(result, 2, "a.png: is a file, expected a folder", "name a folder with --png")
    assert result.stdout == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_device() -> None:
    result = trm("run", NINE, "-o", "/dev/full")
    assert_one_line_error(result, 1, "/dev/full: cannot be written (No space left on device)")
    assert trm("run", NINE, "-o", os.devnull).returncode == 0


def test_the_help_says_what_is_checked_and_what_strict_does() -> None:
    text = " ".join(trm("run", "--help").stdout.split())
    assert "up to 8 of its last answers again to check them" in text
    assert "Exit with code 5 if any answer is not verified; without it, such a run exits with 0." in text
