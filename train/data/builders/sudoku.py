"""Sudoku datasets: from the generator, or from the published Sudoku-Extreme."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from trm_deploy import puzzles
from trm_deploy.errors import InputError, require
from trm_deploy.puzzles.sudoku import BLANK, Sudoku
from trm_deploy.train.data.builders.common import Bytes, DatasetOptions, DatasetTask, Examples, build
from trm_deploy.train.data.settings import MAX_GUESSES, GeneratedPuzzles

# Fewest and most clues that the generator aims at, by the side of the grid.
CLUES = {4: (4, 10), 6: (9, 20), 9: (22, 41)}
# Training puzzles that are rated to say how hard they are, and the fewest wrong guesses of each class.
RATED = 2000
GUESSES = (0, 1, 3, 10, 30)


def build_sudoku(size: str, options: DatasetOptions, *, min_guesses: int | None) -> str:
    """Build a Sudoku dataset, see `build`.

    Args:
        size: as in the task's name: 9x9, 6x6, 4x4.
        options: as for any task.
        min_guesses: make minimal puzzles alone that are solved after that many wrong guesses or more, see
            `generators.sudoku_rating`; None: puzzles with numbers of clues over `CLUES`.

    Raises:
        InputError: also, `min_guesses` with CSV files, or a size that has no such puzzles.
    """
    puzzle = puzzles.get(f"sudoku-{size}")
    assert isinstance(puzzle, Sudoku)
    if options.csv is not None and min_guesses is not None:
        raise InputError("--min-guesses is for generated puzzles", hint="leave it out with --csv")
    most = MAX_GUESSES.get(puzzle.side, 0)
    if min_guesses is not None and min_guesses > most:
        raise InputError(f"--min-guesses {min_guesses}: puzzles of {size} take a solver {most} or little more")

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
            hard_share=0.0 if min_guesses is None else 1.0,
            hard_guesses=min_guesses or 1,
        )
        for grids in generate(wanted):
            yield puzzle.from_digits(grids).astype(np.uint8)

    def surely_right(examples: Examples) -> NDArray[np.bool_]:
        return _solved(puzzle, examples)

    return build(
        DatasetTask(
            puzzle=puzzle,
            make=make,
            augmentations=puzzle.symmetries,
            surely_right=surely_right,
            describe=lambda examples: "" if options.csv else _described(puzzle, examples),
        ),
        options,
    )


def _described(puzzle: Sudoku, examples: Examples) -> str:
    """How hard the puzzles are: the shares that take a solver so many wrong guesses."""
    from trm_deploy.train.data.generators.sudoku_rating import rating

    rows = np.random.default_rng(0).permutation(len(examples.questions))[:RATED]
    digits = examples.questions[rows].astype(np.int8) - BLANK
    found = np.array([rating(grid, box_rows=puzzle.box_rows, box_columns=puzzle.box_columns) for grid in digits])
    shares = np.bincount(np.searchsorted(GUESSES, found, side="right") - 1, minlength=len(GUESSES)) / len(found)
    told = ", ".join(f"{name}: {share:.1%}" for name, share in zip(("none", *_ranges()), shares))
    sample = f" ({len(found):,} puzzles rated)" if len(found) < len(examples.questions) else ""
    return f"; wrong guesses of a solver, share of the training puzzles{sample}: {told}"


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


def _ranges() -> Iterator[str]:
    """The classes of `GUESSES` but the first, in words."""
    for least, following in itertools.pairwise(GUESSES[1:]):
        yield f"{least} to {following - 1}"
    yield f"{GUESSES[-1]} or more"
