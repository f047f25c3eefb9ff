"""CSV in the widest sense: commas, semicolons, tabs or bars between columns; a puzzle a row, or a cell a column."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from trm_deploy.errors import InputError
from trm_deploy.puzzles.text import columns, rows
from trm_deploy.puzzles.text.lines import content, first_line
from trm_deploy.puzzles.text.question import SCIENTIFIC, Answered, Question, Reading, at
from trm_deploy.puzzles.text.shapes import BARRED, BLANK, ODD, OPEN, ROW, RULED_LINE, WORDS, Item, Shapes, shapes
from trm_deploy.puzzles.text.source import MAX_DOCUMENT, Line, Source

SEPARATORS = ",;\t|"
# A cell of a spreadsheet, also as a table of floating-point numbers has it; or without a value.
CELL = re.compile(r"\s*['\"]?(?:([^\s'\"])(?:\.0*)?|nan|NaN|None|null|NULL|NA)?['\"]?\s*")
# The line under the header of a table in Markdown.
MARKDOWN = re.compile(r"[\s|:-]+")
SAMPLE = 40
_NO_MARKS = str.maketrans(dict.fromkeys(" '\""))


def split(line: str, separator: str) -> list[str]:
    """The fields of a row.

    Raises:
        csv.Error: its quotes do not match.
    """
    if '"' not in line:
        return line.split(separator)
    return next(csv.reader([line], delimiter=separator, strict=True), [])


def _bare(field: str) -> str:
    """A field without white space, quotes, or the = that keeps a spreadsheet from computing with it."""
    field = field.strip()
    if len(field) > 1 and field[0] in "='\"":
        field = field.lstrip("=").strip("'\"").strip()
    return field


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
            following = _sample(source, reading, 3)[1:]
            # A title may have a comma and name a puzzle too.
            named = not following or separator in following[0][1] or not _has_grid(source, reading)
            if named and not _is_cells(following, separator, reading):
                return separator, 2
        if reading.column is not None and any(field.lower() == reading.column.strip().lower() for field in fields):
            return separator, 2
    sample = _sample(source, reading, SAMPLE)
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
    return _is_cells(sample, separator, reading) or any(
        shapes(reading.puzzle).item(number, line).kind == ROW for number, line in sample
    )


def _has_puzzle(fields: Sequence[str], reading: Reading) -> bool:
    if reading.puzzle.form.spaces_are_cells:
        return any(len(field) == reading.puzzle.cells for field in fields)
    return any(shapes(reading.puzzle).is_whole(field) for field in fields)


def _fields(line: str, separator: str) -> list[str]:
    try:
        return [_bare(field) for field in split(line, separator)]
    except csv.Error:
        return []


def _sample(source: Source, reading: Reading, count: int) -> list[Line]:
    return [line for line in content(source.peek(count), reading.puzzle.form.comment) if line[1].strip()]


def _has_grid(source: Source, reading: Reading) -> bool:
    """Whether rows or frames are among the first lines."""
    kinds = shapes(reading.puzzle)
    found = {kinds.item(number, line).kind for number, line in _sample(source, reading, SAMPLE)}
    return not found.isdisjoint((ROW, BARRED, RULED_LINE))


def looks_like_cells(source: Source, reading: Reading) -> int:
    """2 where most lines have as many fields as a row, or a puzzle, has cells, each with a cell or empty."""
    return 2 * (not reading.puzzle.form.spaces_are_cells and _cells_separator(source, reading) is not None)


def _cells_separator(source: Source, reading: Reading) -> str | None:
    first = first_line(source, reading)
    found = [separator for separator in ",;\t" if separator in first]
    if not found and "," not in (sample := "".join(line for _, line in source.peek(3))) + first:
        found = [separator for separator in ";\t" if separator in sample]
    sample_lines = _sample(source, reading, SAMPLE)
    for separator in found or ",;\t":
        if _is_cells(sample_lines, separator, reading):
            return separator
    return None


def _is_cells(sample: Sequence[Line], separator: str, reading: Reading) -> bool:
    puzzle = reading.puzzle
    wide = [len(_cells(line, separator) or ()) for _, line in sample]
    if len(wide) > 1 and not wide[0]:
        wide = wide[1:]  # a header
    good = sum(width in (puzzle.form.columns, puzzle.form.columns + 1) or width >= puzzle.cells for width in wide)
    return 2 * good > len(wide) and good > 0


def _cells(line: str, separator: str) -> list[str] | None:
    """One character a field, a space where it is empty; None where a field is more than a cell."""
    fields = line.split(separator)
    if max(map(len, fields)) <= 1 and line.translate(_NO_MARKS) == line:
        return [field or " " for field in fields]
    found = []
    for field in fields:
        match = CELL.fullmatch(field)
        if match is None:
            return None
        found.append(match[1] or " ")
    return found


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
    for number, line in _uncommented(source.lines(), reading):
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
        fields = raw if spaces else [_bare(field) for field in raw]
        if header is None:
            header = [] if _has_puzzle(fields, reading) or _is_data(fields, reading) else [_bare(f) for f in raw]
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


def _uncommented(lines: Iterable[Line], reading: Reading) -> Iterator[Line]:
    """Without comments, but for a # in quotes."""
    comment = reading.puzzle.form.comment
    for entry in lines:
        line = entry[1]
        if comment and comment in line and '"' not in line.partition(comment)[0]:
            entry = entry[0], line.partition(comment)[0]
        yield entry


def read_answered(source: Source, reading: Reading) -> Iterator[Answered]:
    """The puzzles of a table with their answers, unparsed; raises `InputError` where a row is malformed."""
    spaces = reading.puzzle.form.spaces_are_cells
    first = first_line(source, reading)
    separator = max(SEPARATORS, key=first.count) if any(s in first for s in SEPARATORS) else ","
    lines = _uncommented(source.lines(), reading)
    header: list[str] = []
    for _, line in lines:
        if line.strip():
            header = [_bare(cell) for cell in _split_or_nothing(line, separator)]
            break
    chosen: tuple[int, int] | None = None
    for number, line in lines:
        if not line.strip() and not (spaces and len(line) == reading.puzzle.cells):
            continue
        place = f"{reading.name} line {number}"
        try:
            fields = split(line, separator)
            if not spaces:
                fields = [_bare(field) for field in fields]
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


# -------------------------------------------------------------------------------------------- a cell a column


def read_cells(source: Source, reading: Reading) -> Iterator[Question]:
    """The puzzles of a table that has a cell a column, and a row or a whole puzzle a line."""
    kinds = shapes(reading.puzzle)
    separator = _cells_separator(source, reading) or next((s for s in ",;\t" if s in first_line(source, reading)), ",")
    chosen: list[int] | None = None
    header: list[str] = []
    run: list[Item] = []
    size = 0
    wide = 2 * kinds.form.columns - 1  # of a row with a character in each cell
    parted, places = separator * (kinds.form.columns - 1), range(1, wide + 2, 2)
    for number, line in _uncommented(source.lines(), reading):
        if line.count(separator) >= reading.puzzle.cells - 1:
            fields = line.split(separator)
            yield from _resolved(run, reading, kinds).questions
            run, size = [], 0
            if (not chosen and _cells(line, separator) is None) or (not header and _counts_up(fields)):
                header = [_bare(field) for field in fields]
                continue
            chosen = chosen or _cell_columns(header, len(fields), reading, number)
            yield _whole_row(number, line, separator, chosen, reading)
            continue
        text = line[::2]
        if len(line) == wide and line[1::2] == parted and kinds.is_cells(text):  # the common case
            item = Item(number, line, ROW, text, places)
        else:
            item = _cell_item(number, line, separator, kinds)
        if item.kind == WORDS:
            yield from _resolved(run, reading, kinds).questions
            run, size = [], 0
            continue
        if item.kind == BLANK and len(run) == kinds.form.rows and all(kept.kind == ROW for kept in run):
            yield from _resolved(run, reading, kinds).questions
            run, size = [], 0
        if item.kind == BLANK and not run:
            continue
        run.append(item)
        size += len(line) + 1
        if size > MAX_DOCUMENT:
            raise InputError(f"{reading.name} line {number}: rows follow each other for {MAX_DOCUMENT >> 20} MiB")
    yield from _resolved(run, reading, kinds).questions


def _resolved(run: list[Item], reading: Reading, kinds: Shapes) -> rows.Found:
    """The grids of a run; where each of its rows ends in a separator, without the empty cell behind it."""
    wanted = kinds.form.columns + 1
    if not any(len(item.text) == wanted for item in run):
        return rows.resolve(run, reading, kinds)
    wide = [item for item in run if item.kind in (ROW, ODD, OPEN)]
    first = "".join(item.text[:1] for item in wide)
    if wide and all(len(item.text) == wanted and item.text[-1] == " " for item in wide) and not _counts_up(first):
        for item in wide:
            item.text = item.text[:-1]
            item.kind = ROW if item.text.strip() else OPEN
    return rows.resolve(run, reading, kinds)


def _counts_up(fields: Sequence[str]) -> bool:
    """Whether a line numbers its columns."""
    numbers = [field.strip() for field in fields if field.strip()]
    if numbers[:1] not in (["0"], ["1"]) or numbers[1:3] not in (["1", "2"], ["2", "3"]):
        return False
    return numbers in ([str(n) for n in range(first, first + len(numbers))] for first in (0, 1))


def _cell_item(number: int, line: str, separator: str, kinds: Shapes) -> Item:
    columns_wanted = kinds.form.columns
    if separator not in line:  # a row of empty cells has separators
        return Item(number, line, BLANK if not line.strip() else WORDS)
    cells = _cells(line, separator)
    fields = line.split(separator)
    while cells is not None and len(cells) > columns_wanted + 1 and cells[-1] == " ":
        cells.pop()  # as spreadsheets fill rows up
    if cells is None:
        strange = [field for field in fields if CELL.fullmatch(field) is None]
        odd = len(fields) in (columns_wanted, columns_wanted + 1) and 3 * len(strange) < len(fields)
        text = "".join(field.strip() or " " for field in fields)
        return Item(number, line, ODD if odd else WORDS, text, [1] * len(text))
    if len(fields) == len(line) // 2 + 1:
        places: Sequence[int] = range(1, len(line) + 2, 2)  # a character a field
    else:
        starts = itertools.accumulate((len(field) + 1 for field in fields), initial=1)
        places = [start + len(field) - len(field.lstrip()) for start, field in zip(starts, fields)]
    text = "".join(cells)
    if len(cells) == columns_wanted and kinds.is_cells(text.replace(" ", "")):
        return Item(number, line, OPEN if not text.strip() else ROW, text, places)
    return Item(number, line, ODD, text, places[: len(text)])


def _cell_columns(header: list[str], count: int, reading: Reading, number: int) -> list[int]:
    """The columns that hold cells, of a table that has a puzzle a line."""
    cells = reading.puzzle.cells
    if count == cells:
        return list(range(cells))
    groups: dict[str, list[int]] = {}
    for place, name in enumerate(header[:count]):
        if match := re.fullmatch(r"(\D*?)\d+(?:\D*\d+)?", name):
            groups.setdefault(match[1].lower(), []).append(place)
    of_cells = {prefix: places for prefix, places in groups.items() if len(places) == cells}
    questions = [prefix for prefix in of_cells if not columns.is_answer(prefix)]
    if len(questions) == 1:
        return of_cells[questions[0]]
    raise InputError(
        f"{reading.name} line {number}: has {count} columns, expected {cells} with a cell each, or a header that"
        " numbers those that have one, as in c1, c2 and so on"
    )


def _whole_row(number: int, line: str, separator: str, chosen: list[int], reading: Reading) -> Question:
    fields = line.split(separator)
    place = f"{reading.name} line {number}"
    cells = _cells(line, separator)
    if cells is None or chosen[-1] >= len(fields):
        return reading.fault(place, line[:200], f"has {len(fields)} columns, expected a cell in each", number)

    def where(index: int) -> tuple[int, int]:
        return number, sum(len(field) + 1 for field in fields[: chosen[index]]) + 1

    return reading.question("".join([cells[column] for column in chosen]), where, place, number)
