"""What every task offers, and the symmetries that map its puzzles onto one another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]


# Grounds of a terminal's 256 colours for a token below each of these probabilities, from the most doubtful on.
SHADES = ((0.5, "48;5;130"), (0.8, "48;5;94"), (0.95, "48;5;58"))
# Below this probability a token counts as doubtful where there are no colours; as in the page that draws traces.
DOUBTFUL = 0.9


def shade(confidence: float) -> str:
    """The ground of a cell by the probability of its token; empty where that is next to sure."""
    return next((f"{code};97" for below, code in SHADES if confidence < below), "")


@dataclass(frozen=True)
class Symmetries:
    """Maps that turn puzzles of a task into equivalent ones, one map a row.

    Attributes:
        cells: int [n, L]; the mapped puzzle's cell i is the original's cell `cells[:, i]`.
        symbols: int [n, V]; the token that each token turns into.
    """

    cells: NDArray[np.intp]
    symbols: NDArray[np.int32]

    def take(self, rows: NDArray[np.integer[Any]]) -> Symmetries:
        """The maps with these numbers."""
        return Symmetries(self.cells[rows], self.symbols[rows])

    def apply(self, tokens: Tokens) -> Tokens:
        """The mapped puzzles, int32 [n, L] -> [n, L]; a single map serves any number of puzzles."""
        return np.take_along_axis(self.symbols, np.take_along_axis(tokens, self.cells, axis=1), axis=1)

    def invert(self, tokens: Tokens) -> Tokens:
        """Maps back what was solved in the mapped form: `invert(apply(t))` is `t`. int32 [n, L] -> [n, L]."""
        symbols = np.argsort(self.symbols, axis=1).astype(np.int32)
        cells = np.argsort(self.cells, axis=1)
        return np.take_along_axis(np.take_along_axis(symbols, tokens, axis=1), cells, axis=1)


@dataclass(frozen=True)
class TextForm:
    """How a task's puzzles are written in a text file, beside one a line.

    Attributes:
        rows, columns: of a drawn grid.
        comment: begins a comment that the line's end ends; empty where there are none.
        frame: characters that may frame a drawn grid.
        spaces_are_cells: whether a space is a cell; then blank lines come between grids alone, and else anywhere.
        blanks: characters that may stand for a cell without a given; in one puzzle only one of them. Empty where the
            cells have characters of their own.
    """

    rows: int
    columns: int
    comment: str
    frame: str
    spaces_are_cells: bool
    blanks: str = ""

    @property
    def blanks_listed(self) -> str:
        """The usual blanks, for messages."""
        return " ".join(character for character in self.blanks if character.isascii() and character != " ")

    def is_blank(self, line: str) -> bool:
        """Whether a line holds nothing; a row of open cells is not blank where spaces are cells."""
        return not line.strip() and not (self.spaces_are_cells and len(line) == self.columns)

    def cells_of(self, line: str) -> list[tuple[int, str]]:
        """The cells of a line, each with its column from 1."""
        return [
            (column, character)
            for column, character in enumerate(line, start=1)
            if self.spaces_are_cells or not (character in self.frame or character.isspace())
        ]


class Puzzle(Protocol):
    """A task: how its puzzles are written, what makes a question valid and an answer right.

    L is the number of cells, V the number of token ids.
    """

    @property
    def name(self) -> str:
        """Key of `trm_deploy.puzzles.get`."""

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """What each token id means, in order of id."""

    @property
    def cells(self) -> int:
        """L."""

    @property
    def has_rules(self) -> bool:
        """Whether an answer can be checked; where not, nobody but the puzzle's author knows what is right."""

    def parse_line(self, line: str) -> Tokens:
        """The question or answer int32 [L] that one line of text holds; raises `PuzzleError`."""

    def question_faults(self, question: Tokens) -> list[str]:
        """What makes the question [L] impossible, in words; empty where nothing does."""

    def answer_faults(self, question: Tokens, answer: Tokens) -> list[str]:
        """Which rules the answer [L] breaks, in words; empty means that it is verified, where the task has rules."""

    def text(self, tokens: Tokens) -> str:
        """Question or answer [L] in the task's one-line text form."""

    def draw(
        self, question: Tokens, answer: Tokens, *, colour: bool, confidence: NDArray[np.float32] | None = None
    ) -> str:
        """The answer as a grid for the terminal, in which the givens stand out.

        Args:
            question, answer: [L].
            colour: whether the terminal has colours.
            confidence: probability of each cell's token, [L]; what is in doubt is shaded by it. None: nothing is.
        """

    def plot(self, axes: Any, question: Tokens, answer: Tokens) -> None:
        """The same on matplotlib's axes: a unit a cell, the first cell's centre at (0, 0), y downwards."""

    def symmetries(self, count: int, rng: np.random.Generator) -> Symmetries:
        """`count` random symmetries."""

    def further_forms(self, seed: int) -> Iterator[Symmetries]:
        """The symmetries, one at a time, under which to try again a puzzle that was not solved as it is.

        Ends where a task has no further ones: the same question would get the same answer.
        """

    def examples(self) -> Tokens:
        """Some valid questions int32 [n, L], the same every time, to try an engine on."""


@runtime_checkable
class TextPuzzle(Puzzle, Protocol):
    """A task whose puzzles are written in text files, see `trm_deploy.puzzles.reading`."""

    @property
    def form(self) -> TextForm:
        """How its puzzles are written in files."""

    def other_sizes(self) -> Sequence[TextPuzzle]:
        """The same task in other sizes, which a file may hold by mistake; empty where any size is as likely."""
