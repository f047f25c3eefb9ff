"""A whole run takes each choice that a recipe has."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.train.conftest import SMALL, TINY, parsed
from trm_deploy import checkpoints
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.models.solve import solve
from trm_deploy.train.runlog import read_metrics
from trm_deploy.train.trainer import Trainer


def trained(tmp_path: Path, text: str) -> Trainer:
    """After three optimiser steps, with its checkpoint."""
    trainer = Trainer(parsed(text), tmp_path / "run")
    for trainer.step in range(3):
        trainer._optimize()
    trainer.save()
    return trainer


@pytest.mark.parametrize(
    "setting",
    [
        'gradient = "one-step"',
        'gradient = "whole"\ninitial_state = "learned"',
        'loss = "stablemax"',
        'initial_state = "zero"',
    ],
)
def test_a_run_takes_each_training_choice(tmp_path: Path, setting: str) -> None:
    trainer = trained(tmp_path, TINY.replace("[training]", f"[training]\n{setting}"))
    torch.manual_seed(trainer.recipe.training.seed)
    constant = torch.equal(trainer.model.y_init, RecursiveReasoner(trainer.recipe.spec).y_init)
    assert constant == ("initial_state" not in setting)
    assert checkpoints.load(tmp_path / "run" / "ema.pt").model().y_init.any() == ("zero" not in setting)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("hidden_size = 16", "hidden_size = 16, latents = 0"),
        ("hidden_size = 16", "hidden_size = 16, latents = 2"),
        ("hidden_size = 16", 'hidden_size = 16, networks = "separate", positions = "learned"'),
        ("max_steps = 8", 'max_steps = 8, rule = "halt-continue"'),
    ],
)
def test_a_run_takes_each_choice_of_the_model(tmp_path: Path, old: str, new: str) -> None:
    assert old in TINY
    trainer = trained(tmp_path, TINY.replace(old, new))
    loaded = checkpoints.load(tmp_path / "run" / "ema.pt")
    assert loaded.spec == trainer.recipe.spec
    tokens = torch.ones(2, 16, dtype=torch.int32)
    assert solve(loaded.model(), tokens, max_steps=3, halt_threshold=0.0).steps.max() <= 3


def test_without_averaging_the_checkpoint_holds_the_weights_as_they_are(tmp_path: Path) -> None:
    trainer = trained(tmp_path, TINY.replace("ema = 0.99", "ema = 0.0"))
    weights = checkpoints.load(tmp_path / "run" / "ema.pt").ema
    assert all(torch.equal(weights[name], value) for name, value in trainer.model.state_dict().items())


HRM = (
    SMALL.replace('"trm-mlp"', '"hrm"')
    # The MLP: attention has not found rows and boxes after 500 steps yet.
    .replace("hidden_size = 64,", 'hidden_size = 32, layers = 1, mixer = "mlp", positions = "none",')
    .replace("puzzle_embedding_size = 64", "puzzle_embedding_size = 32")
    .replace("steps = 600", 'steps = 250\ngradient = "one-step"')
    .replace("min_clues = 4", "min_clues = 9")
    .replace("max_clues = 10", "max_clues = 12")
    .replace("puzzles = 4000", "puzzles = 1000")
    .replace("puzzles = 256", "puzzles = 64")
)


@pytest.mark.slow
def test_hrm_learns_to_solve_unseen_puzzles(tmp_path: Path) -> None:
    Trainer(parsed(HRM), tmp_path / "run").run()
    last = [line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if "held_out_solved" in line][-1]
    assert last["held_out_solved"] >= 0.4  # guessing solves a quarter
