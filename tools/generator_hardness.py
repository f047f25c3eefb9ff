"""How hard Sudokus are, by the wrong guesses of a solver, made here or published; and how fast hard ones are made.

    TRM_DEPLOY_TEST_DATA=FOLDER python tools/generator_hardness.py

FOLDER/data/sudoku holds the published sets as CSV files; without it they are left out.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from trm_deploy import puzzles
from trm_deploy.puzzles.sudoku import BLANK
from trm_deploy.support.progress import progress
from trm_deploy.train import recipe
from trm_deploy.train.data.generators.sudoku import Grids, _make
from trm_deploy.train.data.generators.sudoku_rating import rating
from trm_deploy.train.data.settings import GeneratedPuzzles

LEAST = (1, 2, 3, 5, 10, 20)
MADE, READ = 1500, 2000
SECONDS = 10.0


def make(seed: int, count: int, *, hard_share: float, hard_guesses: int = 0) -> Grids:
    """Questions int8 [count, 81] with the clues of the shipped recipe, of one process."""
    data = recipe.load("sudoku").data
    assert isinstance(data, GeneratedPuzzles)
    clues = data.min_clues, data.max_clues, data.hardness, data.singles_kept
    return _make(seed, count, data.box_rows, data.box_columns, *clues, hard_share, hard_guesses)[:, 0]


def row(name: str, questions: Grids) -> str:
    """The shares of a set."""
    with progress(name, len(questions), unit="puzzles") as advance:
        found = []
        for question in questions:
            found.append(rating(question))
            advance(1)
    return f"{name:24}" + "".join(f"{np.mean(np.array(found) >= least):8.1%}" for least in LEAST)


def main() -> None:
    """Print a row a set, then the speeds."""
    print(f"{'wrong guesses, at least':24}" + "".join(f"{least:8}" for least in LEAST))
    print(row("shipped recipe", make(1, MADE, hard_share=0.0)))
    print(row("minimal", make(1, MADE, hard_share=1.0)))
    data = os.environ.get("TRM_DEPLOY_TEST_DATA")
    for path in sorted(Path(data, "data", "sudoku").glob("*.csv")) if data else ():
        tokens = puzzles.read_tokens(str(path), puzzles.get("sudoku-9x9"), READ)
        print(row(path.stem, (tokens - BLANK).astype(np.int8)))
    for least in (0, 3, 5, 10):
        started, count = time.perf_counter(), 0
        while time.perf_counter() - started < SECONDS:
            count += len(make(count, 5, hard_share=1.0, hard_guesses=least))
        print(f"minimal with {least} wrong guesses or more: {count / (time.perf_counter() - started):,.0f} a second")


if __name__ == "__main__":
    main()
