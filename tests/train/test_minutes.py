"""Runs that end by the clock."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.train.conftest import TINY, parsed
from trm_deploy import checkpoints
from trm_deploy.errors import RecipeError
from trm_deploy.train import run_folder
from trm_deploy.train.recipe import OptimizerSection
from trm_deploy.train.runlog import read_metrics
from trm_deploy.train.trainer import Trainer

TIMED = TINY.replace("steps = 12\n", "steps = 1_000_000\nminutes = 0.02\n")


def test_a_run_ends_when_its_minutes_are_over(tmp_path: Path) -> None:
    recipe, started = parsed(TIMED), time.monotonic()
    Trainer(recipe, tmp_path / "run").run()
    assert 1.2 <= time.monotonic() - started < 60
    found = checkpoints.load(tmp_path / "run" / run_folder.CHECKPOINT)
    assert found.training["out_of_time"]
    assert 0 < found.training["steps"] < 1_000_000
    assert run_folder.is_finished(tmp_path / "run", recipe)
    last = read_metrics(tmp_path / "run" / run_folder.METRICS)[-1]
    assert "held_out_solved" in last
    assert last["step"] == found.training["steps"]


def test_curriculum_and_learning_rate_keep_to_the_clock(tmp_path: Path) -> None:
    text = TIMED.replace(
        "[training]", "[training]\ncurriculum = [{ until = 0.5, deep = 1 }, { until = 1.0, deep = 7 }]"
    )
    trainer = Trainer(parsed(text), tmp_path / "run")
    assert (trainer._done(), trainer._deep()) == (0.0, 1)
    trainer.seconds = 0.9
    assert (round(trainer._done(), 9), trainer._deep()) == (0.75, 7)
    trainer._optimize()
    # Warm-up aside, a quarter of the run is left, of the half over which the rate falls.
    assert OptimizerSection(warmup_steps=0).learning_rate_factor(10, 1_000_000, 0.75) == 0.5


@pytest.mark.parametrize("minutes", ["-1.0", "inf"])
def test_minutes_out_of_range(minutes: str) -> None:
    with pytest.raises(RecipeError, match=f"training.minutes is {minutes}.*expected 0 or more"):
        parsed(TIMED.replace("0.02", minutes))
