"""Reads puzzles from text: one a line, a drawn grid, CSV, standard input. Every complaint names file, line and column.

Readers yield as they go and bound a line's length, so that a huge or binary file is refused before it fills memory.
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from trm_deploy.errors import InputError, PuzzleError
from trm_deploy.puzzles.base import TextPuzzle, Tokens

# A CSV line is under 300 characters in the published Sudoku sets, under 2,000 in Maze-Hard, and under 8,400 with the
# largest mazes.
MAX_LINE = 10_000
# Bytes from which the number of lines is estimated; smaller files are counted.
ESTIMATED_FROM = 1 << 18
CSV_COLUMNS = ("puzzle", "question")
ANSWER_COLUMNS = ("answer", "solution")

Position = tuple[int, int]  # line and column, from 1


@dataclass(frozen=True)
class Question:
    """One puzzle as read.

    Attributes:
        place: where it came from, as in "puzzles.txt line 3".
        text: as it was written, joined to one line where it was a grid.
        tokens: int32 [L]; None where it could not be read.
        error: what is wrong; empty where nothing is.
        line: line of the file, from 1, the first one of a grid; None where it is not from lines.
        columns: the other columns of its CSV row, by name; None where it is not a row of a CSV file.
        answer: the known answer int32 [L] beside it; None where there is none, or it is not a whole answer.
        has_answer: whether its CSV row has a column for the answer.
    """

    place: str
    text: str
    tokens: Tokens | None
    error: str = ""
    line: int | None = None
    columns: Mapping[str, str] | None = None
    answer: Tokens | None = None
    has_answer: bool = False


class OtherSize(InputError):
    """The puzzles are of another size of the same task."""


@dataclass(frozen=True)
class Answered:
    """A puzzle with its answer, as a line of a CSV file has them.

    Attributes:
        place: as of `Question`.
        question, answer: the text.
    """

    place: str
    question: str
    answer: str


def read(name: str, puzzle: TextPuzzle) -> Iterator[Question]:
    """The puzzles of a file, or of standard input where `name` is "-".

    A puzzle that cannot be read comes as a `Question` with an error, so that the others can be solved.

    Raises:
        InputError: the file as a whole cannot be read: missing, a folder, binary, empty, a line without end,
            CSV without a usable column.
    """
    if name == "-":
        yield from _questions(sys.stdin.buffer, "standard input", puzzle)
        return
    with _opened(name) as file:
        yield from _questions(file, name, puzzle)


def read_text(text: str, name: str, puzzle: TextPuzzle) -> Iterator[Question]:
    """The puzzles in a text itself; `name` is what messages call it. Raises as `read` does."""
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{name}: is not text (half of a surrogate pair is in it)") from error
    yield from _questions(io.BytesIO(data), name, puzzle)


def is_text_of(text: str, puzzle: TextPuzzle) -> bool:
    """Whether a text may be a puzzle itself rather than the name of a file: by its length, or because it has lines."""
    sizes = {puzzle.cells, *(form.cells for form in puzzle.other_sizes())}
    return "\n" in text.strip() or ("/" not in text and len(text) in sizes)


def read_answered(name: str, puzzle: TextPuzzle) -> Iterator[Answered]:
    """The puzzles of a CSV file with their answers, unparsed: published sets are large, and many lines parse faster.

    Raises:
        InputError: the file as a whole cannot be read, lacks a column, or has a line that is not a CSV row.
    """
    with _opened(name) as file:
        lines = _content_lines(file, name, puzzle)
        _, line = next(lines, (0, ""))
        header = [cell.strip().lower() for cell in line.split(",")]
        columns = []
        for keys in (CSV_COLUMNS, ANSWER_COLUMNS):
            named = [header.index(key) for key in keys if key in header]
            if not named:
                found = ", ".join(header)[:80]
                raise InputError(f"{name}: no column is named {' or '.join(keys)} (its first line holds {found})")
            columns.append(named[0])
        for number, line in lines:
            if puzzle.form.is_blank(line):
                continue
            try:
                row = _csv_row(line)
                question, answer = row[columns[0]], row[columns[1]]
            except (csv.Error, IndexError) as error:
                raise InputError(
                    f"{name} line {number}: is not a CSV row with {len(header)} columns ({error})"
                ) from error
            yield Answered(f"{name} line {number}", question, answer)


def estimate_lines(name: str) -> int:
    """About how many lines a file has, from its size and its beginning; raises `InputError` as the readers do."""
    with _opened(name) as file:
        head = file.read(ESTIMATED_FROM)
        size = os.fstat(file.fileno()).st_size
    lines = head.count(b"\n")
    return lines if size <= len(head) else round(lines * size / len(head))


@contextlib.contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    try:
        with Path(name).open("rb") as file:
            yield file
    except FileNotFoundError as error:
        hint = "name a file with puzzles, or - for standard input"
        raise InputError(f"{name}: there is no such file", hint=hint) from error
    except IsADirectoryError as error:
        raise InputError(f"{name}: is a folder, expected a file with puzzles") from error
    except OSError as error:  # also a name that is too long for one, such as a puzzle itself
        raise InputError(f"{name[:80]}: cannot be read ({error.strerror})") from error


def _questions(file: BinaryIO, name: str, puzzle: TextPuzzle) -> Iterator[Question]:
    lines = _content_lines(file, name, puzzle)
    first = next(lines, (0, ""))
    is_csv = "," in first[1] or first[1].strip().lower() in CSV_COLUMNS
    if not is_csv:
        lines = _of_this_size(first, lines, name, puzzle)
    found = (_from_csv if is_csv else _from_lines)(itertools.chain([first], lines), name, puzzle)
    question = next(found, None)
    if question is None:  # nothing, a header alone, or the frame of a grid
        raise InputError(f"{name}: holds no puzzle", hint=f"expected a line of {puzzle.cells} characters")
    yield question
    yield from found


def _of_this_size(
    first: tuple[int, str], lines: Iterator[tuple[int, str]], name: str, puzzle: TextPuzzle
) -> Iterator[tuple[int, str]]:
    """The lines behind the first one, once it is clear that they do not begin with a puzzle of another size.

    Raises:
        OtherSize: they do.
    """
    form = puzzle.form
    taken: list[tuple[int, str]] = []
    while (width := len(form.cells_of(first[1]))) == 0 and (line := next(lines, None)) is not None:
        taken.append(line)  # the frame of a grid
        first = line
    for other in puzzle.other_sizes():
        rows = ["".join(character for _, character in form.cells_of(first[1]))]
        if width == other.form.columns != form.columns:
            while len(rows) < other.form.rows and (line := next(lines, None)) is not None:
                taken.append(line)
                if cells := form.cells_of(line[1]):
                    rows.append("".join(character for _, character in cells))
        if len("".join(rows)) == other.cells:
            _refuse_other_size("".join(rows), f"{name} line {first[0]}", puzzle)
    return itertools.chain(taken, lines)


def _refuse_other_size(text: str, place: str, puzzle: TextPuzzle) -> None:
    """Raises `OtherSize` where a text is a whole puzzle of another size."""
    for other in puzzle.other_sizes():
        if len(text) == other.cells:
            with contextlib.suppress(PuzzleError):
                other.parse_line(text)
                sizes = (f"{task.form.rows} x {task.form.columns}" for task in (other, puzzle))
                raise OtherSize(f"{place}: looks like {next(sizes)}; this engine is for {next(sizes)}")


def _content_lines(file: BinaryIO, name: str, puzzle: TextPuzzle) -> Iterator[tuple[int, str]]:
    """Numbered lines without comments and leading blank ones; without any blank ones where they separate nothing."""
    form = puzzle.form
    begun = False
    number = 0
    while raw := file.readline(MAX_LINE + 1):
        number += 1
        if len(raw) > MAX_LINE:
            raise InputError(f"{name} line {number}: is longer than {MAX_LINE:,} characters, expected a puzzle a line")
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{name} line {number} column {error.start + 1}: is not text (byte 0x{raw[error.start]:02x}),"
                " expected a file with puzzles"
            ) from error
        if "\0" in line:
            raise InputError(f"{name} line {number} column {line.index(chr(0)) + 1}: is not text (a zero byte)")
        if form.comment:
            line = line.partition(form.comment)[0]
        line = line.rstrip("\r\n") if form.spaces_are_cells else line.rstrip()
        begun = begun or not form.is_blank(line)
        if begun and (form.spaces_are_cells or line):
            yield number, line


def _from_csv(lines: Iterator[tuple[int, str]], name: str, puzzle: TextPuzzle) -> Iterator[Question]:
    column: int | None = None
    header: list[str] = []
    first = True
    for number, line in lines:
        if puzzle.form.is_blank(line):
            continue
        place = f"{name} line {number}"
        try:
            row = _csv_row(line)
        except csv.Error as error:
            yield Question(place, line, None, f"{place}: is not a CSV row ({error})", number, {})
            continue
        if column is None:
            names = [cell.strip() for cell in row]
            lower = [name.lower() for name in names]
            named = [lower.index(key) for key in CSV_COLUMNS if key in lower]
            column = named[0] if named else 0
            if named:
                header = names
                continue
            if not _looks_like_a_puzzle(row[0].strip(), puzzle):
                raise InputError(
                    f"{place}: no column is named {' or '.join(CSV_COLUMNS)} (found {', '.join(lower)[:80]})"
                    " and the first holds no puzzle"
                )
        if column >= len(row):
            fault = f"{place}: has {len(row)} columns, the puzzle is expected in number {column + 1}"
            yield Question(place, line, None, fault, number, {})
            continue
        if first:
            _refuse_other_size(row[column].strip(), place, puzzle)
            first = False
        start = max(line.find(row[column]), 0)
        positions = [(number, start + offset + 1) for offset in range(len(row[column]))]
        question = _question(row[column], positions, place, name, puzzle)
        others = {key: value for at, (key, value) in enumerate(zip(header, row)) if at != column}
        known = [value for key, value in others.items() if key.lower() in ANSWER_COLUMNS]
        yield replace(
            question,
            columns=others,
            answer=_known_answer(known[0], puzzle) if known else None,
            has_answer=bool(known),
        )


def _known_answer(text: str, puzzle: TextPuzzle) -> Tokens | None:
    try:
        return puzzle.parse_line(text.strip())
    except PuzzleError:
        return None


def _csv_row(line: str) -> list[str]:
    return next(csv.reader([line], strict=True), [])


def _looks_like_a_puzzle(text: str, puzzle: TextPuzzle) -> bool:
    # Enough to tell a header from data, which has digits or walls; a malformed puzzle is complained about as one.
    return any(character.isdigit() or character == "#" for character in text) or len(text) == puzzle.cells


def _from_lines(lines: Iterator[tuple[int, str]], name: str, puzzle: TextPuzzle) -> Iterator[Question]:
    """One puzzle a line, or a grid: lines with as many cells as a row are collected until they make a puzzle."""
    form = puzzle.form
    text = ""
    positions: list[Position] = []  # of each character of text
    broken = False  # what follows may be the rest of a grid that was complained about
    for number, line in lines:
        cells = [] if form.is_blank(line) else form.cells_of(line)
        if not cells:  # a blank line, or one that only draws the frame
            if text and form.spaces_are_cells:
                yield _cut_short(text, positions[0], name, puzzle)
                text, positions = "", []
            broken = False
            continue
        if broken and len(cells) != puzzle.cells:
            continue
        broken = False
        place = f"{name} line {number}"
        if len(cells) == form.columns:
            text += "".join(character for _, character in cells)
            positions += [(number, column) for column, _ in cells]
            if len(text) == puzzle.cells:
                yield _question(text, positions, f"{name} lines {positions[0][0]}-{number}", name, puzzle)
                text, positions = "", []
            continue
        # Where blank lines separate grids, the next puzzle begins behind one; else anything may begin on any line.
        broken = form.spaces_are_cells and len(cells) != puzzle.cells
        if text:
            row = len(text) // form.columns + 1
            error = (
                f"{place}: row {row} of a grid has {len(cells)} cells, expected {form.columns}{_lost_spaces(puzzle)}"
            )
            yield Question(place, text + line.strip(), None, error, positions[0][0])
            text, positions = "", []
            if len(cells) != puzzle.cells:
                continue
        start, written = (0, line) if form.spaces_are_cells else (len(line) - len(line.lstrip()), line.strip())
        yield _question(written, [(number, start + i + 1) for i in range(len(written))], place, name, puzzle)
    if text:
        yield _cut_short(text, positions[0], name, puzzle)


def _cut_short(text: str, position: Position, name: str, puzzle: TextPuzzle) -> Question:
    place = f"{name} line {position[0]}"
    rows = len(text) // puzzle.form.columns
    error = f"{place}: the grid ends after {rows} rows, expected {puzzle.form.rows}{_lost_spaces(puzzle)}"
    return Question(place, text, None, error, position[0])


def _lost_spaces(puzzle: TextPuzzle) -> str:
    return "; where an editor strips trailing spaces, write . for an open cell" if puzzle.form.spaces_are_cells else ""


def _question(text: str, positions: list[Position], place: str, name: str, puzzle: TextPuzzle) -> Question:
    line = positions[0][0] if positions else None
    try:
        tokens = puzzle.parse_line(text)
    except PuzzleError as error:
        if error.position is not None:
            at, column = positions[error.position]
            return Question(place, text, None, f"{name} line {at} column {column}: {error}", line)
        return Question(place, text, None, f"{place}: {error}{_lost_spaces(puzzle)}", line)
    faults = puzzle.question_faults(tokens)
    if faults:
        return Question(place, text, None, f"{place}: the givens break the rules: {'; '.join(faults)}", line)
    return Question(place, text, tokens, line=line)
