"""Reads puzzles from text, in whatever form people have them; see `formats` for the table of readers.

A reader yields as it goes and bounds a line's length, so that a huge or binary file is refused before it fills memory;
what is read as a whole is bounded too. Every complaint names file, line and column. Where two readings are possible,
the puzzle is refused and both are named: never a puzzle that nobody wrote.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator

from trm_deploy.errors import InputError
from trm_deploy.puzzles.base import TextPuzzle
from trm_deploy.puzzles.text import formats, jsonl, lines, tables
from trm_deploy.puzzles.text.question import Answered, OfOtherSize, OtherSize, Question, Reading
from trm_deploy.puzzles.text.source import MAX_LINE, Source, opened, opened_bytes

__all__ = ["Answered", "MAX_LINE", "OtherSize", "Question", "estimate_lines", "is_text_of", "names"]
__all__ += ["read", "read_answered", "read_bytes", "read_text", "read_with_answers"]

# Bytes from which the number of lines is estimated; smaller files are counted.
ESTIMATED_FROM = 1 << 18

names = formats.names


def read(
    name: str, puzzle: TextPuzzle, *, input_format: str | None = None, column: str | None = None
) -> Iterator[Question]:
    """The puzzles of a file, or of standard input where `name` is "-".

    A puzzle that cannot be read comes as a `Question` with an error, so that the others can be solved.

    Args:
        name: of the file.
        puzzle: the task.
        input_format: one of `names`; None: what the text looks like.
        column: the column or key that holds the puzzles; None: found by its name or by what it holds.

    Raises:
        InputError: the file as a whole cannot be read: missing, a folder, binary, empty, a line without end, a table
            without a usable column.
    """
    with opened(name) as source:
        yield from _questions(source, Reading(source.name, puzzle, column, input_format is not None), input_format)


def read_with_answers(
    name: str, puzzle: TextPuzzle, *, input_format: str | None = None, column: str | None = None
) -> Iterator[Question]:
    """As `read`; where no column or key is named so, an answer is also found by what it holds."""
    with opened(name) as source:
        reading = Reading(source.name, puzzle, column, input_format is not None, find_answers=True)
        yield from _questions(source, reading, input_format)


def read_text(text: str, name: str, puzzle: TextPuzzle, *, input_format: str | None = None) -> Iterator[Question]:
    """The puzzles in a text itself; `name` is what messages call it. Raises as `read` does."""
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{name}: is not text (half of a surrogate pair is in it)") from error
    yield from read_bytes(data, name, puzzle, input_format=input_format)


def read_bytes(
    data: bytes, name: str, puzzle: TextPuzzle, *, input_format: str | None = None, column: str | None = None
) -> Iterator[Question]:
    """The puzzles in what a file would hold, in any encoding; the rest is as for `read`."""
    reading = Reading(name, puzzle, column, input_format is not None)
    yield from _questions(Source(io.BytesIO(data), name), reading, input_format)


def _questions(source: Source, reading: Reading, input_format: str | None) -> Iterator[Question]:
    found = formats.chosen(source, reading, input_format)(source, reading)
    question = next(found, None)
    if question is None:  # nothing, a header alone, or the frame of a grid
        raise InputError(
            f"{source.name}: holds no puzzle", hint=f"expected a line of {reading.puzzle.cells} characters"
        )
    if question.tokens is None:
        _refuse_other_size(question, source, reading)
    yield question
    yield from found


def _refuse_other_size(question: Question, source: Source, reading: Reading) -> None:
    """Raises `OtherSize` where a file begins with a puzzle of another size."""
    if isinstance(question, OfOtherSize):
        raise OtherSize(question.error)
    for other in reading.puzzle.other_sizes():
        beginning = Source(io.BytesIO(source.head), source.name)
        first = None
        with contextlib.suppress(InputError):
            first = next(lines.read_mixed(beginning, Reading(source.name, other)), None)
        if first is not None and first.tokens is not None and (first.line or 1) <= (question.line or 1):
            raise OtherSize(reading.of_other_size(first.text, first.line or 1, other.form.rows).error)


def is_text_of(text: str, puzzle: TextPuzzle) -> bool:
    """Whether a text may be a puzzle itself rather than the name of a file: by its length, or because it has lines."""
    sizes = {puzzle.cells, *(form.cells for form in puzzle.other_sizes())}
    return "\n" in text.strip() or ("/" not in text and len(text) in sizes)


def read_answered(name: str, puzzle: TextPuzzle, *, column: str | None = None) -> Iterator[Answered]:
    """The puzzles of a CSV or JSON Lines file with their answers, unparsed: published sets are large, and many lines
    parse faster together.

    Raises:
        InputError: the file as a whole cannot be read, lacks a column, or has a line that is malformed.
    """
    with opened_bytes(name) as file:
        source = Source(file, name)
        source.refuse_other_kinds()
        reading = Reading(name, puzzle, column)
        is_json = jsonl.looks_like(source, reading)
        yield from (jsonl if is_json else tables).read_answered(source, reading)


def estimate_lines(name: str) -> int:
    """About how many lines a file has, from its size and its beginning; raises `InputError` as the readers do."""
    with opened_bytes(name) as file:
        head = file.read(ESTIMATED_FROM)
        size = os.fstat(file.fileno()).st_size
    lines = head.count(b"\n") or head.count(b"\r")
    return lines if size <= len(head) else round(lines * size / len(head))
