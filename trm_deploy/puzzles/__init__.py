"""The puzzles, one module a task: text <-> tokens, validity of a question, check of an answer, symmetries, drawing."""

from __future__ import annotations

from trm_deploy.errors import InputError
from trm_deploy.puzzles.base import Puzzle, Symmetries
from trm_deploy.puzzles.sudoku import Sudoku

__all__ = ["Puzzle", "Symmetries", "get", "names"]

_PUZZLES: dict[str, Puzzle] = {
    puzzle.name: puzzle
    for puzzle in (
        Sudoku(box_rows=2, box_columns=2),
        Sudoku(box_rows=2, box_columns=3),
        Sudoku(box_rows=3, box_columns=3),
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
