"""Sudoku, 9 x 9 and the smaller 6 x 6 (boxes of 2 x 3) and 4 x 4.

Token ids, as in the published data sets: 0 pad (never used), 1 blank, 1 + d the digit d. One line of text holds a
puzzle: its cells row by row, one of `BLANKS` for a blank, in the whole puzzle the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from trm_deploy.errors import PuzzleError
from trm_deploy.puzzles.base import DOUBTFUL, Symmetries, TextForm, Tokens, shade

BLANK = 1
BLANKS = ".0_-*Xx? ·•∙⋅□"


@dataclass(frozen=True)
class Sudoku:
    """Sudoku with boxes of `box_rows` x `box_columns` cells; the side of the grid is their product."""

    box_rows: int = 3
    box_columns: int = 3
    has_rules: ClassVar[bool] = True

    @cached_property
    def side(self) -> int:
        """Cells in a row; also the largest digit."""
        return self.box_rows * self.box_columns

    @cached_property
    def name(self) -> str:
        """As in `TaskSpec.name`."""
        return f"sudoku-{self.side}x{self.side}"

    @cached_property
    def cells(self) -> int:
        """L = side * side."""
        return self.side * self.side

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """pad, blank, then the digits."""
        return ("pad", ".", *(str(digit) for digit in range(1, self.side + 1)))

    @cached_property
    def form(self) -> TextForm:
        """Grids with or without lines between the boxes."""
        return TextForm(self.side, self.side, comment="#", frame="+-=|", spaces_are_cells=False, blanks=BLANKS)

    def other_sizes(self) -> tuple[Sudoku, ...]:
        """4 x 4, 6 x 6 and 9 x 9, without this size."""
        return tuple(other for other in (Sudoku(2, 2), Sudoku(2, 3), Sudoku(3, 3)) if other.side != self.side)

    def from_digits(self, digits: NDArray[np.integer]) -> Tokens:
        """Digits with 0 for a blank, any shape -> tokens of that shape."""
        return (digits + BLANK).astype(np.int32)

    def parse_line(self, line: str) -> Tokens:
        """The question or answer on one line.

        Returns:
            int32 [L].

        Raises:
            PuzzleError: a wrong length, or a wrong character with its position.
        """
        symbols = set(line).difference(self._digits)
        if len(symbols) > 1 or not symbols.issubset(BLANKS):
            self._refuse(line)
        if len(line) != self.cells:
            raise PuzzleError(f"{len(line)} characters, expected {self.cells} ({self.side} rows of {self.side})")
        digits = line.replace(symbols.pop(), "0") if symbols else line
        return np.frombuffer(digits.encode(), np.uint8).astype(np.int32) - (ord("0") - BLANK)

    @cached_property
    def _digits(self) -> frozenset[str]:
        return frozenset(self.vocabulary[BLANK + 1 :])

    def _refuse(self, line: str) -> None:
        """Say which character no puzzle has, or which is a second blank."""
        blank = ""
        for position, character in enumerate(line):
            if character in self._digits:
                continue
            if character not in BLANKS:
                raise PuzzleError(
                    f"found {character!r}, expected a digit 1-{self.side} or one of {self.form.blanks_listed} for a"
                    " blank",
                    position=position,
                )
            if blank and character != blank:
                raise PuzzleError(
                    f"found {character!r}, expected {blank!r} for a blank, as before it in this puzzle",
                    position=position,
                )
            blank = character

    def text(self, tokens: Tokens) -> str:
        """One line: digits, 0 for a blank and for anything that is not a digit."""
        return "".join(str(max(int(token) - BLANK, 0)) for token in tokens)

    def question_faults(self, question: Tokens) -> list[str]:
        """Rows, columns and boxes in which the givens repeat a digit."""
        return [f"{place} has {self._twice(cells, question)}" for place, cells in self._broken(question)]

    def answer_faults(self, question: Tokens, answer: Tokens) -> list[str]:
        """Cells without a digit, changed givens, and rows, columns and boxes that repeat a digit."""
        faults = []
        empty = int(np.count_nonzero(answer <= BLANK))
        if empty:
            faults.append(f"{empty} cells have no digit")
        given = question > BLANK
        for cell in np.flatnonzero(given & (question != answer)):
            row, column = divmod(int(cell), self.side)
            was, now = (self._digit(int(tokens[cell])) for tokens in (question, answer))
            faults.append(f"row {row + 1} column {column + 1} was given as {was} and became {now}")
        return faults + self.question_faults(answer)

    def _broken(self, tokens: Tokens) -> Iterator[tuple[str, NDArray[np.intp]]]:
        kinds = ("row", "column", "box")
        ordered = np.sort(tokens[self.units], axis=1)  # [3 * side, side]; all units at once: this runs for each answer
        repeated = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] > BLANK)).any(1)
        for number in np.flatnonzero(repeated):
            yield f"{kinds[number // self.side]} {number % self.side + 1}", self.units[number]

    @cached_property
    def units(self) -> NDArray[np.intp]:
        """The cells that hold each digit once: rows, then columns, then boxes, [3 * side, side]."""
        grid = np.arange(self.cells).reshape(self.side, self.side)
        boxes = grid.reshape(self.box_columns, self.box_rows, self.box_rows, self.box_columns)
        boxes = boxes.transpose(0, 2, 1, 3).reshape(self.side, self.side)
        return np.concatenate([grid, grid.T, boxes])

    def _twice(self, cells: NDArray[np.intp], tokens: Tokens) -> str:
        digits, counts = np.unique(tokens[cells], return_counts=True)
        repeated = [
            f"{digit - BLANK} {_times(count)}" for digit, count in zip(digits, counts) if digit > BLANK and count > 1
        ]
        return " and ".join(repeated)

    def draw(
        self, question: Tokens, answer: Tokens, *, colour: bool, confidence: NDArray[np.float32] | None = None
    ) -> str:
        """A grid with box lines. Givens are bold in colour; without colour, what was filled in is in (brackets).

        What is in doubt is on a coloured ground; without colour it is between question marks, as in ?5?.
        """
        width = 1 if colour else 3
        rule = "+".join(["-" * (self.box_columns * (width + 1) + 1)] * self.box_rows)
        lines = [f"+{rule}+"]
        for row in range(self.side):
            line = "|"
            for column in range(self.side):
                cell = row * self.side + column
                sure = 1.0 if confidence is None else float(confidence[cell])
                line += " " + self._cell(int(question[cell]), int(answer[cell]), colour, sure)
                if (column + 1) % self.box_columns == 0:
                    line += " |"
            lines.append(line)
            if (row + 1) % self.box_rows == 0:
                lines.append(f"+{rule}+")
        return "\n".join(lines)

    @staticmethod
    def _digit(token: int) -> str:
        return str(token - BLANK) if token > BLANK else "."

    def _cell(self, question: int, answer: int, colour: bool, sure: float) -> str:
        digit = self._digit(answer)
        given = question > BLANK and question == answer
        if colour:
            return f"\x1b[1m{digit}\x1b[0m" if given else f"\x1b[{shade(sure) or '36'}m{digit}\x1b[0m"
        return f" {digit} " if given else f"({digit})" if sure >= DOUBTFUL else f"?{digit}?"

    def plot(self, axes: Any, question: Tokens, answer: Tokens) -> None:
        """A grid with box lines; givens are black, what was filled in is blue, and changed givens are red."""
        ends = (-0.5, self.side - 0.5)
        axes.set_xlim(*ends)
        axes.set_ylim(*reversed(ends))
        for line in range(self.side + 1):
            at = (line - 0.5, line - 0.5)
            for x, y, box in ((ends, at, self.box_rows), (at, ends, self.box_columns)):
                axes.plot(x, y, color="black", linewidth=2.5 if line % box == 0 else 0.8, clip_on=False)
        for cell in range(self.cells):
            row, column = divmod(cell, self.side)
            given = question[cell] > BLANK
            colour = "tab:blue" if not given else "black" if question[cell] == answer[cell] else "tab:red"
            text = self._digit(int(answer[cell]))
            axes.text(column, row, text, color=colour, ha="center", va="center_baseline", size=180 / self.side)

    def symmetries(self, count: int, rng: np.random.Generator) -> Symmetries:
        """Random digits, rows within bands, bands, columns within stacks, stacks and, with square boxes, transposition.

        With boxes of 2 x 3 transposition would turn the boxes on their side, so it is not a symmetry there.
        """
        symbols = np.tile(np.arange(len(self.vocabulary), dtype=np.int32), (count, 1))
        symbols[:, BLANK + 1 :] = rng.permuted(symbols[:, BLANK + 1 :], axis=1)
        rows = self._shuffled_lines(count, bands=self.box_columns, lines=self.box_rows, rng=rng)
        columns = self._shuffled_lines(count, bands=self.box_rows, lines=self.box_columns, rng=rng)
        cells = rows[:, :, None] * self.side + columns[:, None, :]  # [count, side, side]
        if self.box_rows == self.box_columns:
            transposed = rng.random(count) < 0.5
            cells[transposed] = cells[transposed].transpose(0, 2, 1)
        return Symmetries(cells.reshape(count, self.cells), symbols)

    def further_forms(self, seed: int) -> Iterator[Symmetries]:
        """Random symmetries without end; the number of a form and the seed decide it, not the forms before it."""
        for number in itertools.count(2):
            yield self.symmetries(1, np.random.default_rng((seed, number)))

    def examples(self) -> Tokens:
        """The puzzles that come with the package, int32 [n, L]."""
        text = (resources.files("trm_deploy") / "assets" / "puzzles" / f"{self.name}.txt").read_text("utf-8")
        lines = [line for line in text.splitlines() if not line.startswith(self.form.comment)]
        return np.stack([self.parse_line(line) for line in lines])

    @staticmethod
    def _shuffled_lines(count: int, *, bands: int, lines: int, rng: np.random.Generator) -> NDArray[np.intp]:
        """[count, bands * lines]: lines shuffled within bands, and the bands among themselves."""
        order = np.tile(np.arange(bands * lines).reshape(bands, lines), (count, 1, 1))
        order = rng.permuted(order, axis=2)
        shuffled_bands = rng.permuted(np.tile(np.arange(bands), (count, 1)), axis=1)
        return np.take_along_axis(order, shuffled_bands[:, :, None], axis=1).reshape(count, bands * lines)


def _times(count: int) -> str:
    return "twice" if count == 2 else f"{count} times"
