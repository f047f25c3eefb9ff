"""The formats of puzzle text, one reader each, in one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from trm_deploy.errors import InputError
from trm_deploy.puzzles.text import cells, code, jsonl, lines, mazes, sections, tables, xml
from trm_deploy.puzzles.text.question import Question, Reading
from trm_deploy.puzzles.text.source import Source

SURE = 3


@dataclass(frozen=True)
class Format:
    """How puzzles are written in a file.

    Attributes:
        name: of `--input-format`.
        help: what it is, in a few words.
        looks_like: how surely a file is in this format: 0 no, 1 perhaps, 2 likely, 3 sure. Looks no further than it
            has to, because whoever types puzzles waits for the answer.
        read: the puzzles, each that cannot be read with what is wrong.
    """

    name: str
    help: str
    looks_like: Callable[[Source, Reading], int]
    read: Callable[[Source, Reading], Iterator[Question]]


# In the order in which they are tried; of those that are equally likely the first is taken.
FORMATS = (
    Format("lines", "a puzzle a line, remarks beside it", lines.looks_like_lines, lines.read_lines),
    Format("grids", "rows, in a frame or without one", lines.looks_like_grids, lines.read_grids),
    Format("jsonl", "JSON Lines, our own answers among them", jsonl.looks_like, jsonl.read),
    Format("xml", "OpenSudoku", xml.looks_like, xml.read),
    Format("sadman", "sections such as [Puzzle] and [State]", sections.looks_like, sections.read),
    Format("code", "JSON, Python lists, NumPy, arrays of other languages", code.looks_like, code.read),
    Format("csv", "a puzzle a row, in a column", tables.looks_like_csv, tables.read_csv),
    Format("cells", "CSV with a cell a column", cells.looks_like, cells.read),
)
BY_NAME = {format.name: format for format in FORMATS}
# Of tasks whose cells may be spaces: a maze has # for a wall, and no frame.
_MAZES = ("jsonl", "csv")


def names() -> tuple[str, ...]:
    """What `--input-format` takes."""
    return tuple(BY_NAME)


def chosen(source: Source, reading: Reading, name: str | None) -> Callable[[Source, Reading], Iterator[Question]]:
    """The reader of a file: of the format that was named, else of the one that the file looks like.

    Raises:
        InputError: there is no such format, or not for this task; or the file is of another kind.
    """
    source.refuse_other_kinds()
    spaces = reading.puzzle.form.spaces_are_cells
    if name is not None:
        if name not in BY_NAME:
            raise InputError(f"the input format {name!r} is unknown, expected one of {', '.join(BY_NAME)}")
        if not spaces:
            return BY_NAME[name].read
        if name in ("lines", "grids"):
            return mazes.read
        if name not in _MAZES:
            raise InputError(
                f"the input format {name} is for Sudoku, {reading.puzzle.name} is read from lines, grids, csv or jsonl"
            )
        return BY_NAME[name].read
    best, found = 0, None
    for format in FORMATS:
        if spaces and format.name not in _MAZES:
            continue
        score = format.looks_like(source, reading)
        if score > best:
            best, found = score, format
        if score == SURE:
            break
    if found is None or (spaces and best == 0):
        return mazes.read if spaces else lines.read_mixed
    return found.read
