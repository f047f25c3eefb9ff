"""The puzzles, one module a task: text <-> tokens, validity of a question, check of an answer, symmetries, drawing."""

from __future__ import annotations

import re

from trm_deploy.errors import InputError
from trm_deploy.puzzles.base import Puzzle, Symmetries
from trm_deploy.puzzles.maze import SIDES, Maze
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


_MAZE = re.compile(r"maze-([1-9]\d{0,2})x([1-9]\d{0,2})")


def names() -> tuple[str, ...]:
    """The tasks that `get` knows; mazes have any size."""
    return (*_PUZZLES, "maze-ROWSxCOLUMNS")


def get(name: str) -> Puzzle:
    """The task of that name, as in `TaskSpec.name`.

    Raises:
        InputError: no task has that name.
    """
    if name in _PUZZLES:
        return _PUZZLES[name]
    if match := _MAZE.fullmatch(name):
        rows, columns = map(int, match.groups())
        if rows not in SIDES or columns not in SIDES:
            raise InputError(
                f"the task {name!r} has {rows} rows and {columns} columns, expected {SIDES[0]} to {SIDES[-1]} of each"
            )
        return Maze(rows, columns)
    raise InputError(f"the task {name!r} is unknown, expected one of {', '.join(names())}")
