"""A run that starts from the weights of a checkpoint; one of another model is refused, saying where it differs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from tests.train.conftest import DATASET_RECIPE, TINY, parsed
from trm_deploy import checkpoints, puzzles
from trm_deploy.checkpoints import Checkpoint
from trm_deploy.errors import CheckpointError
from trm_deploy.models.presets import preset
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.spec import ModelSpec, TaskSpec
from trm_deploy.train.trainer import Trainer
from trm_deploy.train.warm_start import read_start


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """The checkpoint of a finished run."""
    Trainer(parsed(), tmp_path / "first").run()
    return tmp_path / "first" / "ema.pt"


def same(model: RecursiveReasoner, expected: dict[str, torch.Tensor]) -> bool:
    found = model.state_dict()
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_weights_are_taken_and_the_optimizer_begins_anew(start: Path, tmp_path: Path) -> None:
    found = checkpoints.load(start)
    # Another depth, more steps, another seed and threshold: the same weights serve them.
    again = TINY.replace("deep = 2", "deep = 3").replace("max_steps = 8", "max_steps = 5, threshold = 0.5")
    again = again.replace("rotation = 2", "rotation = 2\nseed = 9")
    trainer = Trainer(parsed(again), tmp_path / "second", start=start)
    assert same(trainer.model, found.ema)
    assert same(trainer.averaged, found.ema)
    assert not trainer.optimizer.state_dict()["state"]
    assert (trainer.step, trainer.spec.recursion.deep) == (0, 3)
    trainer.run()
    made = checkpoints.load(tmp_path / "second" / "ema.pt")
    assert made.training == {"steps": 12, "recipe": again, "seed": 9, "started_from": found.sha256}
    assert not torch.equal(made.ema["tokens.weight"], found.ema["tokens.weight"])


def test_a_resumed_run_still_knows_what_it_started_from(start: Path, tmp_path: Path) -> None:
    trainer = Trainer(parsed(), tmp_path / "second", start=start)
    trainer._optimize()
    trainer.step = 1
    trainer.save()
    resumed = Trainer(parsed(), tmp_path / "second", resume=True)
    assert not same(resumed.model, checkpoints.load(start).ema)
    resumed.save()
    made = checkpoints.load(tmp_path / "second" / "ema.pt")
    assert made.training["started_from"] == checkpoints.load(start).sha256


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("hidden_size = 16", "hidden_size = 32", "architecture.hidden_size is 16, the recipe has 32"),
        ("latent = 2", "latent = 3", "recursion.latent is 2, the recipe has 3"),
        ("max_steps = 8", 'max_steps = 8, rule = "halt-continue"', "halting.rule is 'halt', the recipe has 'halt-cont"),
        ("box_columns = 2", "box_columns = 3", "task.name is 'sudoku-4x4', the recipe has 'sudoku-6x6'"),
    ],
)
def test_another_model_is_refused_and_the_difference_named(
    start: Path, tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in TINY
    with pytest.raises(CheckpointError) as raised:
        Trainer(parsed(TINY.replace(old, new)), tmp_path / "second", start=start)
    assert f"{start}: is a model other than the recipe's: " in str(raised.value)
    assert message in str(raised.value)
    assert not (tmp_path / "second").exists()


def test_puzzle_embeddings_are_taken_where_their_names_are_the_same(tmp_path: Path, dataset: Path) -> None:
    asked = parsed(DATASET_RECIPE).with_flags(data=str(dataset), device=None)
    Trainer(asked, tmp_path / "first").run()
    start = tmp_path / "first" / "ema.pt"
    trainer = Trainer(asked, tmp_path / "second", start=start)
    assert trainer.table is not None
    assert torch.equal(trainer.table.weight, checkpoints.load(start).ema["puzzles"])
    assert trainer.table.weight.any()
    names = json.loads((dataset / "identifiers.json").read_text())
    (dataset / "identifiers.json").write_text(json.dumps([names[0], *names[:0:-1]]))
    with pytest.raises(CheckpointError, match=r"its puzzle embeddings have other names .* than the data's"):
        Trainer(asked, tmp_path / "third", start=start)


def test_a_number_of_puzzles_of_its_own_is_another_task(start: Path, tmp_path: Path) -> None:
    found = checkpoints.load(start)
    task = dataclasses.replace(found.spec.task, puzzle_identifiers=5)
    other = dataclasses.replace(found.spec, task=task)
    model = RecursiveReasoner(other)
    checkpoints.save(tmp_path / "other.pt", Checkpoint(other, model.state_dict(), {"steps": 1}))
    with pytest.raises(CheckpointError, match=r"task\.puzzle_identifiers is 5, the recipe has 1"):
        Trainer(parsed(), tmp_path / "second", start=tmp_path / "other.pt")


@pytest.mark.parametrize("positions", ["rotary", "rotary-2d", "none", "learned"])
def test_attention_without_trained_positions_goes_on_with_puzzles_of_another_size(
    tmp_path: Path, positions: str
) -> None:
    def spec(task: str) -> ModelSpec:
        puzzle = puzzles.get(task)
        architecture = {"hidden_size": 32, "puzzle_embedding_size": 32, "heads": 2, "positions": positions}
        named = TaskSpec(name=task, sequence_length=puzzle.cells, vocabulary=puzzle.vocabulary)
        return preset("trm-att", named, architecture=architecture)

    small, large = spec("maze-3x3"), spec("maze-5x5")
    path = tmp_path / "small.pt"
    checkpoints.save(path, Checkpoint(small, RecursiveReasoner(small).state_dict(), {"steps": 1}))
    if positions == "learned":
        with pytest.raises(CheckpointError, match=r"task\.name is 'maze-3x3', the recipe has 'maze-5x5'"):
            read_start(path, large, None)
        return
    RecursiveReasoner(large).load_state_dict(read_start(path, large, None).ema)
    # Other symbols mean something else, whatever their number.
    with pytest.raises(CheckpointError, match=r"task\.vocabulary is .*, the recipe has"):
        read_start(path, spec("sudoku-4x4"), None)
