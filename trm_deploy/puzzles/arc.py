"""ARC: grids of up to 30 x 30 cells in ten colours, and a task that examples explain.

Token ids, as in the published data sets: 0 pad, 1 end of grid, 2 + c the colour c. A grid is on a canvas of
30 x 30 cells (or of fewer, for tasks of small grids: `arc-10x10`), at its top left (in training also elsewhere), with
ends of grid along its lower and its right edge where the canvas goes on. Text holds a grid as rows of digits between
white space: a line each, or all on one.

The examples of a task are not the network's input: it knows a task by the identifier that it was trained with, and
each augmentation of the task (`Augmentation`) by an identifier of its own.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from trm_deploy.errors import PuzzleError, shown
from trm_deploy.puzzles.base import Symmetries, Tokens

PAD, END, FIRST_COLOUR = 0, 1, 2
SIDE = 30
COLOURS = 10
SEPARATOR = "|||"
HRM_NAME = re.compile(r"(?P<task>.+)_t(?P<transform>[0-7])_(?P<colours>[0-9]{10})")
EXAMPLES = 12

Grid = NDArray[np.uint8]  # [rows, columns], colours 0 to 9

# The colours that the ARC Prize's pages draw: black, blue, red, green, yellow, grey, magenta, orange, sky, maroon.
PALETTE = np.array(
    [
        [0x00, 0x00, 0x00],
        [0x00, 0x74, 0xD9],
        [0xFF, 0x41, 0x36],
        [0x2E, 0xCC, 0x40],
        [0xFF, 0xDC, 0x00],
        [0xAA, 0xAA, 0xAA],
        [0xF0, 0x12, 0xBE],
        [0xFF, 0x85, 0x1B],
        [0x7F, 0xDB, 0xFF],
        [0x87, 0x0C, 0x25],
    ],
    np.uint8,
)
GAP = 1  # cells between the grids of a picture


def grid_from(rows: object, side: int = SIDE) -> Grid:
    """A grid from rows of whole numbers, as JSON gives them, that fits a canvas of `side` x `side` cells.

    Raises:
        PuzzleError: what is wrong and in which row and column.
    """
    if not isinstance(rows, list) or not rows:
        raise PuzzleError("is not a list of rows, expected [[0, 1], [2, 3]] and the like")
    if len(rows) > side:
        raise PuzzleError(f"has {len(rows)} rows, expected 1 to {side}")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, list) or not row:
            raise PuzzleError(f"row {number} is {shown(row)}, expected a list of colours 0 to {COLOURS - 1}")
        if len(row) > side:
            raise PuzzleError(f"row {number} has {len(row)} cells, expected 1 to {side}")
        if len(row) != len(rows[0]):
            raise PuzzleError(f"row {number} has {len(row)} cells, expected {len(rows[0])} as in row 1")
        for column, colour in enumerate(row, start=1):
            if type(colour) is not int or not 0 <= colour < COLOURS:
                raise PuzzleError(
                    f"row {number} column {column} is {shown(colour)}, expected a colour 0 to {COLOURS - 1}"
                )
    return np.array(rows, np.uint8)


def canvas(grid: Grid, *, row: int = 0, column: int = 0, side: int = SIDE) -> NDArray[np.uint8]:
    """The tokens of a grid whose top left corner is at `row` and `column` of the canvas, [side, side]."""
    bottom, right = row + grid.shape[0], column + grid.shape[1]
    tokens = np.full((side, side), PAD, np.uint8)
    tokens[row:bottom, column:right] = grid + FIRST_COLOUR
    # A slice that begins beyond the canvas is empty: no room, no end.
    tokens[bottom : bottom + 1, column:right] = END
    tokens[row:bottom, right : right + 1] = END
    return tokens


def to_tokens(grid: Grid, side: int = SIDE) -> Tokens:
    """A grid at the top left of the canvas, int32 [L]."""
    return canvas(grid, side=side).reshape(-1).astype(np.int32)


def crop(tokens: NDArray[np.integer[Any]]) -> Grid:
    """The grid in tokens [L]: the largest rectangle from the top left that holds colours alone; empty where none does.

    Of rectangles of the same area it is the one with fewer rows.
    """
    side = math.isqrt(len(tokens))
    cells = tokens.reshape(side, side)
    colours = (cells >= FIRST_COLOUR) & (cells < FIRST_COLOUR + COLOURS)
    # Colours in a row before the first other token; a rectangle is as wide as the shortest of its rows.
    widths = np.minimum.accumulate(np.logical_and.accumulate(colours, axis=1).sum(axis=1))
    rows = int(np.argmax(widths * np.arange(1, side + 1))) + 1
    if not widths[rows - 1]:
        return np.zeros((0, 0), np.uint8)
    return (cells[:rows, : widths[rows - 1]] - FIRST_COLOUR).astype(np.uint8)


def text_of(grid: Grid, *, separator: str = " ") -> str:
    """Rows of digits."""
    return separator.join("".join(map(str, row)) for row in grid.tolist())


# Each dihedral transform, by its number in the published names, and the number of its inverse.
_TRANSFORMS = (
    lambda grid: grid,
    lambda grid: np.rot90(grid, 1),
    lambda grid: np.rot90(grid, 2),
    lambda grid: np.rot90(grid, 3),
    lambda grid: grid[:, ::-1],
    lambda grid: grid[::-1],
    lambda grid: grid.T,
    lambda grid: grid[::-1, ::-1].T,  # about the other diagonal
)
_INVERSE = (0, 3, 2, 1, 4, 5, 6, 7)


@dataclass(frozen=True)
class Augmentation:
    """A symmetry of ARC: the colours exchanged, then the grid turned or mirrored.

    Attributes:
        transform: 0 none; 1, 2, 3 quarter turns to the left; 4 columns reversed; 5 rows reversed; 6 transposed;
            7 mirrored about the other diagonal.
        colours: what each of the ten colours turns into.
    """

    transform: int = 0
    colours: tuple[int, ...] = tuple(range(COLOURS))

    def __post_init__(self) -> None:
        if not 0 <= self.transform < len(_TRANSFORMS):
            raise PuzzleError(f"the transform is {self.transform}, expected 0 to {len(_TRANSFORMS) - 1}")
        if sorted(self.colours) != list(range(COLOURS)):
            raise PuzzleError(f"the colours are {self.colours}, expected each of 0 to {COLOURS - 1} once")

    @classmethod
    def random(cls, rng: np.random.Generator) -> Augmentation:
        """Any transform; the colours 1 to 9 exchanged, 0 (the background of most tasks) kept."""
        colours = rng.permutation(np.arange(1, COLOURS)).tolist()
        return cls(int(rng.integers(len(_TRANSFORMS))), (0, *colours))

    def apply(self, grid: Grid) -> Grid:
        """The grid under this symmetry."""
        return _TRANSFORMS[self.transform](np.array(self.colours, np.uint8)[grid])  # type: ignore[no-any-return]

    def invert(self, grid: Grid) -> Grid:
        """`invert(apply(grid))` is `grid`."""
        colours = np.argsort(self.colours).astype(np.uint8)
        return colours[_TRANSFORMS[_INVERSE[self.transform]](grid)]


IDENTITY = Augmentation()


def identifier_name(task: str, augmentation: Augmentation = IDENTITY) -> str:
    """The published name of a task's identifier: `task`, or `task|||t3|||0246813579` for an augmentation."""
    if augmentation == IDENTITY:
        return task
    digits = "".join(map(str, augmentation.colours))
    return f"{task}{SEPARATOR}t{augmentation.transform}{SEPARATOR}{digits}"


def parse_identifier(name: str) -> tuple[str, Augmentation]:
    """The task and the augmentation that a name stands for: as `identifier_name` writes it, or `task_t3_0246813579`.

    In the second spelling, HRM's, a name that is not quite an augmentation's is a task's own.

    Raises:
        PuzzleError: the part behind the task is malformed.
    """
    task, *parts = name.split(SEPARATOR)
    if not parts:
        if (match := HRM_NAME.fullmatch(name)) and sorted(match["colours"]) == list("0123456789"):
            return match["task"], Augmentation(int(match["transform"]), tuple(map(int, match["colours"])))
        return task, IDENTITY
    if len(parts) != 2 or not re.fullmatch(r"t[0-9]", parts[0]) or not re.fullmatch(r"[0-9]{1,10}", parts[1]):
        raise PuzzleError(
            f"the identifier {shown(name)} is malformed, expected {task[:80]}{SEPARATOR}t0{SEPARATOR}0123456789"
        )
    try:
        return task, Augmentation(int(parts[0][1:]), tuple(map(int, parts[1])))
    except PuzzleError as error:
        raise PuzzleError(f"the identifier {shown(name)} is malformed: {error}") from error


@dataclass(frozen=True)
class Arc:
    """ARC as `Puzzle`. An answer's right or wrong is known to the task's author alone: there are no rules to check.

    Attributes:
        side: of the canvas; published are 30.
    """

    side: int = SIDE
    has_rules: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """As in `TaskSpec.name`."""
        return "arc" if self.side == SIDE else f"arc-{self.side}x{self.side}"

    @property
    def cells(self) -> int:
        """L = side * side."""
        return self.side * self.side

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """pad, end of grid, then the colours."""
        return ("pad", "end", *map(str, range(COLOURS)))

    def parse_line(self, line: str) -> Tokens:
        """The grid in rows of digits between white space, int32 [L].

        Raises:
            PuzzleError: no rectangle of digits, or one that is too large.
        """
        for position, character in enumerate(line):
            if character not in "0123456789" and not character.isspace():
                raise PuzzleError(f"found {character!r}, expected a colour 0 to 9", position=position)
        return to_tokens(grid_from([list(map(int, row)) for row in line.split()], self.side), self.side)

    def text(self, tokens: Tokens) -> str:
        """The grid in tokens [L] on one line, its rows between spaces; empty where there is no grid."""
        return text_of(crop(tokens))

    def question_faults(self, question: Tokens) -> list[str]:
        """Whether the tokens are anything but a grid at the top left of the canvas."""
        grid = crop(question)
        if grid.size and np.array_equal(question, to_tokens(grid, self.side)):
            return []
        return ["the tokens are not a grid at the top left of the canvas"]

    def answer_faults(self, question: Tokens, answer: Tokens) -> list[str]:
        """None: there is no rule to break (see `Puzzle.has_rules`)."""
        return []

    def draw(
        self, question: Tokens, answer: Tokens, *, colour: bool, confidence: NDArray[np.float32] | None = None
    ) -> str:
        """Question and answer, beside each other where the terminal is wide enough; doubt is not shown."""
        return side_by_side([draw_grid(crop(tokens), colour=colour) for tokens in (question, answer)])

    def plot(self, axes: Any, question: Tokens, answer: Tokens) -> None:
        """Question and answer beside each other, see `plot_grids`."""
        plot_grids(axes, [crop(question), crop(answer)])

    def symmetries(self, count: int, rng: np.random.Generator) -> Symmetries:
        """Colours but 0 exchanged, and by chance transposed: what keeps any grid at the top left of the canvas.

        Turning and mirroring move different cells for each size of grid: see `Augmentation`.
        """
        symbols = np.tile(np.arange(FIRST_COLOUR + COLOURS, dtype=np.int32), (count, 1))
        symbols[:, FIRST_COLOUR + 1 :] = rng.permuted(symbols[:, FIRST_COLOUR + 1 :], axis=1)
        cells = np.tile(np.arange(self.cells).reshape(self.side, self.side), (count, 1, 1))
        transposed = rng.random(count) < 0.5
        cells[transposed] = cells[transposed].transpose(0, 2, 1)
        return Symmetries(cells.reshape(count, self.cells), symbols)

    def further_forms(self, seed: int) -> Iterator[Symmetries]:
        """None: a symmetric form has an identifier of its own, and is solved with that alone."""
        return iter(())

    def examples(self) -> Tokens:
        """Grids of random sizes and colours: what a grid means follows from its task's identifier, not by itself."""
        rng = np.random.default_rng(0)
        sizes = rng.integers(1, self.side + 1, (EXAMPLES, 2))
        grids = [rng.integers(0, COLOURS, size).astype(np.uint8) for size in sizes]
        return np.stack([to_tokens(grid, self.side) for grid in grids])


def draw_grid(grid: Grid, *, colour: bool) -> list[str]:
    """Lines for the terminal: digits, on coloured ground where `colour`."""
    if not colour:
        return [" ".join(map(str, row)) for row in grid.tolist()] or ["(no grid)"]
    cells = []
    for index, ground in enumerate(PALETTE.tolist()):
        ink = 0 if sum(ground) > 380 else 255  # black on a light ground, white on a dark one
        cells.append(f"\x1b[48;2;{ground[0]};{ground[1]};{ground[2]}m\x1b[38;2;{ink};{ink};{ink}m{index} ")
    return ["".join(cells[cell] for cell in row) + "\x1b[0m" for row in grid.tolist()] or ["(no grid)"]


def side_by_side(blocks: Sequence[list[str]]) -> str:
    """Blocks of lines beside each other; under each other where the terminal is too narrow for that."""
    widths = [max(map(_visible, block)) for block in blocks]
    if sum(widths) + 3 * (len(blocks) - 1) > shutil.get_terminal_size(fallback=(200, 0)).columns:
        return "\n\n".join("\n".join(block) for block in blocks)
    lines = []
    for number in range(max(map(len, blocks))):
        parts = [block[number] if number < len(block) else "" for block in blocks]
        lines.append("   ".join(part + " " * (width - _visible(part)) for part, width in zip(parts, widths)).rstrip())
    return "\n".join(lines)


def _visible(line: str) -> int:
    """Columns that a line takes, without its colour codes."""
    parts = line.split("\x1b[")
    return len(parts[0]) + sum(len(part.partition("m")[2]) for part in parts[1:])


def plot_grids(axes: Any, grids: Sequence[Grid]) -> None:
    """Grids beside each other on matplotlib's axes: a unit a cell, the first cell's centre at (0, 0), y downwards."""
    shown = [grid for grid in grids if grid.size]
    height = max((grid.shape[0] for grid in shown), default=1)
    width = sum(grid.shape[1] + GAP for grid in shown) or 1
    picture = np.full((height, width, 3), 255, np.uint8)
    left = 0
    for grid in shown:
        rows, columns = grid.shape
        picture[:rows, left : left + columns] = PALETTE[grid]
        lines = {"colors": "0.35", "linewidth": 0.5}
        axes.hlines(np.arange(rows + 1) - 0.5, left - 0.5, left + columns - 0.5, **lines)
        axes.vlines(np.arange(left, left + columns + 1) - 0.5, -0.5, rows - 0.5, **lines)
        left += columns + GAP
    axes.imshow(picture)
