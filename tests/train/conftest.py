"""Recipes and a dataset small enough to train in a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trm_deploy.puzzles.sudoku import Sudoku
from trm_deploy.train import recipe
from trm_deploy.train.data.layout import Metadata, Split, write_identifiers, write_split
from trm_deploy.train.recipe import Recipe

SMALL = recipe.shipped()["sudoku-4x4"]
TINY = (
    SMALL.replace("steps = 600", "steps = 12\nlog_every = 4\ncheckpoint_every = 4\nrotation = 2")
    .replace("puzzles = 4000", "puzzles = 100")
    .replace("puzzles = 256", "puzzles = 16")
    .replace("hidden_size = 64", "hidden_size = 16")
    .replace("puzzle_embedding_size = 64", "puzzle_embedding_size = 16")
)

# Every supervision step of its eight samples is logged: twelve lines of losses.
DATASET_RECIPE = """
[data]
task = "sudoku-4x4"

[model]
preset = "trm-mlp"
architecture = { hidden_size = 16, prefix_length = 2, puzzle_embedding_size = 24 }
recursion = { latent = 2, deep = 2 }
halting = { max_steps = 4 }

[optimizer]
name = "adam-atan2"
learning_rate = 1e-3
puzzle_learning_rate = 1e-2
warmup_steps = 2
decay_share = 0.0

[training]
steps = 12
batch_size = 8
rotation = 2
precision = "fp32"
ema = 0.9
log_every = 1
checkpoint_every = 4

[evaluation]
puzzles = 6
every = 12
"""

# A Sudoku grid of 4 x 4, digits.
GRID = np.array([1, 2, 3, 4, 3, 4, 1, 2, 2, 1, 4, 3, 4, 3, 2, 1])


def sudoku_split(groups: int, seed: int) -> Split:
    """Groups of two puzzles, each with an identifier and two examples; one answer cell of each is ignored."""
    puzzle = Sudoku(2, 2)
    rng = np.random.default_rng(seed)
    examples = 4 * groups
    labels = puzzle.symmetries(examples, rng).apply(np.tile(puzzle.from_digits(GRID), (examples, 1)))
    inputs = np.where(rng.random(labels.shape) < 0.5, 1, labels)
    labels[:, 3] = 0
    return Split(
        Metadata(seq_len=16, vocab_size=6, num_puzzle_identifiers=1 + 2 * groups, ignore_label_id=0),
        inputs.astype(np.uint8),
        labels.astype(np.uint8),
        np.arange(1, 1 + 2 * groups, dtype=np.int32),
        np.arange(0, examples + 1, 2, dtype=np.int32),
        np.arange(0, 2 * groups + 1, 2, dtype=np.int32),
    )


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A dataset's folder: ten groups, names of the identifiers, the test split as large."""
    folder = tmp_path / "dataset"
    write_split(folder, "train", sudoku_split(10, seed=0))
    write_split(folder, "test", sudoku_split(10, seed=1))
    write_identifiers(folder, ["<blank>", *(f"puzzle {number}" for number in range(1, 21))])
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRM_DEPLOY_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def parsed(text: str = TINY) -> Recipe:
    """A recipe from its text."""
    return recipe.parse(text, source="test.toml")
