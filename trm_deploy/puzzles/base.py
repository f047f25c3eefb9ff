"""What every task offers, and the symmetries that map its puzzles onto one another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]


@dataclass(frozen=True)
class Symmetries:
    """Maps that turn puzzles of a task into equivalent ones, one map a row.

    Attributes:
        cells: int [n, L]; the mapped puzzle's cell i is the original's cell `cells[:, i]`.
        symbols: int [n, V]; the token that each token turns into.
    """

    cells: NDArray[np.intp]
    symbols: NDArray[np.int32]

    def apply(self, tokens: Tokens) -> Tokens:
        """The mapped puzzles, int32 [n, L] -> [n, L]; a single map serves any number of puzzles."""
        return np.take_along_axis(self.symbols, np.take_along_axis(tokens, self.cells, axis=1), axis=1)

    def invert(self, tokens: Tokens) -> Tokens:
        """Maps back what was solved in the mapped form: `invert(apply(t))` is `t`. int32 [n, L] -> [n, L]."""
        symbols = np.argsort(self.symbols, axis=1).astype(np.int32)
        cells = np.argsort(self.cells, axis=1)
        return np.take_along_axis(np.take_along_axis(symbols, tokens, axis=1), cells, axis=1)


class Puzzle(Protocol):
    """A task: how its puzzles are written, what makes a question valid and an answer right.

    L is the number of cells, V the number of token ids.
    """

    @property
    def name(self) -> str:
        """Key of `trm_deploy.puzzles.get`."""

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """What each token id stands for, in order of id."""

    @property
    def cells(self) -> int:
        """L."""

    @property
    def has_rules(self) -> bool:
        """Whether an answer can be checked; where not, nobody but the puzzle's author knows what is right."""

    def parse_line(self, line: str) -> Tokens:
        """The question int32 [L] that one line of text holds; raises `PuzzleError`."""

    def question_faults(self, question: Tokens) -> list[str]:
        """What makes the question [L] impossible, in words; empty where nothing does."""

    def answer_faults(self, question: Tokens, answer: Tokens) -> list[str]:
        """Which rules the answer [L] breaks, in words; empty means that it is verified, where the task has rules."""

    def text(self, tokens: Tokens) -> str:
        """Question or answer [L] in the task's one-line text form."""

    def draw(self, question: Tokens, answer: Tokens, *, colour: bool) -> str:
        """The answer as a grid for the terminal, in which the givens stand out."""

    def symmetries(self, count: int, rng: np.random.Generator) -> Symmetries:
        """`count` random symmetries."""
