"""Which task puzzles are of, before a model is loaded: every form in which people have them, and what fits none."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from trm_deploy import puzzles
from trm_deploy.puzzles.base import TextPuzzle
from trm_deploy.puzzles.maze import Maze
from trm_deploy.puzzles.recognizing import NOTHING, Recognized, recognize

TASKS = [puzzles.get(name) for name in ("sudoku-9x9", "maze-5x4", "sudoku-6x6", "arc-4x4", "arc-6x6")]
TEXT = [task for task in TASKS if isinstance(task, TextPuzzle)]
FORMS = ("line", "grid", "csv", "jsonl", "crlf", "two")


def written(task: TextPuzzle, form: str, index: int = 0) -> str:
    line = task.text(task.examples()[index])
    rows = [line[start : start + task.form.columns] for start in range(0, len(line), task.form.columns)]
    return {
        "line": f"{line}\n",
        "grid": "\n".join(rows) + "\n",
        "csv": f"puzzle,rating\n{line},1\n",
        "jsonl": json.dumps({"puzzle": line}) + "\n",
        "crlf": "\r\n".join(rows) + "\r\n",
        "two": "\n".join(rows) + "\n\n" + "\n".join(rows) + "\n",
    }[form]


def named(text: str | bytes, folder: Path) -> str:
    path = folder / "p.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def grid(side: int) -> list[list[int]]:
    return [[1] * side for _ in range(side)]


def arc_task(side: int) -> dict[str, object]:
    return {"train": [{"input": grid(2), "output": grid(side)}], "test": [{"input": grid(1)}]}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("task", TEXT, ids=lambda task: task.name)
def test_a_task_is_told_in_every_form(
    task: TextPuzzle, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = written(task, form)
    assert recognize(named(text, tmp_path), TASKS).task is task
    assert recognize(text.rstrip("\r\n"), TASKS).task is task  # as an argument
    stdin = io.TextIOWrapper(io.BufferedReader(io.BytesIO(text.encode())))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert recognize("-", TASKS).task is task
    assert stdin.buffer.read() == text.encode()  # nothing was taken away


def test_a_malformed_puzzle_is_of_its_task(tmp_path: Path) -> None:
    maze = Maze(5, 4)
    without_start = written(maze, "grid").replace("S", " ")
    assert recognize(named(without_start, tmp_path), TASKS).task == maze
    without_both = named(without_start.replace("G", " "), tmp_path)
    assert recognize(without_both, TASKS) is NOTHING
    sudoku = puzzles.get("sudoku-6x6")
    assert isinstance(sudoku, TextPuzzle)
    bad = "1" * 36
    assert recognize(named(f"{bad}\n{written(sudoku, 'line')}", tmp_path), TASKS).task is sudoku


@pytest.mark.parametrize("name", ["sudoku-6x6", "sudoku-9x9"])
def test_a_sudoku_whose_givens_break_the_rules_is_of_its_task(name: str, tmp_path: Path) -> None:
    tasks = [puzzles.get("sudoku-9x9"), puzzles.get("sudoku-6x6")]
    bad = "11" + "." * (puzzles.get(name).cells - 2)
    for given in (bad, named(f"{bad}\n", tmp_path), named(f"puzzle\n{bad}\n", tmp_path)):
        assert recognize(given, tasks).task is puzzles.get(name)


@pytest.mark.parametrize("form", FORMS)
def test_a_maze_of_another_size_is_named(form: str, tmp_path: Path) -> None:
    found = recognize(named(written(Maze(7, 6), form), tmp_path), TASKS)
    whole = form in ("grid", "crlf", "two")
    assert found == (Recognized(None, "maze", 7, 6) if whole else Recognized(None, "maze", cells=42))
    assert found.to_text() == ("a maze of 7 x 6" if whole else "a maze of 42 cells in one line")


@pytest.mark.parametrize("form", FORMS)
def test_a_sudoku_of_another_size_is_named(form: str, tmp_path: Path) -> None:
    task = puzzles.get("sudoku-4x4")
    assert isinstance(task, TextPuzzle)
    assert recognize(named(written(task, form), tmp_path), TASKS) == Recognized(None, "sudoku", 4, 4)


def test_a_row_of_open_cells_is_a_row() -> None:
    maze = "    \n# S \n    \n G #\n    "
    assert recognize(f"\n{maze}\n\n####\n####", TASKS).task == Maze(5, 4)
    assert recognize(f"{maze}\n    ", TASKS) == Recognized(None, "maze", 6, 4)
    assert recognize(f"{maze}\n{maze}", TASKS).task == Maze(5, 4)


def test_mazes_one_a_line_are_no_grid(tmp_path: Path) -> None:
    text = "".join(written(Maze(7, 6), "line", index) for index in range(3))
    assert recognize(named(text, tmp_path), TASKS) == Recognized(None, "maze", cells=42)


@pytest.mark.parametrize("typed", ["#S #\n", "....5....\n", "1.3..6\n"])
def test_the_first_row_that_is_typed_tells_the_task(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(typed.encode()))))
    task = recognize("-", TASKS).task
    assert isinstance(task, TextPuzzle)
    assert task.form.columns == len(typed) - 1
    assert isinstance(task, Maze) == ("#" in typed)


def test_arc_takes_the_smallest_canvas_that_all_grids_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for side, task in ((3, TASKS[3]), (4, TASKS[3]), (5, TASKS[4]), (7, None)):
        for document in (arc_task(side), {"00aa": arc_task(2), "00bb": arc_task(side)}):
            name = named(json.dumps(document), tmp_path)
            assert recognize(name, TASKS) == Recognized(task, "arc", side, side)
            assert recognize(name, TASKS[:3]) == Recognized(None, "arc", side, side)
    (tmp_path / "t.json").write_text(json.dumps(arc_task(5)))
    assert recognize(str(tmp_path), TASKS).task is TASKS[4]  # a folder stands for its files
    text = json.dumps({"00aa": arc_task(2)})
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(text.encode()))))
    assert recognize("-", TASKS).task is TASKS[3]
    assert recognize(named(json.dumps({"00aa": [grid(2)]}), tmp_path), TASKS) is NOTHING  # solutions


@pytest.mark.parametrize(
    "text", ["", "\n\n", "hello\n", "# a comment\n", "####\n####\n", "S", b"\x89PNG\r\n\x1a\n\0\0", "{", '{"train": 1}']
)
def test_of_what_is_no_puzzle_nothing_is_told(text: str | bytes, tmp_path: Path) -> None:
    assert recognize(named(text, tmp_path), TASKS) is NOTHING


def test_of_what_is_not_there_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (str(tmp_path / "none.txt"), str(tmp_path), "/dev/null", "x" * 5000, "\0"):
        assert recognize(name, TASKS) is NOTHING
    monkeypatch.setattr(sys, "stdin", None)
    assert recognize("-", TASKS) is NOTHING
