"""The shipped model that a run takes where none is named."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from trm_deploy import puzzles
from trm_deploy.artefacts import shipped
from trm_deploy.errors import InputError
from trm_deploy.puzzles.base import TextPuzzle
from trm_deploy.runtimes.solving.choosing import choose
from trm_deploy.runtimes.solving.session import open_session

TASKS = {"sudoku": "sudoku-9x9", "maze": "maze-5x4"}


@pytest.fixture(autouse=True)
def _shipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = shipped.models()[0]
    found = tuple(replace(model, name=name, task=task) for name, task in TASKS.items())
    monkeypatch.setattr(shipped, "models", lambda: found)
    monkeypatch.chdir(tmp_path)


def write(task: str) -> str:
    puzzle = puzzles.get(task)
    assert isinstance(puzzle, TextPuzzle)
    Path(f"{task}.txt").write_text(puzzle.text(puzzle.examples()[0]))
    return f"{task}.txt"


def test_the_model_of_the_task_is_taken() -> None:
    for name, task in TASKS.items():
        assert choose([write(task), write(task)]).name == name


def test_a_model_that_nobody_named_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "trm_deploy")
    assert open_session(choose([write("sudoku-9x9")])).assumed
    assert caplog.messages == ["model: sudoku, for sudoku-9x9 (shipped with the package)"]
    assert not open_session(Path("sudoku")).assumed
    assert len(caplog.messages) == 1


def test_where_nothing_can_be_told_it_is_the_first() -> None:
    assert choose(["none.txt", "hello"]).name == "sudoku"
    assert choose(["none.txt", write("maze-5x4")]).name == "maze"


def test_puzzles_of_two_tasks_are_refused() -> None:
    with pytest.raises(InputError) as raised:
        choose([write("maze-5x4"), write("sudoku-9x9")])
    assert str(raised.value) == (
        "these puzzles need different models: maze-5x4.txt is for maze-5x4, sudoku-9x9.txt is for sudoku-9x9;"
        " run them one after the other"
    )


@pytest.mark.parametrize(
    ("task", "what", "cure"),
    [
        ("sudoku-4x4", "a Sudoku of 4 x 4", ", or train one: trm-deploy train sudoku-4x4"),
        ("sudoku-6x6", "a Sudoku of 6 x 6", ", or train one: trm-deploy train sudoku-6x6-trm-mlp"),
        ("maze-6x6", "a maze of 36 cells in one line", ", or train one: trm-deploy data build maze --size 6x6"),
        ("maze-6x7", "a maze of 42 cells in one line", ""),
    ],
)
def test_what_no_model_is_for_is_refused_with_what_to_do(task: str, what: str, cure: str) -> None:
    with pytest.raises(InputError) as raised:
        choose([write(task)])
    assert str(raised.value) == (
        f"{task}.txt: holds {what}, for which no model is shipped (shipped: sudoku for sudoku-9x9, maze for maze-5x4);"
        f" name one of your own with --engine FILE{cure}"
    )


def test_arc_without_a_model() -> None:
    Path("t.json").write_text('{"train": [{"input": [[1]], "output": [[1, 2]]}], "test": [{"input": [[1]]}]}')
    with pytest.raises(InputError, match=r"an ARC task with grids of up to 2 x 2, .* build arc --challenges t\.json"):
        choose(["t.json"])
