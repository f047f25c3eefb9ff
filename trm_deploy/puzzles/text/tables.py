"""CSV in the widest sense: commas, semicolons, tabs or bars between columns, and a puzzle a row."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from trm_deploy.errors import InputError
from trm_deploy.puzzles.text import boards, columns
from trm_deploy.puzzles.text.cells import SAMPLE, bare, is_cells, sample_of, uncommented
from trm_deploy.puzzles.text.lines import first_line
from trm_deploy.puzzles.text.question import SCIENTIFIC, Answered, Question, Reading, at
from trm_deploy.puzzles.text.shapes import BARRED, ROW, RULED_LINE, shapes
from trm_deploy.puzzles.text.source import Line, Source

SEPARATORS = ",;\t|"
# The line under the header of a table in Markdown.
MARKDOWN = re.compile(r"[\s|:-]+")

# Lines of a grid in one field, with its frame.
LONGEST_GRID = 99


def split(line: str, separator: str) -> list[str]:
    """The fields of a row.

    Raises:
        csv.Error: its quotes do not match.
    """
    if '"' not in line:
        return line.split(separator)
    return next(csv.reader([line], delimiter=separator, strict=True), [])


# --------------------------------------------------------------------------------------------- what a file is


def looks_like_csv(source: Source, reading: Reading) -> int:
    """2 where the first line names a column of puzzles, or a field of the first or second line is one; 1 as a table."""
    return _separator(source, reading)[1]


def _separator(source: Source, reading: Reading) -> tuple[str, int]:
    """What parts the columns of a file with a puzzle a row, and how sure that is: 0 where it is no such file."""
    first = first_line(source, reading)
    if SCIENTIFIC.fullmatch(first.strip()):
        return ",", 0
    separators = [separator for separator in SEPARATORS if separator in first]
    if any(first.count(separator) >= reading.puzzle.cells for separator in separators):
        return ",", 0  # a cell a column, and more
    if not separators:
        single = columns.is_question(first) and not any(c.isdigit() for c in first)
        named = reading.column is not None and first.strip().lower() == reading.column.strip().lower()
        return ",", 2 * (single or named)
    for separator in separators:
        fields = _fields(first, separator)
        if _has_puzzle(fields, reading) and (separator != "|" or len(fields) != reading.puzzle.form.columns):
            return separator, 2
        if any(columns.is_question(field) for field in fields) and not any(_is_number(field) for field in fields):
            following = sample_of(source, reading, 3)[1:]
            # A title may have a comma and name a puzzle too.
            named = not following or separator in following[0][1] or not _has_grid(source, reading)
            named = named or following[0][1].startswith('"')  # a field with a grid in it
            if named and not is_cells(following, separator, reading):
                return separator, 2
        if reading.column is not None and any(field.lower() == reading.column.strip().lower() for field in fields):
            return separator, 2
    sample = sample_of(source, reading, SAMPLE)
    for separator in separators:
        table = [_fields(line, separator) for _, line in sample]
        if len(table) > 1 and len(table[0]) > 1 and _has_puzzle(table[1], reading):
            return separator, 2
    for separator in separators:  # a table without puzzles, which is to be named as that
        counts = {len(_fields(line, separator)) for _, line in sample}
        same = len(counts) == 1 and min(counts) > 1 and separator != "|"
        if same and (reading.puzzle.form.spaces_are_cells or not _has_cells(sample, separator, reading)):
            return separator, 1
    return separators[0], int(reading.puzzle.form.spaces_are_cells and separators[0] == ",")


def _is_number(field: str) -> bool:
    return bool(field) and field.replace(".", "", 1).isdigit()


def _has_cells(sample: Sequence[Line], separator: str, reading: Reading) -> bool:
    return is_cells(sample, separator, reading) or any(
        shapes(reading.puzzle).item(number, line).kind == ROW for number, line in sample
    )


def _has_puzzle(fields: Sequence[str], reading: Reading) -> bool:
    if reading.puzzle.form.spaces_are_cells:
        return any(len(field) == reading.puzzle.cells for field in fields)
    return any(shapes(reading.puzzle).is_whole(field) for field in fields)


def _fields(line: str, separator: str) -> list[str]:
    try:
        return [bare(field) for field in split(line, separator)]
    except csv.Error:
        return []


def _has_grid(source: Source, reading: Reading) -> bool:
    """Whether rows or frames are among the first lines."""
    kinds = shapes(reading.puzzle)
    found = {kinds.item(number, line).kind for number, line in sample_of(source, reading, SAMPLE)}
    return not found.isdisjoint((ROW, BARRED, RULED_LINE))


# -------------------------------------------------------------------------------------------- a puzzle a row


@dataclass(frozen=True)
class _Row:
    place: str
    number: int
    line: str
    header: list[str]
    fields: list[str]
    question: int
    answer: int | None


def read_csv(source: Source, reading: Reading) -> Iterator[Question]:
    """The puzzles of a table that has one a row."""
    for row in _rows(source, reading):
        if isinstance(row, Question):
            yield row
            continue
        text = row.fields[row.question]
        if "\n" in text:
            text = boards.board_text(text, reading.puzzle) or text
        if len(text) > reading.puzzle.cells and (found := shapes(reading.puzzle).whole(text)) is not None:
            text = found[0]  # with its number, or a remark, in the same field
        start = max(row.line.find(text), 0) + 1
        made = reading.question(text, at(row.number, start), row.place, row.number)
        others = {
            name: value for place, (name, value) in enumerate(zip(row.header, row.fields)) if place != row.question
        }
        known = row.fields[row.answer] if row.answer is not None and row.answer < len(row.fields) else None
        answer = None if known is None else reading.known_answer(known)
        if type(made) is Question:
            made = replace(made, columns=others, answer=answer, has_answer=known is not None)
        yield made


def _rows(source: Source, reading: Reading) -> Iterator[_Row | Question]:
    separator, _ = _separator(source, reading)
    spaces = reading.puzzle.form.spaces_are_cells
    header: list[str] | None = None
    chosen: int | None = None
    answer: int | None = None
    for number, line in _records(uncommented(source.lines(), reading), separator, reading):
        place = f"{reading.name} line {number}"
        if not line.strip() and not (spaces and len(line) == reading.puzzle.cells):
            continue
        if separator == "|" and header and MARKDOWN.fullmatch(line):
            continue
        try:
            # A number with a decimal comma, alone on its line, is one field.
            raw = [line] if SCIENTIFIC.fullmatch(line.strip()) else split(line, separator)
        except csv.Error as error:
            yield Question(place, line, None, f"{place}: is not a CSV row ({error})", number, {})
            continue
        fields = raw if spaces else [bare(field) for field in raw]
        if header is None:
            header = [] if _has_puzzle(fields, reading) or _is_data(fields, reading) else [bare(f) for f in raw]
            if header:
                continue
        if chosen is None:
            chosen = _column(header, fields, reading, place)
            answer = columns.choose_answer(header, chosen) if header else None
        if answer is None and chosen < len(fields):
            answer = columns.answer_by_content(fields, chosen, reading)
        if chosen >= len(fields):
            message = f"has {len(fields)} columns, the puzzle is expected in number {chosen + 1}"
            yield Question(place, line, None, f"{place}: {message}", number, {})
            continue
        yield _Row(place, number, line, header, fields, chosen, answer)


def _records(lines: Iterator[Line], separator: str, reading: Reading) -> Iterator[Line]:
    """The lines, those together that hold a field with a whole grid in quotes; a quote that does not end joins none."""
    for number, line in lines:
        if line.count('"') % 2 == 0:
            yield number, line
            continue
        following: list[Line] = []
        joined = ""
        for entry in itertools.islice(lines, LONGEST_GRID):
            following.append(entry)
            if entry[1].count('"') % 2:
                joined = "\n".join([line, *(text for _, text in following)])
                break
        texts = [boards.board_text(field, reading.puzzle) or "" for field in _fields(joined, separator)]
        if _has_puzzle(texts, reading):
            yield number, joined
        else:
            yield number, line
            yield from _records(iter(following), separator, reading)


def _is_data(fields: Sequence[str], reading: Reading) -> bool:
    """Whether a first row is no header though it holds no whole puzzle: a damaged one."""
    if reading.column is not None or any(columns.is_question(field) for field in fields):
        return False
    first = fields[0] if fields else ""
    if reading.puzzle.form.spaces_are_cells:
        return any(character.isdigit() or character == "#" for character in first)
    kinds = shapes(reading.puzzle)
    return any(2 * len(field) > reading.puzzle.cells and kinds.is_cells(field) for field in fields) or (
        first[:1].isdigit() and not any(field[:1].isalpha() for field in fields)
    )


def _column(header: list[str], fields: list[str], reading: Reading, place: str) -> int:
    chosen = columns.choose(header, fields, reading, place)
    if chosen is not None:
        return chosen
    if not header:
        return 0
    raise _no_column(header, reading)


def _no_column(header: Sequence[str], reading: Reading) -> InputError:
    found = ", ".join(header)[:80]
    return InputError(
        f"{reading.name}: no column is named puzzle or question (found {found}), and none holds a puzzle of"
        f" {reading.puzzle.cells} characters",
        hint="name the column with --column NAME",
    )


def read_answered(source: Source, reading: Reading) -> Iterator[Answered]:
    """The puzzles of a table with their answers, unparsed; raises `InputError` where a row is malformed."""
    spaces = reading.puzzle.form.spaces_are_cells
    first = first_line(source, reading)
    separator = max(SEPARATORS, key=first.count) if any(s in first for s in SEPARATORS) else ","
    lines = uncommented(source.lines(), reading)
    header: list[str] = []
    for _, line in lines:
        if line.strip():
            header = [bare(cell) for cell in _split_or_nothing(line, separator)]
            break
    chosen: tuple[int, int] | None = None
    for number, line in lines:
        if not line.strip() and not (spaces and len(line) == reading.puzzle.cells):
            continue
        place = f"{reading.name} line {number}"
        try:
            fields = split(line, separator)
            if not spaces:
                fields = [bare(field) for field in fields]
            if chosen is None:
                chosen = _both_columns(header, fields, reading)
            yield Answered(place, fields[chosen[0]], fields[chosen[1]])
        except (csv.Error, IndexError) as error:
            raise InputError(f"{place}: is not a CSV row with {len(header)} columns ({error})") from error
    if chosen is None:
        _both_columns(header, [], reading)


def _split_or_nothing(line: str, separator: str) -> list[str]:
    try:
        return split(line, separator)
    except csv.Error:
        return [line]


def _both_columns(header: list[str], fields: list[str], reading: Reading) -> tuple[int, int]:
    question = None
    if not _has_puzzle(header, reading):
        question = columns.choose(header, fields, reading, reading.name)
    if question is None:
        found = ", ".join(header)[:80]
        raise InputError(
            f"{reading.name}: no column is named puzzle or question (its first line holds {found})",
            hint="name the column with --column NAME",
        )
    answer = columns.choose_answer(header, question)
    if answer is None:
        found = ", ".join(header)[:80]
        raise InputError(f"{reading.name}: no column is named answer or solution (its first line holds {found})")
    return question, answer
