"""Tables with a cell a column: a row, or a whole puzzle, a line."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

from trm_deploy.errors import InputError
from trm_deploy.puzzles.text import columns, rows
from trm_deploy.puzzles.text.lines import content, first_line, without_hint
from trm_deploy.puzzles.text.question import Question, Reading
from trm_deploy.puzzles.text.shapes import BLANK, ODD, OPEN, ROW, WORDS, Item, Shapes, shapes
from trm_deploy.puzzles.text.source import MAX_DOCUMENT, Line, Source

# A cell of a spreadsheet, also as a table of floating-point numbers has it; or without a value.
CELL = re.compile(r"\s*['\"]?(?:([^\s'\"])(?:\.0*)?|nan|NaN|None|null|NULL|NA)?['\"]?\s*")
SAMPLE = 40
_NO_MARKS = str.maketrans(dict.fromkeys(" '\""))


def bare(field: str) -> str:
    """A field without white space, quotes, or the = that keeps a spreadsheet from computing with it."""
    field = field.strip()
    if len(field) > 1 and field[0] in "='\"":
        field = field.lstrip("=").strip("'\"").strip()
    return field


def uncommented(lines: Iterable[Line], reading: Reading) -> Iterator[Line]:
    """Without comments, but for a # in quotes, and without Excel's line about the separator."""
    comment = reading.puzzle.form.comment
    for entry in without_hint(lines):
        line = entry[1]
        if comment and comment in line and '"' not in line.partition(comment)[0]:
            entry = entry[0], line.partition(comment)[0]
        yield entry


def sample_of(source: Source, reading: Reading, count: int) -> list[Line]:
    """The lines with anything on them of the first `count`."""
    return [line for line in content(source.peek(count), reading.puzzle.form.comment) if line[1].strip()]


def looks_like(source: Source, reading: Reading) -> int:
    """2 where most lines have as many fields as a row, or a puzzle, has cells, each with a cell or empty."""
    return 2 * (not reading.puzzle.form.spaces_are_cells and _cells_separator(source, reading) is not None)


def _cells_separator(source: Source, reading: Reading) -> str | None:
    first = first_line(source, reading)
    found = [separator for separator in ",;\t" if separator in first]
    if not found and "," not in (sample := "".join(line for _, line in source.peek(3))) + first:
        found = [separator for separator in ";\t" if separator in sample]
    sample_lines = sample_of(source, reading, SAMPLE)
    for separator in found or ",;\t":
        if is_cells(sample_lines, separator, reading):
            return separator
    return None


def is_cells(sample: Sequence[Line], separator: str, reading: Reading) -> bool:
    """Whether most lines have as many fields as a row, or a puzzle, has cells, each with a cell or empty."""
    puzzle = reading.puzzle
    wide = [_width(line, separator, puzzle.cells) for _, line in sample]
    if len(wide) > 1 and not wide[0]:
        wide = wide[1:]  # a header
    if max(wide, default=0) > puzzle.form.columns + 1:
        first, last = _used([line.split(separator) for _, line in sample if _cells(line, separator)])
        wide = [min(width, last - first) if width < puzzle.cells else width for width in wide]
    good = sum(width in (puzzle.form.columns, puzzle.form.columns + 1) or width >= puzzle.cells for width in wide)
    return 2 * good > len(wide) and good > 0


def _width(line: str, separator: str, cells: int) -> int:
    """How many fields hold a cell; 0 where one holds more, unless as many as a puzzle has hold one."""
    found = _cells(line, separator)
    if found is not None:
        return len(found)
    if line.count(separator) < cells:
        return 0
    fields = line.split(separator)
    count = sum(CELL.fullmatch(field) is not None for field in fields)
    return count if count >= cells and all(len(field) < cells for field in fields) else 0


def _used(table: Sequence[Sequence[str]]) -> tuple[int, int]:
    """The first and the last column, plus one, of those in which anything is."""
    used = [place for fields in table for place, field in enumerate(fields) if field.strip(" '\"")]
    return min(used, default=0), max(used, default=-1) + 1


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


def read(source: Source, reading: Reading) -> Iterator[Question]:
    """The puzzles of a table that has a cell a column, and a row or a whole puzzle a line."""
    kinds = shapes(reading.puzzle)
    separator = _cells_separator(source, reading) or next((s for s in ",;\t" if s in first_line(source, reading)), ",")
    chosen: list[int] | None = None
    header: list[str] = []
    run: list[Item] = []
    size = 0
    wide = 2 * kinds.form.columns - 1  # of a row with a character in each cell
    parted, places = separator * (kinds.form.columns - 1), range(1, wide + 2, 2)
    for number, line in uncommented(source.lines(), reading):
        if line.count(separator) >= reading.puzzle.cells - 1:
            fields = line.split(separator)
            yield from _resolved(run, reading, kinds).questions
            run, size = [], 0
            if not (header or chosen) and (_is_header(fields, reading.puzzle.cells) or _counts_up(fields)):
                header = [bare(field) for field in fields]
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
    """The grids of a run, without columns beside them that are empty in each row."""
    wide = [item for item in run if item.kind in (ROW, ODD, OPEN)]
    wanted, width = kinds.form.columns, max((len(item.text) for item in wide), default=0)
    if width <= wanted or not all(len(item.text) == width for item in wide):
        return rows.resolve(run, reading, kinds)
    first, last = _used([item.text for item in wide])
    starts = range(max(last - wanted, 0), min(first, width - wanted) + 1)
    if not starts or (width == wanted + 1 and _counts_up("".join(item.text[:1] for item in wide))):
        return rows.resolve(run, reading, kinds)
    if len(starts) > 1:
        place = rows.place(reading, wide)
        return rows.Found((_two_places(wide, starts, wanted, place, reading),), grids=True)
    for item in wide:
        item.text = item.text[starts[0] : starts[0] + wanted]
        item.columns = (item.columns or ())[starts[0] : starts[0] + wanted]
        item.kind = ROW if item.text.strip() else OPEN
    return rows.resolve(run, reading, kinds)


def _two_places(wide: Sequence[Item], starts: range, wanted: int, place: str, reading: Reading) -> Question:
    """Which empty column is one of the grid cannot be told."""
    message = (
        f"the grid may be in columns {starts[0] + 1} to {starts[0] + wanted} or in columns {starts[1] + 1} to"
        f" {starts[1] + wanted}, since the others are empty; write 0 for blanks"
    )
    return reading.fault(place, "".join(item.text for item in wide)[:200], message, wide[0].number)


def _is_header(fields: Sequence[str], cells: int) -> bool:
    """Whether too few fields hold a cell for a puzzle."""
    return sum(CELL.fullmatch(field) is not None for field in fields) < cells


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
    if _is_lettered(text):  # the names of columns, above a grid
        return Item(number, line, WORDS)
    if len(cells) == columns_wanted and kinds.is_cells(text.replace(" ", "")):
        return Item(number, line, OPEN if not text.strip() else ROW, text, places)
    return Item(number, line, ODD, text, places[: len(text)])


def _is_lettered(text: str) -> bool:
    """Whether cells are A, B, C and so on."""
    letters = text.strip().upper()
    return len(letters) > 2 and letters == "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(letters)]


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
    if cells is None and chosen[-1] < len(fields):  # other columns hold more
        found = {column: CELL.fullmatch(fields[column]) for column in chosen}
        if all(found.values()):
            cells = [(match[1] or " ") if (match := found.get(n)) else "" for n in range(len(fields))]
    if cells is None or chosen[-1] >= len(fields):
        return reading.fault(place, line[:200], f"has {len(fields)} columns, expected a cell in each", number)

    def where(index: int) -> tuple[int, int]:
        return number, sum(len(field) + 1 for field in fields[: chosen[index]]) + 1

    return reading.question("".join([cells[column] for column in chosen]), where, place, number)
