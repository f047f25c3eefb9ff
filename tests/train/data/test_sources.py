"""Samples of a dataset's folder: drawn as published, and what does not fit is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.train.conftest import DATASET_RECIPE
from trm_deploy.errors import CheckpointError, InputError, RecipeError
from trm_deploy.train import recipe
from trm_deploy.train.data import sources
from trm_deploy.train.data.layout import read_split
from trm_deploy.train.data.settings import DatasetFolder
from trm_deploy.train.data.sources import FolderSource
from trm_deploy.train.labels import IGNORED


def source(folder: Path, task: str = "sudoku-4x4", seed: int = 0) -> FolderSource:
    made = sources.build(DatasetFolder(task=task, folder=str(folder)), seed=seed, held_out=6)
    assert isinstance(made, FolderSource)
    return made


def test_an_epoch_is_one_puzzle_of_each_group_with_all_its_examples(dataset: Path) -> None:
    drawn = source(dataset)
    orders = []
    for _ in range(3):
        samples = drawn.take(20)  # ten groups of two examples
        pairs = samples.identifiers.reshape(10, 2)
        assert (pairs[:, 0] == pairs[:, 1]).all()
        groups = (pairs[:, 0] - 1) // 2
        assert sorted(groups.tolist()) == list(range(10))
        orders.append(pairs[:, 0].tolist())
    assert orders[0] != orders[1] != orders[2]


def test_samples_are_the_rows_of_the_files(dataset: Path) -> None:
    split = read_split(dataset, "train")
    samples = source(dataset).take(20)
    for question, label, identifier in zip(*samples):
        row = np.flatnonzero((split.inputs == question).all(-1) & (split.example_identifiers == identifier))
        assert len(row) == 1
        assert label[3] == IGNORED
        assert np.array_equal(np.delete(label, 3), np.delete(split.labels[row[0]], 3))


def test_how_many_are_taken_at_a_time_changes_nothing_and_a_state_goes_on(dataset: Path) -> None:
    whole, parts = source(dataset), source(dataset)
    first = whole.take(50)
    taken = [parts.take(count) for count in (1, 6, 20)]
    resumed = source(dataset)
    resumed.load_state_dict(json.loads(json.dumps(parts.state_dict())))
    taken.append(resumed.take(23))
    for index, array in enumerate(first):
        assert np.array_equal(array, np.concatenate([part[index] for part in taken]))
    assert not np.array_equal(first.identifiers, source(dataset, seed=1).take(50).identifiers)


def test_what_is_held_out_comes_from_the_test_split_and_stays(dataset: Path) -> None:
    test = read_split(dataset, "test")
    drawn = source(dataset)
    held_out = drawn.held_out()
    assert len(held_out.questions) == 6
    for question in held_out.questions:
        assert (test.inputs == question).all(-1).any()
    drawn.take(7)
    assert np.array_equal(drawn.held_out().questions, held_out.questions)


def test_data_of_another_task_or_run_are_refused(dataset: Path) -> None:
    with pytest.raises(InputError, match=r"train/dataset.json: seq_len is 16, the task sudoku-9x9 has 81 tokens; name"):
        source(dataset, "sudoku-9x9")
    with pytest.raises(RecipeError, match=r"data.task: the task 'chess' is unknown"):
        DatasetFolder(task="chess")
    with pytest.raises(RecipeError, match="nothing names its folder; add --data FOLDER"):
        sources.build(DatasetFolder(task="sudoku-4x4"), seed=0, held_out=6)
    drawn = source(dataset)
    with pytest.raises(CheckpointError, match="has 40 training examples, the run was begun with 39"):
        drawn.load_state_dict({**drawn.state_dict(), "examples": 39})
    metadata = dataset / "train" / "dataset.json"
    metadata.write_text(metadata.read_text().replace('"vocab_size": 6', '"vocab_size": 7'))
    with pytest.raises(InputError, match="vocab_size is 7, the task sudoku-4x4 has 6 token ids"):
        source(dataset)


def test_the_recipe_and_the_flags_choose_the_source(dataset: Path) -> None:
    parsed = recipe.parse(DATASET_RECIPE, source="test.toml")
    assert parsed.with_flags(data="there", device=None).data == DatasetFolder(task="sudoku-4x4", folder="there")
    own = recipe.load("sudoku-4x4")
    with pytest.raises(RecipeError, match="--data names a dataset, and the recipe makes its own puzzles; leave out"):
        own.with_flags(data="there", device=None)
    assert own.with_flags(data=None, device="cuda").training.device == "cuda"
    with pytest.raises(RecipeError, match=r"recipe.data has the unknown key 'puzzles', expected one of folder, task"):
        recipe.parse(DATASET_RECIPE.replace("[data]", "[data]\npuzzles = 5"), source="test.toml")


def test_puzzles_that_are_told_apart_need_a_learning_rate() -> None:
    parsed = recipe.parse(DATASET_RECIPE.replace("puzzle_learning_rate = 1e-2", ""), source="test.toml")
    with pytest.raises(RecipeError, match="puzzle_learning_rate is missing, and the data tell 21 puzzles apart"):
        parsed.spec_for(21)
    without = DATASET_RECIPE.replace("puzzle_embedding_size = 24", "puzzle_embedding_size = 0")
    with pytest.raises(RecipeError, match="puzzle_learning_rate is set, and the model has no puzzle embeddings"):
        recipe.parse(without, source="test.toml")
