"""Sudoku datasets: from the generator, or from the published Sudoku-Extreme."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from trm_deploy import puzzles
from trm_deploy.errors import require
from trm_deploy.puzzles.sudoku import BLANK, Sudoku
from trm_deploy.train.data.builders.common import Bytes, DatasetOptions, DatasetTask, Examples, build
from trm_deploy.train.data.settings import GeneratedPuzzles

# Fewest and most clues that the generator aims at, by the side of the grid.
CLUES = {4: (4, 10), 6: (9, 20), 9: (22, 41)}


def build_sudoku(size: str, options: DatasetOptions) -> str:
    """Build a Sudoku dataset, see `build`.

    Args:
        size: as in the task's name: 9x9, 6x6, 4x4.
        options: as for any task.
    """
    puzzle = puzzles.get(f"sudoku-{size}")
    assert isinstance(puzzle, Sudoku)

    def make(count: int, seed: int) -> Iterator[Bytes]:
        require("numba", extra="train", purpose="to make puzzles")
        from trm_deploy.train.data.generators.sudoku import generate

        least, most = CLUES[puzzle.side]
        wanted = GeneratedPuzzles(
            box_rows=puzzle.box_rows,
            box_columns=puzzle.box_columns,
            puzzles=count,
            min_clues=least,
            max_clues=most,
            seed=seed,
        )
        for grids in generate(wanted):
            yield puzzle.from_digits(grids).astype(np.uint8)

    def surely_right(examples: Examples) -> NDArray[np.bool_]:
        return _solved(puzzle, examples)

    return build(
        DatasetTask(puzzle=puzzle, make=make, augmentations=puzzle.symmetries, surely_right=surely_right),
        options,
    )


def _solved(puzzle: Sudoku, examples: Examples) -> NDArray[np.bool_]:
    """Which answers obey the rules and keep their givens, all at once: millions of lines have to be checked.

    A puzzle that it turns down may have another fault, which the task's own rules then name.
    """
    questions, answers = examples
    given = questions > BLANK
    right = np.asarray((questions >= BLANK).all(1), np.bool_)
    right &= np.where(given, questions == answers, answers > BLANK).all(1)
    for cells in puzzle.units:
        # Sorted, a unit's tokens are the digits' one by one.
        right &= (np.sort(answers[:, cells], axis=1) == np.arange(BLANK + 1, BLANK + 1 + puzzle.side)).all(1)
    return right
