"""What readers of puzzle text give, and what they know while they read one file."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trm_deploy.errors import InputError, PuzzleError
from trm_deploy.puzzles.base import TextPuzzle, Tokens

Position = tuple[int, int]  # line and column, from 1
Where = Callable[[int], Position]  # of a character of a puzzle's text, by its index

# Sides of Sudokus for which there is no task.
LARGER = (12, 16, 25)
CELLS = re.compile(r"[0-9A-Za-z.\-*?_]+")
# As spreadsheets write a number that is too long for them: 5.3007E+80, or with a decimal comma.
SCIENTIFIC = re.compile(r"[+-]?\d(?:[.,]\d*)?[eE][+-]?\d{1,3}")
STRIPPED = "; where an editor strips trailing spaces, write . for an open cell"


@dataclass(frozen=True)
class Question:
    """One puzzle as read.

    Attributes:
        place: where it came from, as in "puzzles.txt line 3".
        text: as it was written, joined to one line where it was a grid.
        tokens: int32 [L]; None where it could not be read.
        error: what is wrong; empty where nothing is.
        line: line of the file, from 1, the first one of a grid; None where it is not from lines.
        columns: the other columns of its row, by name; None where it is not a row of a table.
        answer: the known answer int32 [L] beside it; None where there is none, or it is not a whole answer.
        has_answer: whether its row has a column for the answer.
        answered: what an earlier run wrote of it, where its answer is there and obeys the rules.
    """

    place: str
    text: str
    tokens: Tokens | None
    error: str = ""
    line: int | None = None
    columns: Mapping[str, str] | None = None
    answer: Tokens | None = None
    has_answer: bool = False
    answered: Mapping[str, Any] | None = None


class OfOtherSize(Question):
    """A puzzle that is whole, of another size of the same task."""


class OtherSize(InputError):
    """The puzzles are of another size of the same task."""


@dataclass(frozen=True)
class Answered:
    """A puzzle with its answer, as a line of a file has them.

    Attributes:
        place: as of `Question`.
        question, answer: the text.
    """

    place: str
    question: str
    answer: str


@dataclass(frozen=True)
class Reading:
    """One file that is being read.

    Attributes:
        name: of the file, for messages.
        puzzle: the task.
        column: the column or key that holds the puzzles; None: found by its name or by what it holds.
        forced: whether the format was named, so that text which could be read in two ways is read in that one.
        find_answers: whether an answer is looked for by what it holds where no column or key is named so.
    """

    name: str
    puzzle: TextPuzzle
    column: str | None = None
    forced: bool = False
    find_answers: bool = False
    # Columns of the cells, by the look of a framed row whose digits are left out; what earlier grids have shown.
    layouts: dict[str, tuple[int, ...]] = field(default_factory=dict, compare=False, repr=False)

    def question(self, text: str, where: Where, place: str, line: int | None) -> Question:
        """A puzzle from its cells, or what is wrong with them."""
        puzzle = self.puzzle
        try:
            tokens = puzzle.parse_line(text)
        except PuzzleError as error:
            if side := self.side(text):
                return self.of_other_size(text, line, side)
            damage = damaged(text, puzzle)
            if damage or error.position is None:
                return self.fault(place, text, damage or f"{error}{self.lost_spaces}", line)
            of, column = where(error.position)
            return Question(place, text, None, f"{self.name} line {of} column {column}: {error}", line)
        faults = puzzle.question_faults(tokens)
        if faults:
            return self.fault(place, text, f"the givens break the rules: {'; '.join(faults)}", line)
        return Question(place, text, tokens, "", line)

    def fault(self, place: str, text: str, message: str, line: int | None) -> Question:
        """A puzzle that cannot be read."""
        return Question(place, text, None, f"{place}: {message}", line)

    def side(self, text: str) -> int:
        """The side of another size of the task, of which a text is a whole puzzle; 0 where it is of none."""
        for other in self.puzzle.other_sizes():
            if len(text) == other.cells:
                with contextlib.suppress(PuzzleError):
                    other.parse_line(text)
                    return other.form.rows
        larger = next((side for side in LARGER if side * side == len(text)), 0)
        return larger if self.puzzle.other_sizes() and larger and CELLS.fullmatch(text) else 0

    def of_other_size(self, text: str, line: int | None, side: int) -> OfOtherSize:
        """A whole puzzle of another size."""
        form = self.puzzle.form
        place = self.name if line is None else f"{self.name} line {line}"
        error = f"{place}: looks like {side} x {side}; this engine is for {form.rows} x {form.columns}"
        return OfOtherSize(place, text, None, error, line)

    def known_answer(self, text: str) -> Tokens | None:
        """The tokens of an answer beside a puzzle; None where it is not a whole answer."""
        try:
            return self.puzzle.parse_line(text.strip())
        except PuzzleError:
            return None

    @property
    def lost_spaces(self) -> str:
        """What may have happened to a text that is too short."""
        return STRIPPED if self.puzzle.form.spaces_are_cells else ""


def damaged(text: str, puzzle: TextPuzzle) -> str:
    """What another program has done to a puzzle, in words; empty where nothing of that kind is seen."""
    if puzzle.form.spaces_are_cells:
        return ""
    text = text.strip()
    if SCIENTIFIC.fullmatch(text):
        return (
            f"{text!r} is how spreadsheets write a long number: its digits are lost; in the spreadsheet, set the"
            " column to text before the puzzles come in, and export it again"
        )
    short = puzzle.cells - len(text)
    if text.isdigit() and "0" in text and 0 < short <= puzzle.cells // 2:
        return (
            f"{len(text)} characters, expected {puzzle.cells} ({puzzle.form.rows} rows of {puzzle.form.columns});"
            f" {short} leading {'zero' if short == 1 else 'zeros'} may be lost, as where a spreadsheet or a table takes"
            " a puzzle for a number: keep the column as text"
        )
    return ""


def at(line: int, column: int) -> Where:
    """Characters that follow each other from a place on."""
    return lambda index: (line, column + index)


def listed(positions: Sequence[Position]) -> Where:
    """Characters whose places are listed."""
    return lambda index: positions[min(index, len(positions) - 1)]
