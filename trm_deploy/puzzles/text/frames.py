"""Rows in which spaces stand for blanks, where a frame or the lines' width tells the columns."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from operator import itemgetter

from trm_deploy.puzzles.text.shapes import (
    BARRED,
    BARS,
    BLANK,
    DRAWN,
    EITHER,
    ODD,
    OPEN,
    REMEMBERED,
    ROW,
    RULED_LINE,
    Item,
    Shapes,
)

_BARS = re.compile(f"[{re.escape(BARS)}]+")
Spans = list[tuple[int, int]]  # of the parts of a line between bars: from, to


Layouts = dict[str, tuple[int, ...]]
_LAID_OUT = (ROW, BARRED, OPEN)
_DIGITS = str.maketrans("123456789", " " * 9)


def with_spaces(items: list[Item], shapes: Shapes, layouts: Layouts) -> list[Item]:
    """The run with its rows that have spaces for blanks as full rows; as it is where their columns cannot be told.

    Args:
        items: the run.
        shapes: of the file's lines.
        layouts: columns of cells that earlier grids of the file have shown; is added to.
    """
    rows = [item for item in items if item.kind in (ROW, BARRED, OPEN, ODD, EITHER)]
    if any(item.kind == BARRED for item in rows):
        return _as_before(items, rows, layouts) or _framed(items, rows, shapes, layouts) or items
    if any(item.kind == ODD for item in rows):
        return _fixed_width(items, shapes) or items
    return items


def _fixed_width(items: list[Item], shapes: Shapes) -> list[Item] | None:
    """Rows of exactly as many characters as cells, without a frame."""
    columns = shapes.form.columns
    made = []
    for item in items:
        if item.kind in (ROW, ODD, EITHER) or (item.kind == BLANK and len(item.line) == columns):
            if len(item.line) != columns or not set(item.line) <= shapes.digits | {" "}:
                return None
            made.append(Item(item.number, item.line, ROW, item.line, range(1, columns + 1)))
        else:
            made.append(item)
    return made


def _as_before(items: list[Item], rows: Sequence[Item], layouts: Layouts) -> list[Item] | None:
    """The run read as earlier grids in the same frame were, where that leaves no digit over."""
    made: dict[int, Item] = {}
    for item in rows:
        line, kind = item.line, item.kind
        columns = layout_of(line, layouts)
        if columns is None or kind not in _LAID_OUT:
            return None
        if kind == OPEN:  # a row of blanks or a part of the frame: its neighbours decide
            continue
        text = "".join(itemgetter(*columns)(f" {line}".ljust(columns[-1] + 1)))
        if len(text) - text.count(" ") != len(item.text):
            return None
        made[item.number] = Item(item.number, line, ROW, text, columns)
    return [made.get(item.number, item) for item in items]


def layout_of(line: str, layouts: Layouts) -> tuple[int, ...] | None:
    """The columns of the cells in a line, where an earlier grid had one that looks the same."""
    return layouts.get(line.translate(_DIGITS))


def _framed(items: list[Item], rows: Sequence[Item], shapes: Shapes, layouts: Layouts) -> list[Item] | None:
    lines = {item.number: item.line.translate(DRAWN).rstrip() for item in rows}
    first = next(item for item in rows if item.kind == BARRED)
    bars = _bars(lines[first.number])
    # A line of blanks or dashes whose bars are elsewhere is a part of the frame, or an empty header.
    kept = [item for item in rows if item.kind not in (OPEN, EITHER) or _bars(lines[item.number]) == bars]
    dropped = {item.number for item in rows} - {item.number for item in kept}
    items = [item if item.number not in dropped else Item(item.number, item.line, RULED_LINE) for item in items]
    rows = kept
    lines = {item.number: lines[item.number] for item in rows}
    if any("\t" in line or _bars(line) != bars for line in lines.values()):
        return None
    width = max(map(len, lines.values()))
    lines = {number: line.ljust(width) for number, line in lines.items()}
    for spans in _layouts(bars, width, lines.values(), shapes):
        texts = _read(list(lines.values()), spans, shapes.form.columns // len(spans))
        if texts is None:
            continue
        made = dict(zip(lines, texts))
        for item in rows:
            if item.kind in (ROW, BARRED) and len(layouts) < REMEMBERED:
                layouts[item.line.translate(_DIGITS)] = tuple(made[item.number][1])
        return [_as_row(item, *made[item.number]) if item.number in made else item for item in items]
    return None


def _bars(line: str) -> Spans:
    return [match.span() for match in _BARS.finditer(line)]


def _as_row(item: Item, text: str, columns: list[int]) -> Item:
    if item.kind in (OPEN, EITHER):
        return item  # a row of blanks or a part of the frame: its neighbours decide
    return Item(item.number, item.line, ROW, text, columns)


def _layouts(bars: Spans, width: int, lines: Collection[str], shapes: Shapes) -> Iterator[Spans]:
    """The parts of a line that hold cells: between outer bars, or from end to end where there are inner bars alone."""
    edges = [0, *(edge for bar in bars for edge in bar), width]
    every = list(zip(edges[::2], edges[1::2]))
    columns = shapes.form.columns
    if len(bars) > 1 and columns % (len(bars) - 1) == 0:
        inner = every[1:-1]
        outside = [line[slice(*span)].strip() for line in lines for span in (every[0], every[-1])]
        if not any(outside) or _are_labels(outside[::2], outside[1::2]):
            yield inner
    if columns % len(every) == 0 and every[0][1] > every[0][0]:
        yield every


def _are_labels(left: Sequence[str], right: Sequence[str]) -> bool:
    return not any(right) and len(set(left)) == len(left) and all(len(label) == 1 for label in left)


def _read(lines: Sequence[str], spans: Spans, cells: int) -> list[tuple[str, list[int]]] | None:
    """The cells of each line, and their columns; None where they could be told in two ways, or not at all."""
    texts = ["" for _ in lines]
    columns: list[int] = []
    strides = _strides(lines, spans, cells)
    if strides is None:
        return None
    for (start, _), offsets in zip(spans, strides):
        columns += [start + offset + 1 for offset in offsets]
        for number, line in enumerate(lines):
            texts[number] += "".join(line[start + offset] if start + offset < len(line) else " " for offset in offsets)
    return [(text, columns) for text in texts]


def _strides(lines: Sequence[str], spans: Spans, cells: int) -> list[list[int]] | None:
    """Of each part of the lines, the offsets of its cells: equally far apart, with equal margins up to one space."""
    widest = max(end - start for start, end in spans)
    found: list[list[list[int]]] = []
    for stride in range(1, widest + 1):
        parts = []
        for start, end in spans:
            used = {offset for line in lines for offset, c in enumerate(line[start:end]) if c != " "}
            possible = []
            for first in range(end - start):
                offsets = [first + stride * cell for cell in range(cells)]
                margin = end - start - 1 - offsets[-1]
                if margin >= 0 and abs(first - margin) <= 1 and used <= set(offsets):
                    possible.append(offsets)
            parts.append(possible)
        if all(parts):
            found.append([_widest(possible) for possible in parts])
            if any(_differ(lines, span, possible) for span, possible in zip(spans, parts)):
                return None
    readings = {tuple(_taken(lines, spans, offsets)) for offsets in found}
    return found[-1] if len(readings) == 1 else None


def _widest(possible: list[list[int]]) -> list[int]:
    return possible[0]


def _differ(lines: Sequence[str], span: tuple[int, int], possible: list[list[int]]) -> bool:
    return len({tuple(_taken(lines, [span], [offsets])) for offsets in possible}) > 1


def _taken(lines: Sequence[str], spans: Spans, strides: Sequence[Sequence[int]]) -> Iterator[str]:
    for line in lines:
        yield "".join(line[start + o] for (start, _), offsets in zip(spans, strides) for o in offsets)
