"""The puzzles, one module a task: text <-> tokens, validity of a question, check of an answer, symmetries, drawing."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import numpy as np

from trm_deploy.errors import InputError
from trm_deploy.puzzles import arc, arc_tasks, reading
from trm_deploy.puzzles.arc import Arc
from trm_deploy.puzzles.base import Puzzle, Symmetries, TextPuzzle, Tokens
from trm_deploy.puzzles.maze import SIDES, Maze
from trm_deploy.puzzles.reading import Question
from trm_deploy.puzzles.sudoku import Sudoku

__all__ = ["Puzzle", "Symmetries", "Question", "get", "names", "questions", "read_tokens"]

_PUZZLES: dict[str, Puzzle] = {
    puzzle.name: puzzle
    for puzzle in (
        Sudoku(box_rows=2, box_columns=2),
        Sudoku(box_rows=2, box_columns=3),
        Sudoku(box_rows=3, box_columns=3),
        Arc(),
    )
}


_ARC = re.compile(r"arc-([1-9]\d{0,2})x\1")
_MAZE = re.compile(r"maze-([1-9]\d{0,2})x([1-9]\d{0,2})")


def names() -> tuple[str, ...]:
    """The tasks that `get` knows; mazes have any size, and so have the canvases of ARC."""
    return (*_PUZZLES, "arc-NxN", "maze-ROWSxCOLUMNS")


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
    if match := _ARC.fullmatch(name):
        side = int(match[1])
        if side >= arc.SIDE:
            raise InputError(
                f"the task {name!r} has a canvas of {side} x {side}, expected 1 to {arc.SIDE - 1}, or 'arc'"
            )
        return Arc(side)
    raise InputError(f"the task {name!r} is unknown, expected one of {', '.join(names())}")


def read_tokens(
    name: str,
    puzzle: Puzzle,
    limit: int | None = None,
    *,
    input_format: str | None = None,
    column: str | None = None,
) -> Tokens:
    """The first questions of a file, int32 [N, L]; all where `limit` is None. The rest is as for `questions`.

    Raises:
        InputError: the file, or one of these questions, cannot be read.
    """
    found = []
    asked = questions(name, puzzle, input_format=input_format, column=column)
    for question in itertools.islice(asked, limit):
        if question.tokens is None:
            raise InputError(question.error)
        found.append(question.tokens)
    return np.stack(found)


def questions(
    name: str, puzzle: Puzzle, *, input_format: str | None = None, column: str | None = None
) -> Iterator[Question]:
    """The questions in a file of the task, or in standard input where `name` is "-".

    Args:
        name: of the file.
        puzzle: the task.
        input_format, column: of puzzle text, see `trm_deploy.puzzles.text.read`.

    Raises:
        InputError: the file as a whole cannot be read, or these are given for a task that has no puzzle text.
    """
    if isinstance(puzzle, TextPuzzle):
        return reading.read(name, puzzle, input_format=input_format, column=column)
    for flag, given in (("--input-format", input_format), ("--column", column)):
        if given is not None:
            raise InputError(f"{flag} is for puzzle text, and {puzzle.name} is read from JSON", hint="leave it out")
    assert isinstance(puzzle, Arc)
    return arc_tasks.questions(name, puzzle.side)
