"""The section [data] of a recipe: puzzles of the project's own making, or a dataset's folder. Needs no numba."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass

from trm_deploy import puzzles
from trm_deploy.errors import InputError, RecipeError
from trm_deploy.puzzles.base import Puzzle
from trm_deploy.puzzles.sudoku import Sudoku

# Part of the name of a cache file: counts the changes that make other puzzles of the same settings.
GENERATOR_VERSION = 1
# Most wrong guesses that hard puzzles can be asked for, by the side of the grid: those with more are rare,
# and smaller grids have none.
MAX_GUESSES = {6: 1, 8: 10, 9: 20}
MAX_PUZZLES = 10_000_000  # 1.6 GB of 9 x 9, and all of them are in memory


@dataclass(frozen=True, kw_only=True)
class GeneratedPuzzles:
    """Sudoku puzzles of the project's own making, see `trm_deploy.train.data.generators.sudoku`.

    Attributes:
        box_rows, box_columns: shape of a box; the side of the grid is their product.
        puzzles: how many.
        min_clues, max_clues: range of the number of givens aimed at; a puzzle from which no further
            given can be taken away keeps more.
        hardness: 1 draws the aim evenly from the range; above 1 puts it nearer to `min_clues`
            (aim = min + (max - min) * u ** hardness, u even in [0, 1]).
        singles_kept: share that is kept of the puzzles that naked and hidden singles alone solve; they are three in
            five at a hardness of 3, and teach least.
        hard_share: share of the puzzles that are hard: minimal (none of their givens can be spared, so the range of
            clues does not hold for them), and solved only after `hard_guesses` wrong guesses or more.
        hard_guesses: see `trm_deploy.train.data.generators.sudoku_rating`.
        seed: of the random generator; the same settings give the same puzzles on any number of processes.
    """

    box_rows: int = 3
    box_columns: int = 3
    puzzles: int
    min_clues: int = 22
    max_clues: int = 41
    hardness: float = 1.0
    singles_kept: float = 1.0
    hard_share: float = 0.0
    hard_guesses: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.box_rows, self.box_columns) < 1:
            raise RecipeError(
                f"data.box_rows is {self.box_rows}, data.box_columns {self.box_columns}, expected 1 or more"
            )
        side = self.box_rows * self.box_columns
        if not 2 <= side <= 9:
            raise RecipeError(f"data.box_rows * data.box_columns is {side}, expected 2 to 9")
        if not 1 <= self.puzzles <= MAX_PUZZLES:
            raise RecipeError(f"data.puzzles is {self.puzzles}, expected at least 1 and at most {MAX_PUZZLES}")
        if self.seed < 0:
            raise RecipeError(f"data.seed is {self.seed}, expected 0 or more")
        if not 0 < self.min_clues <= self.max_clues <= side * side:
            raise RecipeError(
                f"data.min_clues to data.max_clues is {self.min_clues} to {self.max_clues},"
                f" expected 1 <= min <= max <= {side * side}"
            )
        if self.hardness <= 0:
            raise RecipeError(f"data.hardness is {self.hardness}, expected above 0")
        if not 0 < self.singles_kept <= 1:
            raise RecipeError(f"data.singles_kept is {self.singles_kept}, expected above 0 and up to 1")
        if not 0 <= self.hard_share <= 1:
            raise RecipeError(f"data.hard_share is {self.hard_share}, expected 0 to 1")
        if self.hard_share and side not in MAX_GUESSES:
            raise RecipeError(
                f"data.hard_share is {self.hard_share}, and grids of {side} x {side} have no hard puzzles"
            )
        if not 1 <= self.hard_guesses <= (most := MAX_GUESSES.get(side, 1)):
            raise RecipeError(f"data.hard_guesses is {self.hard_guesses}, expected 1 to {most} for {side} x {side}")

    @property
    def puzzle(self) -> Sudoku:
        """The task."""
        return Sudoku(self.box_rows, self.box_columns)

    @property
    def digest(self) -> str:
        """Names the cache file: changes with every setting and with the generator."""
        # Settings that came later are left out where they say nothing: the puzzles are those of before.
        later = ("hard_share", "hard_guesses") if not self.hard_share else ()
        settings = [item for item in sorted(asdict(self).items()) if item[0] not in later]
        text = repr((GENERATOR_VERSION, settings))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class DatasetFolder:
    """A dataset in the published layout (see `trm_deploy.train.data.layout`).

    Attributes:
        task: a key of `trm_deploy.puzzles`, such as ``sudoku-9x9``.
        folder: the dataset's; empty where the flag ``--data`` names it.
    """

    task: str
    folder: str = ""

    def __post_init__(self) -> None:
        try:
            puzzles.get(self.task)
        except InputError as error:
            raise RecipeError(f"data.task: {error}") from error

    @property
    def puzzle(self) -> Puzzle:
        """The task."""
        return puzzles.get(self.task)


DataSection = GeneratedPuzzles | DatasetFolder
