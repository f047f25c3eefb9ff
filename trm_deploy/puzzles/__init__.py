"""The puzzles, one module a task: text <-> tokens, validity of a question, check of an answer, symmetries, drawing."""

from __future__ import annotations

from collections.abc import Iterator

from trm_deploy.errors import InputError
from trm_deploy.puzzles import arc_tasks, reading
from trm_deploy.puzzles.arc import Arc
from trm_deploy.puzzles.base import Puzzle, Symmetries
from trm_deploy.puzzles.reading import Question
from trm_deploy.puzzles.sudoku import Sudoku

__all__ = ["Puzzle", "Symmetries", "Question", "get", "names", "questions"]

_PUZZLES: dict[str, Puzzle] = {
    puzzle.name: puzzle
    for puzzle in (
        Sudoku(box_rows=2, box_columns=2),
        Sudoku(box_rows=2, box_columns=3),
        Sudoku(box_rows=3, box_columns=3),
        Arc(),
    )
}


def names() -> tuple[str, ...]:
    """The tasks that `get` knows."""
    return tuple(_PUZZLES)


def get(name: str) -> Puzzle:
    """The task of that name, as in `TaskSpec.name`.

    Raises:
        InputError: no task has that name.
    """
    try:
        return _PUZZLES[name]
    except KeyError:
        raise InputError(f"the task {name!r} is unknown, expected one of {', '.join(_PUZZLES)}") from None


def questions(name: str, puzzle: Puzzle) -> Iterator[Question]:
    """The questions in a file of the task, or in standard input where `name` is "-".

    Raises:
        InputError: the file as a whole cannot be read.
    """
    return arc_tasks.questions(name) if isinstance(puzzle, Arc) else reading.read(name, puzzle)
