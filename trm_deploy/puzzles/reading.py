"""Reads puzzles from text: one a line, a drawn grid, CSV, standard input. Every complaint names file, line and column.

Readers yield as they go and bound a line's length, so that a huge or binary file is refused before it fills memory.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from trm_deploy.errors import InputError, PuzzleError
from trm_deploy.puzzles.base import Puzzle, Tokens

# A CSV line of the published sets is under 300 characters.
MAX_LINE = 10_000
CSV_COLUMNS = ("puzzle", "question")
# What may frame a drawn grid.
FRAME = "+-=|"

Position = tuple[int, int]  # line and column, from 1


@dataclass(frozen=True)
class Question:
    """One puzzle as read.

    Attributes:
        place: where it came from, as in "puzzles.txt line 3".
        text: as it was written, joined to one line where it was a grid.
        tokens: int32 [L]; None where it could not be read.
        error: what is wrong; empty where nothing is.
    """

    place: str
    text: str
    tokens: Tokens | None
    error: str = ""


def read(name: str, puzzle: Puzzle) -> Iterator[Question]:
    """The puzzles of a file, or of standard input where `name` is "-".

    A puzzle that cannot be read comes as a `Question` with an error, so that the others can be solved.

    Raises:
        InputError: the file as a whole cannot be read: missing, a folder, binary, empty, a line without end,
            CSV without a usable column.
    """
    if name == "-":
        yield from _questions(sys.stdin.buffer, "standard input", puzzle)
        return
    path = Path(name)
    if not path.exists():
        raise InputError(f"{name}: there is no such file", hint="name a file with puzzles, or - for standard input")
    if path.is_dir():
        raise InputError(f"{name}: is a folder, expected a file with puzzles")
    try:
        with path.open("rb") as file:
            yield from _questions(file, name, puzzle)
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror})") from error


def _questions(file: BinaryIO, name: str, puzzle: Puzzle) -> Iterator[Question]:
    lines = _content_lines(file, name)
    first = next(lines, None)
    if first is None:
        raise InputError(f"{name}: holds no puzzle", hint=f"expected a line of {puzzle.cells} characters")
    following = _chain(first, lines)
    if "," in first[1] or first[1].strip().lower() in CSV_COLUMNS:
        yield from _from_csv(following, name, puzzle)
    else:
        yield from _from_lines(following, name, puzzle)


def _content_lines(file: BinaryIO, name: str) -> Iterator[tuple[int, str]]:
    """Numbered lines without comments and blank ones."""
    number = 0
    while raw := file.readline(MAX_LINE + 1):
        number += 1
        if len(raw) > MAX_LINE:
            raise InputError(f"{name} line {number}: is longer than {MAX_LINE:,} characters, expected a puzzle a line")
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{name} line {number} column {error.start + 1}: is no text (byte 0x{raw[error.start]:02x}),"
                " expected a file with puzzles"
            ) from error
        if "\0" in line:
            raise InputError(f"{name} line {number} column {line.index(chr(0)) + 1}: is no text (a zero byte)")
        line = line.partition("#")[0].rstrip()
        if line.strip():
            yield number, line


def _chain(first: tuple[int, str], rest: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    yield first
    yield from rest


def _from_csv(lines: Iterator[tuple[int, str]], name: str, puzzle: Puzzle) -> Iterator[Question]:
    column: int | None = None
    for number, line in lines:
        place = f"{name} line {number}"
        try:
            row = next(csv.reader(io.StringIO(line), strict=True))
        except (csv.Error, StopIteration) as error:
            yield Question(place, line, None, f"{place}: is no CSV row ({error})")
            continue
        if column is None:
            header = [cell.strip().lower() for cell in row]
            named = [header.index(key) for key in CSV_COLUMNS if key in header]
            column = named[0] if named else 0
            if named:
                continue
            if not _looks_like_a_puzzle(row[0].strip(), puzzle):
                raise InputError(
                    f"{place}: no column is named {' or '.join(CSV_COLUMNS)} (found {', '.join(header)[:80]})"
                    " and the first holds no puzzle"
                )
        if column >= len(row):
            yield Question(
                place, line, None, f"{place}: has {len(row)} columns, the puzzle is expected in number {column + 1}"
            )
            continue
        start = max(line.find(row[column]), 0)
        positions = [(number, start + offset + 1) for offset in range(len(row[column]))]
        yield _question(row[column], positions, place, name, puzzle)


def _looks_like_a_puzzle(text: str, puzzle: Puzzle) -> bool:
    # Enough to tell a header from data; a malformed puzzle is complained about as one.
    return any(character.isdigit() for character in text) or len(text) == puzzle.cells


def _from_lines(lines: Iterator[tuple[int, str]], name: str, puzzle: Puzzle) -> Iterator[Question]:
    """One puzzle a line, or a grid: lines with as many cells as a row are collected until they make a puzzle."""
    side = round(puzzle.cells**0.5)
    text = ""
    positions: list[Position] = []  # of each character of text
    for number, line in lines:
        cells = [(column, c) for column, c in enumerate(line, start=1) if c not in FRAME and not c.isspace()]
        if not cells:  # a line that only draws the frame
            continue
        place = f"{name} line {number}"
        if len(cells) == side:
            text += "".join(character for _, character in cells)
            positions += [(number, column) for column, _ in cells]
            if len(text) == puzzle.cells:
                yield _question(text, positions, f"{name} lines {positions[0][0]}-{number}", name, puzzle)
                text, positions = "", []
            continue
        if text:
            row = len(text) // side + 1
            error = f"{place}: row {row} of a grid has {len(cells)} cells, expected {side}"
            yield Question(place, text + line.strip(), None, error)
            text, positions = "", []
            continue
        start = len(line) - len(line.lstrip())
        stripped = line.strip()
        yield _question(stripped, [(number, start + i + 1) for i in range(len(stripped))], place, name, puzzle)
    if text:
        place = f"{name} line {positions[0][0]}"
        yield Question(place, text, None, f"{place}: the grid ends after {len(text) // side} rows, expected {side}")


def _question(text: str, positions: list[Position], place: str, name: str, puzzle: Puzzle) -> Question:
    try:
        tokens = puzzle.parse_line(text)
    except PuzzleError as error:
        if error.position is not None:
            line, column = positions[error.position]
            return Question(place, text, None, f"{name} line {line} column {column}: {error}")
        return Question(place, text, None, f"{place}: {error}")
    faults = puzzle.question_faults(tokens)
    if faults:
        return Question(place, text, None, f"{place}: the givens break the rules: {'; '.join(faults)}")
    return Question(place, text, tokens)
