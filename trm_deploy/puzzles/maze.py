"""Mazes: a grid of walls, open cells, a start and a goal; the answer marks a shortest path between them.

Token ids, as in the published data sets: 0 pad (never used), then the characters of "# SGo": wall, open, start, goal,
path. One line of text holds a maze: its cells row by row. An answer is the question with `o` on the open cells of the
path; S and G stay. Steps go up, down, left and right.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from trm_deploy.errors import PuzzleError
from trm_deploy.puzzles.base import Symmetries, TextForm, Tokens, shade

CHARACTERS = "# SGo"
WALL, OPEN, START, GOAL, PATH = range(1, 6)
# Written for an open cell where trailing spaces would get lost.
OPEN_TOO = "."
# A maze and its answer are on one line of a CSV file, see `reading.MAX_LINE`.
SIDES = range(2, 65)

EXAMPLES = 16
UNREACHED = -1

COLOURS = {WALL: "2", START: "1;32", GOAL: "1;31", PATH: "36"}
WRONG_COLOUR = "41"
# Of a picture: red, green, blue by token id.
PALETTE = np.array(
    [(255, 0, 255), (40, 44, 52), (255, 255, 255), (46, 160, 67), (218, 54, 51), (88, 166, 255)], np.uint8
)


@dataclass(frozen=True)
class Maze:
    """Mazes of `rows` x `columns` cells."""

    rows: int
    columns: int
    has_rules: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """As in `TaskSpec.name`."""
        return f"maze-{self.rows}x{self.columns}"

    @property
    def cells(self) -> int:
        """L = rows * columns."""
        return self.rows * self.columns

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """pad, then the published characters."""
        return ("pad", *CHARACTERS)

    @property
    def form(self) -> TextForm:
        """A space is a cell, and a wall is drawn with what begins a comment elsewhere."""
        return TextForm(self.rows, self.columns, comment="", frame="", spaces_are_cells=True)

    def other_sizes(self) -> tuple[Maze, ...]:
        """None: mazes have any size."""
        return ()

    def parse_line(self, line: str) -> Tokens:
        """The question or answer on one line; `.` is an open cell too.

        Returns:
            int32 [L].

        Raises:
            PuzzleError: a wrong length, or a wrong character with its position.
        """
        for position, character in enumerate(line):
            if character not in CHARACTERS and character != OPEN_TOO:
                raise PuzzleError(
                    f"found {character!r}, expected # (wall), a space or . (open), S, G or o (path)",
                    position=position,
                )
        if len(line) != self.cells:
            raise PuzzleError(f"{len(line)} characters, expected {self.cells} ({self.rows} rows of {self.columns})")
        return np.array([1 + CHARACTERS.index(" " if c == OPEN_TOO else c) for c in line], np.int32)

    def text(self, tokens: Tokens) -> str:
        """One line in the published characters; `?` for pad."""
        return "".join(_character(int(token)) for token in tokens)

    def question_faults(self, question: Tokens) -> list[str]:
        """Not exactly one start and one goal, path marks, or no way between start and goal."""
        faults = []
        for token in (START, GOAL):
            found = np.flatnonzero(question == token).tolist()
            if len(found) != 1:
                places = f" ({', '.join(self._place(cell) for cell in found[:4])})" if len(found) else ""
                faults.append(f"{len(found)} cells hold {_character(token)}{places}, expected one")
        faults += [
            f"{self._place(cell)} holds {_character(int(question[cell]))}, which no question has"
            for cell in np.flatnonzero((question < WALL) | (question > GOAL)).tolist()
        ]
        if not faults and self.shortest(question) is None:
            faults.append("no path leads from S to G")
        return faults

    def answer_faults(self, question: Tokens, answer: Tokens) -> list[str]:
        """Changed walls, starts and goals; a path that is interrupted or longer than need be; marks beside it."""
        if faults := self.question_faults(question):
            return [f"the question is none: {fault}" for fault in faults]
        marked = (question == OPEN) & (answer == PATH)
        faults = [
            f"{self._place(cell)} was given as {_named(int(question[cell]))} and became {_named(int(answer[cell]))}"
            for cell in np.flatnonzero((answer != question) & ~marked).tolist()
        ]
        start, goal = (int(np.flatnonzero(question == token)[0]) for token in (START, GOAL))
        shortest = self._distances(question != WALL, start)[goal]
        along = self._distances(marked | (question == START) | (question == GOAL), start)
        if along[goal] == UNREACHED:
            faults.append(f"the path is interrupted: from S it leads to {self._place(int(along.argmax()))}, not to G")
            return faults
        if more := along[goal] - shortest:
            faults.append(f"the path takes {along[goal]} steps, {more} more than the shortest")
        # A path of n steps has n - 1 cells between its ends.
        if stray := np.count_nonzero(marked) - (along[goal] - 1):
            faults.append(f"{stray} cells beside the path are marked o")
        return faults

    def shortest(self, question: Tokens) -> int | None:
        """Steps of a shortest path from S to G; None where there is no path."""
        start, goal = (int(np.flatnonzero(question == token)[0]) for token in (START, GOAL))
        steps = int(self._distances(question != WALL, start)[goal])
        return None if steps == UNREACHED else steps

    def _distances(self, passable: NDArray[np.bool_], start: int) -> NDArray[np.int32]:
        """Breadth-first: steps from `start` to each cell [L] through passable ones; UNREACHED where none lead there."""
        distances = [UNREACHED] * self.cells
        distances[start] = 0
        free = passable.tolist()
        reached = deque([start])
        while reached:
            cell = reached.popleft()
            for neighbour in self._neighbours[cell]:
                if free[neighbour] and distances[neighbour] == UNREACHED:
                    distances[neighbour] = distances[cell] + 1
                    reached.append(neighbour)
        return np.array(distances, np.int32)

    @cached_property
    def _neighbours(self) -> list[list[int]]:
        grid = np.pad(np.arange(self.cells).reshape(self.rows, self.columns), 1, constant_values=UNREACHED)
        around = np.stack([grid[:-2, 1:-1], grid[2:, 1:-1], grid[1:-1, :-2], grid[1:-1, 2:]], axis=-1)
        return [[cell for cell in cells if cell != UNREACHED] for cells in around.reshape(-1, 4).tolist()]

    def _place(self, cell: int) -> str:
        row, column = divmod(cell, self.columns)
        return f"row {row + 1} column {column + 1}"

    def draw(
        self, question: Tokens, answer: Tokens, *, colour: bool, confidence: NDArray[np.float32] | None = None
    ) -> str:
        """The answer as its characters; in colour the path is cyan, and what must not change has a red ground.

        What is in doubt is on a coloured ground, where there are colours.
        """
        if not colour:
            text = self.text(answer)
            return "\n".join(text[start : start + self.columns] for start in range(0, self.cells, self.columns))
        lines = []
        for row in range(self.rows):
            cells = range(row * self.columns, (row + 1) * self.columns)
            sure = np.ones(self.cells) if confidence is None else confidence
            lines.append("".join(self._coloured(int(question[cell]), int(answer[cell]), sure[cell]) for cell in cells))
        return "\n".join(lines)

    @staticmethod
    def _coloured(question: int, answer: int, sure: float) -> str:
        allowed = question == answer or (question, answer) == (OPEN, PATH)
        colour = (shade(sure) or COLOURS.get(answer, "")) if allowed else WRONG_COLOUR
        return f"\x1b[{colour}m{_character(answer)}\x1b[0m" if colour else _character(answer)

    def plot(self, axes: Any, question: Tokens, answer: Tokens) -> None:
        """A coloured square a cell; what must not change is crossed out where it did."""
        axes.imshow(PALETTE[answer].reshape(self.rows, self.columns, 3))
        right, bottom = self.columns - 0.5, self.rows - 0.5
        frame = ((-0.5, right, right, -0.5, -0.5), (-0.5, -0.5, bottom, bottom, -0.5))
        axes.plot(*frame, color="black", linewidth=1.0, clip_on=False)
        for cell in range(self.cells):
            row, column = divmod(cell, self.columns)
            if answer[cell] in (START, GOAL):
                letter = _character(int(answer[cell]))
                size = 200 / max(self.rows, self.columns)
                axes.text(column, row, letter, color="white", ha="center", va="center_baseline", size=size)
            if answer[cell] != question[cell] and (question[cell], answer[cell]) != (OPEN, PATH):
                axes.plot(column, row, marker="x", color="magenta")

    @cached_property
    def every_symmetry(self) -> Symmetries:
        """The eight symmetries of a square, or the four of another rectangle; the identity is the first."""
        grid = np.arange(self.cells, dtype=np.intp).reshape(self.rows, self.columns)
        grids = [grid, grid[::-1], grid[:, ::-1], grid[::-1, ::-1]]
        if self.rows == self.columns:
            grids += [other.T for other in grids]
        cells = np.stack([other.reshape(-1) for other in grids])
        return Symmetries(cells, np.tile(np.arange(len(self.vocabulary), dtype=np.int32), (len(cells), 1)))

    def symmetries(self, count: int, rng: np.random.Generator) -> Symmetries:
        """Random turns and reflections, the identity among them."""
        every = self.every_symmetry
        return every.take(rng.integers(len(every.cells), size=count))

    def further_forms(self, seed: int) -> Iterator[Symmetries]:
        """All turns and reflections but the identity, once each, in an order that the seed decides."""
        every = self.every_symmetry
        for number in 1 + np.random.default_rng(seed).permutation(len(every.cells) - 1):
            yield every.take(np.array([number]))

    def examples(self) -> Tokens:
        """Mazes with walls thrown at random, the same every time, int32 [n, L]."""
        rng = np.random.default_rng(0)
        found: list[Tokens] = []
        while len(found) < EXAMPLES:
            # Below 0.41, walls seldom cut a large grid in two (site percolation on the square lattice).
            question = np.where(rng.random(self.cells) < 0.3, WALL, OPEN).astype(np.int32)
            question[rng.choice(self.cells, 2, replace=False)] = START, GOAL
            if not self.question_faults(question):
                found.append(question)
        return np.stack(found)


def _character(token: int) -> str:
    return CHARACTERS[token - 1] if WALL <= token <= PATH else "?"


def _named(token: int) -> str:
    return {WALL: "a wall", OPEN: "open"}.get(token, _character(token))
