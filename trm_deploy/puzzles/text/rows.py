"""From rows that follow each other in a file to grids; where they could be told apart in two ways, to a complaint.

A run is what is between words, whole puzzles and the ends of a file: rows, frames, blank lines, and lines that
may be rows with a slip in them. It is looked at as a whole, because a row that is missing shows at its end alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trm_deploy.puzzles.text import frames
from trm_deploy.puzzles.text.question import Question, Reading, listed
from trm_deploy.puzzles.text.shapes import (
    BARRED,
    BLANK,
    CUT,
    EITHER,
    MARKS,
    ODD,
    OPEN,
    ROW,
    RULED_LINE,
    Item,
    Shapes,
)

PLAIN = frozenset((ROW, RULED_LINE))
ROWS_ALIKE = (ROW, EITHER, OPEN, BARRED, ODD)


@dataclass(frozen=True)
class Found:
    """What a run held.

    Attributes:
        questions: puzzles and complaints, in order.
        grids: whether a whole grid was among it, so that words beside it are remarks.
    """

    questions: tuple[Question, ...] = ()
    grids: bool = False


def resolve(items: Sequence[Item], reading: Reading, shapes: Shapes, *, after_grid: bool = False) -> Found:
    """The grids of a run.

    Args:
        items: its lines, in order.
        reading: the file.
        shapes: of its lines.
        after_grid: whether a whole grid came before, so that a grid of candidates is a note on it.
    """
    items = list(items)
    if (plain := _plain(items, reading, shapes)) is not None:
        return plain
    if not any(item.kind in (*ROWS_ALIKE, MARKS) for item in items):
        return Found()
    if any(item.kind == MARKS for item in items):
        return _candidates(items, reading, shapes, after_grid)
    items = frames.with_spaces(items, shapes, reading.layouts)
    numbered = any(len(item.text) != shapes.form.columns for item in items if item.kind == ROW)
    if not numbered and (plain := _plain(items, reading, shapes)) is not None:
        return plain
    items = _without_labels(items, shapes)
    settled = _settled(items, reading, shapes)
    return settled if isinstance(settled, Found) else _grids(settled, reading, shapes)


def _plain(items: Sequence[Item], reading: Reading, shapes: Shapes) -> Found | None:
    """A grid by itself: full rows, as many as it has, with rules between some of them; None where there is more."""
    rows = [item for item in items if item.kind == ROW]
    if len(rows) != shapes.form.rows or not all(item.kind in PLAIN for item in items):
        return None
    if _has_double_rule(items):
        return None
    return Found((_question(rows, reading),), True)


def _has_double_rule(items: Sequence[Item]) -> bool:
    """Whether two rules follow each other between rows."""
    places = [place for place, item in enumerate(items) if item.kind == ROW]
    inside = items[places[0] : places[-1]]
    return any(a.kind == b.kind == RULED_LINE for a, b in itertools.pairwise(inside))


def place(reading: Reading, items: Sequence[Item]) -> str:
    """Where a grid is."""
    first, last = items[0].number, items[-1].number
    return f"{reading.name} line {first}" if first == last else f"{reading.name} lines {first}-{last}"


def _candidates(items: Sequence[Item], reading: Reading, shapes: Shapes, after_grid: bool) -> Found:
    marks = [item for item in items if item.kind == MARKS]
    first = items.index(marks[0])
    # A grid of candidates begins with its first row, which may have single digits alone.
    before = [item for item in items[:first] if item.kind != BLANK]
    rows = [item for item in items if item.kind in (ROW, MARKS)]
    if len(rows) % shapes.form.rows == 0 and len(rows) > shapes.form.rows:  # a puzzle, and its candidates beneath
        count = len(rows) - shapes.form.rows
        start = items.index(rows[count])
        if all(item.kind != MARKS for item in rows[:count]):
            found = resolve(items[:start], reading, shapes)
            return found if found.grids else Found((*found.questions, _marked(marks, reading)))
    if after_grid and len(rows) <= shapes.form.rows and all(item.kind in (ROW, RULED_LINE, OPEN) for item in before):
        return Found()
    return Found((_marked(rows, reading),))


def _marked(rows: Sequence[Item], reading: Reading) -> Question:
    at = place(reading, rows)
    text = " ".join(item.line.strip() for item in rows)[:200]
    return reading.fault(
        at, text, "is a grid of candidates (cells hold several digits), expected the givens alone", rows[0].number
    )


# ------------------------------------------------------------------------------------------------ numbered rows

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _without_labels(items: list[Item], shapes: Shapes) -> list[Item]:
    """Rows without their numbers or letters, where each has one; and without the numbers of the columns above them."""
    form = shapes.form
    rows = [item for item in items if item.kind in (ROW, EITHER, ODD)]
    numbered = _headers(form.columns)
    labelled = [item for item in rows if len(item.text) == form.columns + 1 and item.text.lstrip() not in numbered]
    if labelled and len(labelled) % form.rows == 0:
        labels = "".join(item.text[0] for item in labelled)
        count = len(labelled) // form.rows
        sequences = ["".join(map(str, range(first, first + form.rows))) for first in (0, 1)]
        sequences += [_LETTERS[: form.rows], _LETTERS[: form.rows].lower()]
        inside = all(shapes.is_cells(item.text[1:].replace(" ", "")) for item in labelled)
        if inside and labels in [sequence * count for sequence in sequences]:
            headers = [item for item in rows if item.text.strip() in numbered]
            kept = []
            for item in items:
                if item in labelled:
                    columns = [column for _, column in item.positions()][1:]
                    kept.append(Item(item.number, item.line, ROW, item.text[1:], columns))
                elif item not in headers:
                    kept.append(item)
            return kept
    return items


def _headers(columns: int) -> tuple[str, str]:
    """The numbers of columns, from 0 and from 1."""
    digits = "".join(map(str, range(columns + 1)))
    return digits[:-1], digits[1:]


# ----------------------------------------------------------------------------------------------- rows or rules


def _settled(items: list[Item], reading: Reading, shapes: Shapes) -> list[Item] | Found:
    """The run with each line of one character taken for a row or for a rule; a complaint where it could be both."""
    doubtful = [item for item in items if item.kind in (EITHER, OPEN)]
    if not doubtful:
        return items
    rows = [item for item in items if item.kind == ROW]
    blanks = {character for item in rows for character in item.text} - shapes.digits
    as_rows, as_rules = _taken(items, ROW, shapes), _taken(items, RULED_LINE, shapes)
    both = [_all_whole(taken, shapes) for taken in (as_rows, as_rules)]
    symbols = {" " if item.kind == OPEN else item.text[0] for item in doubtful}
    if not rows and not any(item.kind in (ODD, BARRED) for item in items):
        if len(doubtful) % shapes.form.rows or not all(item.kind == EITHER for item in doubtful):
            return as_rules
        return Found((_undecided(doubtful, reading, shapes),))
    if blanks and not symbols & blanks:  # another character stands for a blank
        return as_rules if both[1] or not both[0] else as_rows
    if both[0] != both[1]:
        return as_rows if both[0] else as_rules
    if not both[0] and len(symbols & blanks) == len(symbols):
        return as_rows
    return Found((_undecided(doubtful, reading, shapes),)) if both[0] else as_rules


def _taken(items: list[Item], kind: str, shapes: Shapes) -> list[Item]:
    made = []
    for item in items:
        if item.kind == EITHER:
            made.append(Item(item.number, item.line, kind, item.text, item.columns))
        elif item.kind == OPEN:
            row = Item(item.number, item.line, ROW, " " * shapes.form.columns, [1] * shapes.form.columns)
            made.append(row if kind == ROW else Item(item.number, item.line, RULED_LINE))
        else:
            made.append(item)
    return made


def _all_whole(items: list[Item], shapes: Shapes) -> bool:
    units = _units(items, shapes)
    return any(unit.whole for unit in units) and all(
        unit.whole or is_remark for unit, is_remark in zip(units, _remarks(units))
    )


def _undecided(doubtful: Sequence[Item], reading: Reading, shapes: Shapes) -> Question:
    at = place(reading, doubtful)
    text = "".join(item.text for item in doubtful)
    character = text[:1] or " "
    return reading.fault(
        at,
        text[:200],
        f"{len(doubtful)} lines of {character!r} alone are either rows of blanks or rules between rows: both would"
        " give puzzles; write . for a blank",
        doubtful[0].number,
    )


# ---------------------------------------------------------------------------------------------- rows to grids


@dataclass
class _Unit:
    """Rows that nothing parts, or one line that is no row.

    Attributes:
        rows: the rows; none for an odd line.
        odd: the line that is no row.
        apart: whether a blank line, or two rules, part it from what is before it.
        whole: whether its rows make grids, alone or with others of its size.
    """

    rows: list[Item]
    odd: Item | None = None
    apart: bool = False
    whole: bool = False


def _units(items: Sequence[Item], shapes: Shapes) -> list[_Unit]:
    """Rows in the groups that blank lines and double rules make; rows that are numbered columns are left out."""
    units: list[_Unit] = []
    apart, ruled = True, False
    for item in items:
        if item.kind == BLANK or (item.kind == RULED_LINE and ruled):
            apart = True
        elif item.kind == ROW:
            if apart or not units or units[-1].odd is not None:
                units.append(_Unit([], apart=apart))
            units[-1].rows.append(item)
            apart = False
        elif item.kind in (ODD, BARRED, CUT):
            units.append(_Unit([], odd=item, apart=apart))
            apart = False
        ruled = item.kind == RULED_LINE or (item.kind == BLANK and ruled)
    _mark_whole(units, shapes)
    return units


def _mark_whole(units: list[_Unit], shapes: Shapes) -> None:
    """Groups that are grids by themselves, or equal parts of grids: as many of them as make grids without a rest."""
    rows = shapes.form.rows
    start = 0
    while start < len(units):
        size = len(units[start].rows)
        end = start + 1
        if size and size % rows == 0:
            units[start].whole = True
        elif size:
            while end < len(units) and len(units[end].rows) == size and units[end].apart:
                end += 1
            alone = end == len(units) or not units[end].odd or units[end].apart
            if rows % size == 0 and (end - start) * size % rows == 0 and alone:
                for unit in units[start:end]:
                    unit.whole = True
        start = end


def _grids(items: Sequence[Item], reading: Reading, shapes: Shapes) -> Found:
    questions: list[Question] = []
    faulty: list[_Unit] = []
    waiting: list[Item] = []
    grids = False
    units = _units(items, shapes)
    for unit, is_remark in zip(units, _remarks(units)):
        if is_remark:
            continue
        if not unit.whole:
            faulty.append(unit)
            continue
        if faulty:
            questions.append(_fault(faulty, reading, shapes))
            faulty = []
        waiting += unit.rows
        if len(waiting) % shapes.form.rows == 0:
            for question in _cut(waiting, reading, shapes):
                questions.append(question)
                grids = True
            waiting = []
    if faulty:
        questions.append(_fault(faulty, reading, shapes))
    return Found(tuple(questions), grids)


def _remarks(units: list[_Unit]) -> list[bool]:
    """Of each group whether it is an odd line directly above or below whole grids, and not inside of one."""
    found = [False] * len(units)
    start = 0
    while start < len(units):
        end = start + 1
        if units[start].odd is not None:
            # Odd lines that follow each other have the same neighbours.
            while end < len(units) and units[end].odd is not None and not units[end].apart:
                end += 1
            beside = [units[start - 1]] if start and not units[start].apart else []
            beside += units[end : end + 1] if end < len(units) and not units[end].apart else []
            outside = bool(beside) and all(neighbour.whole for neighbour in beside)
            for number in range(start, end):
                odd = units[number].odd
                found[number] = outside and odd is not None and odd.kind != CUT
        start = end
    return found


def _cut(rows: Sequence[Item], reading: Reading, shapes: Shapes) -> Iterator[Question]:
    """The grids of rows that are a multiple of a grid's."""
    height = shapes.form.rows
    for start in range(0, len(rows), height):
        part = rows[start : start + height]
        yield _question(part, reading)


def _question(rows: Sequence[Item], reading: Reading) -> Question:
    text = "".join(item.text for item in rows)

    def where(index: int) -> tuple[int, int]:
        return listed([position for item in rows for position in item.positions()])(index)

    return reading.question(text, where, place(reading, rows), rows[0].number)


def _fault(units: Sequence[_Unit], reading: Reading, shapes: Shapes) -> Question:
    """What is wrong with rows that make no grid."""
    form = shapes.form
    items = [item for unit in units for item in (unit.rows if unit.odd is None else [unit.odd])]
    text = "".join(item.text or item.line.strip() for item in items)[: 2 * reading.puzzle.cells]
    first = f"{reading.name} line {items[0].number}"
    odd = [item for item in items if item.kind in (ODD, BARRED, CUT)]
    sides = {len(item.text) for item in items}
    if sides == {len(items)} and form.rows not in sides:
        whole = "".join(item.text for item in items)
        if side := reading.side(whole):
            return reading.of_other_size(whole, items[0].number, side)
    if odd:
        return _odd(odd[0], items, text, reading, shapes)
    sizes = [len(unit.rows) for unit in units]
    total = sum(sizes)
    if total < form.rows or (len(sizes) == 1 and total < 2 * form.rows and total - form.rows < 0):
        return reading.fault(first, text, f"the grid ends after {total} rows, expected {form.rows}", items[0].number)
    if header := _numbered_columns(items, reading, shapes):
        return header
    groups = f" in groups of {', '.join(map(str, sizes[:12]))}" if len(sizes) > 1 else " after each other"
    return reading.fault(
        place(reading, items),
        text,
        f"{total} rows{groups}, expected {form.rows} a grid: which of them belong together, and what is missing or"
        " too much, cannot be told; put a blank line between grids",
        items[0].number,
    )


def _odd(item: Item, items: Sequence[Item], text: str, reading: Reading, shapes: Shapes) -> Question:
    form = shapes.form
    at = f"{reading.name} line {item.number}"
    if len(item.text) == form.columns:
        strange = next((i for i, c in enumerate(item.text) if c not in shapes.symbols), None)
        if strange is not None:
            line, column = item.positions()[strange]
            expected = f"a digit 1-{form.columns} or one of {form.blanks_listed} for a blank"
            message = f"{reading.name} line {line} column {column}: found {item.text[strange]!r}, expected {expected}"
            return Question(at, text, None, message, items[0].number)
    if len(items) == 1:
        bare = item.line.strip()
        return reading.question(bare, lambda index: (item.number, item.line.find(bare) + index + 1), at, item.number)
    row = items.index(item) % form.rows + 1
    cells = len(item.text)
    hint = " (spaces stand for blanks only where a frame, or lines of full width, tell the columns)"
    hint = hint if " " in item.line.strip() else ""
    return reading.fault(
        at, text, f"row {row} of a grid has {cells} cells, expected {form.columns}{hint}", items[0].number
    )


def _numbered_columns(items: Sequence[Item], reading: Reading, shapes: Shapes) -> Question | None:
    """A grid under a row that numbers its columns; both readings named where that row could belong to the grid."""
    form = shapes.form
    if len(items) != form.rows + 1 or items[0].text not in _headers(form.columns):
        return None
    under, with_it = _question(items[1:], reading), _question(items[:-1], reading)
    if not under.error and with_it.error:
        return under
    at = place(reading, items)
    return reading.fault(
        at,
        under.text,
        f"{len(items)} rows, expected {form.rows}: the first may number the columns, or the last may be too much;"
        " take away the one that is not part of the grid",
        items[0].number,
    )
