"""Puzzles one a line, and grids in any frame, in any mixture, between words.

A line with a whole puzzle is given at once, whatever else is on it: a number, a rating, a solution. Rows are collected
until words, a puzzle or the end of the file ends their run, see `rows`; one grid between blank lines is given at once.
Words beside grids are titles and remarks. Words among lines of puzzles are taken for malformed puzzles.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Generator, Iterable, Iterator

from trm_deploy.errors import InputError
from trm_deploy.puzzles.text import alike, columns, rows
from trm_deploy.puzzles.text.question import Question, Reading, Where, at
from trm_deploy.puzzles.text.shapes import (
    BARRED,
    BLANK,
    CUT,
    EITHER,
    HEADING,
    MARKS,
    NEVER_ALONE,
    OPEN,
    ROW,
    RULED_LINE,
    WORDS,
    Item,
    Shapes,
    shapes,
)
from trm_deploy.puzzles.text.source import MAX_DOCUMENT, MAX_LINE, Line, Source

# Words that wait for a grid which would make them its title.
REMARKS = 200
SEPARATOR_HINT = re.compile(r'"?sep=."?', re.IGNORECASE)


def without_hint(lines: Iterable[Line]) -> Iterator[Line]:
    """Lines without a first one that tells Excel what parts the columns."""
    rest = iter(lines)
    first = next(rest, None)
    return rest if first is None or SEPARATOR_HINT.fullmatch(first[1]) else itertools.chain([first], rest)


def content(lines: Iterable[Line], comment: str) -> Iterator[Line]:
    """Lines without comments, and without Excel's line about the separator."""
    if not comment:
        yield from without_hint(lines)
        return
    for entry in without_hint(lines):
        line = entry[1]
        if comment in line or line[:1] == ">":
            if line[:1] == ">":  # quoted in an answer to a message
                line = " " * (len(line) - len(line.lstrip("> "))) + line.lstrip("> ")
            entry = entry[0], line.partition(comment)[0]
        yield entry


def looks_like_lines(source: Source, reading: Reading) -> int:
    """3 where the first line with anything on it is a whole puzzle."""
    first = first_line(source, reading)
    return 3 * shapes(reading.puzzle).is_whole(first.strip())


def looks_like_grids(source: Source, reading: Reading) -> int:
    """3 where the first line with anything on it is a row, or a part of a frame."""
    first = first_line(source, reading)
    kind = shapes(reading.puzzle).item(1, first).kind
    return 3 * (kind in (EITHER, RULED_LINE, ROW) and not any(mark in first for mark in '[]{}();,\t"'))


def first_line(source: Source, reading: Reading) -> str:
    """The first line that is not blank or a comment, of the first few hundred."""
    for count in (1, 10, 300):
        for _, line in content(source.peek(count), reading.puzzle.form.comment):
            if line.strip():
                return line[:MAX_LINE]
    return ""


def read_mixed(source: Source, reading: Reading) -> Iterator[Question]:
    """Lines and grids."""
    return _Reader(reading, lines=True, grids=True).read(content(source.lines(), reading.puzzle.form.comment))


def read_lines(source: Source, reading: Reading) -> Iterator[Question]:
    """Every line a puzzle where that is forced; else as `read_mixed`."""
    made = _Reader(reading, lines=True, grids=not reading.forced)
    return made.read(content(source.lines(), reading.puzzle.form.comment))


def read_grids(source: Source, reading: Reading) -> Iterator[Question]:
    """Grids alone where that is forced; else as `read_mixed`."""
    made = _Reader(reading, lines=not reading.forced, grids=True)
    return made.read(content(source.lines(), reading.puzzle.form.comment))


class _Reader:
    """What has been seen of a file."""

    def __init__(self, reading: Reading, *, lines: bool, grids: bool) -> None:
        self.reading = reading
        self.shapes: Shapes = shapes(reading.puzzle)
        self.lines, self.grids = lines, grids
        self.run: list[Item] = []
        self.size = self.rows = self.open = 0  # of the run: its characters, its rows, and those without a given
        self.simple = True  # whether the run is rows and rules alone
        self.barred = False  # whether spaces stand for blanks in some of its rows
        self.remarks: list[Line] = []  # words before anything that says what they are
        self.after_grid = False  # whether the last puzzle was a grid
        self.any = False  # whether there was a puzzle, or something that should be one
        self.look: alike.Look | None = None  # of the last run that was one whole grid, and is told by it
        self.skipping = ""  # the word of a heading under which there is no question

    def read(self, lines: Iterator[Line]) -> Iterator[Question]:
        """The puzzles of all lines."""
        unread: list[Line] | None = []
        while unread is not None:
            again = iter(unread)
            unread = yield from self._read(itertools.chain(again, lines))
            if unread is not None:
                unread += again  # what was left unread before, and not come to
        yield from self._end_run()
        yield from self._end_remarks()

    def _read(self, lines: Iterator[Line]) -> Generator[Question, None, list[Line] | None]:
        """Line by line, up to grids that look like one before; what those left unread, None at the end of the file."""
        is_whole, cells, item = self.shapes.is_whole, self.shapes.cells, self.shapes.item
        name, question, add, alike_rows = self.reading.name, self.reading.question, self._add, rows.ROWS_ALIKE
        for number, line in lines:
            bare = line.strip()
            if self.lines and len(bare) == cells and is_whole(bare):
                if self.run or self.remarks or self.skipping:
                    yield from self._before_a_line()
                    if self._skips(bare):
                        continue
                self.after_grid, self.any = False, True
                yield question(bare, at(number, line.index(bare) + 1), f"{name} line {number}", number)
            elif not self.grids:
                if bare:
                    yield self._line(number, line, bare)
            elif len(line) < cells:
                if bare or self.run:
                    found = item(number, line)
                    kind = found.kind
                    if kind in alike_rows or (kind == RULED_LINE and not (self.run and self.run[-1].kind == kind)):
                        add(found)
                        continue
                    yield from self._sorted(found, bare)
                    if self.look is not None and not self.run and not self.skipping:
                        for other in alike.read(self.look, lines, self.reading):
                            if isinstance(other, list):
                                return other
                            self.any = self.after_grid = True
                            self.remarks = []
                            yield other
            else:
                yield from self._long(number, line, bare)
        return None

    def _long(self, number: int, line: str, bare: str) -> Iterator[Question]:
        """A line that is long enough for a puzzle, and is not just that."""
        cells = self.shapes.cells
        if self.lines:
            if len(bare) == cells and len(set(bare)) == 1 and bare[0] in NEVER_ALONE and not self.run:
                yield self._rule_or_puzzle(number, bare)
                return
            whole = self.shapes.whole(line)
            # A row that is wide, as of an engine for small grids, is a row.
            if whole is not None and self.shapes.item(number, line).kind not in (ROW, RULED_LINE):
                yield from self._before_a_line()
                if not self._skips(whole[0]):
                    self.after_grid, self.any = False, True
                    yield self._found(number, *whole)
                return
        item = self.shapes.item(number, line)
        if len(bare) == cells and item.kind not in (MARKS, ROW, RULED_LINE) and self._nearly(bare):
            item.kind = CUT
        yield from self._sorted(item, bare)

    def _sorted(self, item: Item, bare: str) -> Iterator[Question]:
        """A line that is no puzzle: words, or something to be looked at with its neighbours."""
        if item.kind == WORDS:
            yield from self._words(item.number, item.line, bare)
        elif item.kind == CUT and not self.skipping:
            yield from self._before_a_line()
            self.any = True
            yield self._line(item.number, item.line, bare)
        else:
            if item.kind == BLANK or (item.kind == RULED_LINE and self._is_ruled()):
                yield from self._end_whole_run()
            if item.kind != BLANK or self.run:
                self._add(item)

    def _nearly(self, bare: str) -> bool:
        """Whether a line as long as a puzzle has mostly cells."""
        return 2 * len(bare.translate(self.shapes.none_but_cells)) < len(bare)

    def _is_ruled(self) -> bool:
        return bool(self.run) and self.run[-1].kind == RULED_LINE

    def _add(self, item: Item) -> None:
        self.run.append(item)
        kind = item.kind
        if kind == ROW:
            self.rows += 1
        elif kind == BARRED:
            self.rows += 1
            self.barred = True
        elif kind == OPEN:
            self.open += 1
        elif kind != RULED_LINE:
            self.simple = False
        self.size += len(item.line) + 1
        if self.size > MAX_DOCUMENT:
            raise InputError(
                f"{self.reading.name} line {item.number}: rows follow each other for {MAX_DOCUMENT >> 20} MiB without a"
                " blank line or a title between grids, so that a lost row could not be found",
                hint="put a blank line between grids, or write a puzzle a line",
            )

    def _end_whole_run(self) -> Iterator[Question]:
        """One grid by itself, or several: the common case, given without waiting for what follows."""
        height = self.shapes.form.rows
        if not self.simple or not self.rows:
            return
        if not self.barred and not self.open and self.rows % height == 0:
            yield from self._end_run()
        elif self.rows + self.open == height:
            found = rows.resolve(self.run, self.reading, self.shapes)
            if found.grids and not any(question.error for question in found.questions):
                yield from self._give(found)

    def _words(self, number: int, line: str, bare: str) -> Iterator[Question]:
        yield from self._end_run()
        heading = HEADING.fullmatch(bare)
        self.skipping = heading["word"].lower() if heading and self.any else ""
        if self.after_grid or self.skipping:
            return
        if columns.is_question(bare.rstrip(":")):
            return  # what follows is what it says
        self.remarks.append((number, line))
        if len(self.remarks) > REMARKS:
            yield self._line(*self.remarks.pop(0), "")

    def _skips(self, text: str) -> bool:
        """Whether a puzzle belongs to what is under a heading such as Solution or State."""
        if not self.skipping:
            return False
        solved = self.shapes.digits.issuperset(text)
        if not solved and not self.skipping.startswith(("state", "current", "pencil", "candidates")):
            self.skipping = ""
        return bool(self.skipping)

    def _before_a_line(self) -> Iterator[Question]:
        yield from self._end_run()
        yield from self._end_remarks()

    def _end_run(self) -> Iterator[Question]:
        if self.run:
            yield from self._give(rows.resolve(self.run, self.reading, self.shapes, after_grid=self.after_grid))

    def _give(self, found: rows.Found) -> Iterator[Question]:
        """What a run held; a new one begins."""
        whole = found.grids and len(found.questions) == 1 and not found.questions[0].error
        self.look = (whole and alike.look_of(self.run, self.reading, self.shapes)) or self.look
        self.run = []
        self.size, self.rows, self.open, self.simple, self.barred = 0, 0, 0, True, False
        kept = [question for question in found.questions if not self._skips(question.text)]
        if kept or found.grids:
            self.any = self.after_grid = True
            self.remarks = []  # words above it were its title
        yield from kept

    def _end_remarks(self) -> Iterator[Question]:
        """Words that turned out to be no titles: as today, lines in which a puzzle is expected."""
        remarks, self.remarks = self.remarks, []
        for number, line in remarks:
            yield self._line(number, line, line.strip())

    def _line(self, number: int, line: str, bare: str) -> Question:
        if not self.lines:
            message = f"{len(bare)} characters, expected rows of {self.shapes.form.columns}"
            return self.reading.fault(f"{self.reading.name} line {number}", bare, message, number)
        whole = self.shapes.whole(line) if len(line) >= self.shapes.cells else None
        if whole is not None:
            return self._found(number, *whole)
        bare = bare or line.strip()
        return self.reading.question(
            bare, at(number, line.find(bare) + 1), f"{self.reading.name} line {number}", number
        )

    def _found(self, number: int, text: str, where: Where) -> Question:
        place = f"{self.reading.name} line {number}"
        return self.reading.question(text, lambda index: (number, where(index)[1]), place, number)

    def _rule_or_puzzle(self, number: int, bare: str) -> Question:
        self.any = True
        place = f"{self.reading.name} line {number}"
        return self.reading.fault(
            place,
            bare,
            f"{len(bare)} times {bare[0]!r} is either a puzzle without givens or a rule between puzzles; write . for"
            " blanks, or take the line away",
            number,
        )
