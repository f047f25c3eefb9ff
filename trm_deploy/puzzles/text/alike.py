"""Grids that look like the one before them, which most of a long file are: told by their lines' looks, at once.

What is read is what a look at each line would give (`rows.resolve`): whatever differs from the grid before in more than
its digits and blanks is left to that.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter

from trm_deploy.puzzles.text.frames import layout_of
from trm_deploy.puzzles.text.question import Question, Reading
from trm_deploy.puzzles.text.shapes import BARRED, ROW, RULED_LINE, WORDS, Item, Shapes
from trm_deploy.puzzles.text.source import Line

KINDS = frozenset((ROW, BARRED, RULED_LINE))


@dataclass(frozen=True)
class Look:
    """What the lines of a grid look like.

    Attributes:
        shapes: of the task's lines.
        mapping: makes of lines that differ in their digits, and in . for a blank, the same text.
        text: the grid's lines, after that.
        sizes: their lengths.
        places: of each cell the line, from 0, and the column, from 1.
        cells: takes the cells from the lines with a space behind them.
        spaced: whether spaces stand for blanks.
    """

    shapes: Shapes
    mapping: dict[int, str]
    text: str
    sizes: tuple[int, ...]
    places: tuple[tuple[int, int], ...]
    cells: Callable[[str], tuple[str, ...]]
    spaced: bool

    def question(self, lines: Sequence[Line], reading: Reading) -> Question | None:
        """The puzzle of lines of these lengths; None where they look otherwise, or need a closer look."""
        together = "\n".join([line for _, line in lines])
        if together.translate(self.mapping) != self.text:
            return None
        text = "".join(self.cells(together + " "))
        if self.spaced:
            digits = self.text.count(" ") - together.count(" ")
            # A row without a digit may be a part of the frame, and a digit outside of the cells is none of theirs.
            columns = self.shapes.form.columns
            rows = [text[place : place + columns] for place in range(0, len(text), columns)]
            if " " * columns in rows or digits != len(text) - text.count(" "):
                return None
        start, places = lines[0][0], self.places
        first, last = start + places[0][0], start + places[-1][0]
        made = reading.question(
            text,
            lambda index: (start + places[index][0], places[index][1]),
            f"{reading.name} lines {first}-{last}",
            first,
        )
        return None if made.error else made


def look_of(items: Sequence[Item], reading: Reading, shapes: Shapes) -> Look | None:
    """What a run looks like that was one whole grid; None where lines that look alike may still be something else."""
    kinds = [item.kind for item in items]
    if not KINDS.issuperset(kinds) or len(kinds) - kinds.count(RULED_LINE) != shapes.form.rows:
        return None
    if any(a == b == RULED_LINE for a, b in itertools.pairwise(kinds)):
        return None
    spaced = BARRED in kinds
    mapping, blank = (shapes.to_spaces, " ") if spaced else (shapes.to_skeleton, "0")
    lines: list[str] = []
    places: list[tuple[int, int]] = []
    for number, item in enumerate(items):
        line = item.line.translate(mapping)
        lines.append(line)
        if len(line) >= shapes.cells:
            return None
        if item.kind == RULED_LINE:
            if blank in line:  # only the same line looks the same
                return None
        elif spaced:
            layout = layout_of(item.line, reading.layouts)
            if layout is None:
                return None
            places += [(number, column) for column in layout]
        elif shapes.is_known_row(line):
            places += [(number, column) for _, column in item.positions()]
        else:
            return None
    text = "\n".join(lines)
    starts = list(itertools.accumulate((len(line) + 1 for line in lines), initial=0))
    # What is behind the end of a line is a blank: the space behind all of them.
    taken = [starts[number] + column - 1 if column <= len(lines[number]) else len(text) for number, column in places]
    return Look(shapes, mapping, text, tuple(map(len, lines)), tuple(places), itemgetter(*taken), spaced)


def read(look: Look, lines: Iterator[Line], reading: Reading) -> Iterator[Question | list[Line]]:
    """The grids that look like the one before, each by itself between words, blank lines and the file's end.

    Yields:
        Their questions; last of all a list with the lines that were taken and are to be read line by line.
    """
    while True:
        taken: list[Line] = []
        for size in look.sizes:
            entry = next(lines, None)
            if entry is not None:
                taken.append(entry)
            if entry is None or len(entry[1]) != size:
                yield taken
                return
        after = next(lines, None)
        rest = [] if after is None else [after]
        blank = after is None or not after[1].strip()
        question = None
        if blank or look.shapes.item(*rest[0]).kind == WORDS:
            question = look.question(taken, reading)
        if question is None:
            yield taken + rest
            return
        yield question
        if not blank:
            yield rest
            return
