"""Recipes: the shipped ones parse, mistakes are named with their key."""

from __future__ import annotations

from pathlib import Path

import pytest

from trm_deploy.errors import RecipeError
from trm_deploy.train import recipe
from trm_deploy.train.recipe import OptimizerSettings

SMALL = recipe.shipped()["sudoku-4x4"]


def test_the_shipped_recipes_parse() -> None:
    assert set(recipe.shipped()) == {"sudoku", "sudoku-4x4"}
    for name in recipe.shipped():
        loaded = recipe.load(name)
        assert loaded.spec.task.name == loaded.puzzle.name


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("steps = 600", "steps = 0", "training.steps is 0, expected at least 1"),
        ("steps = 600", "step = 600", "has the unknown key 'step', expected one of"),
        ("[optimizer]", "[optimiser]", "recipe has the unknown key 'optimiser'"),
        ("learning_rate = 2e-3", "learning_rate = -1.0", "optimizer.learning_rate is -1.0, expected above 0"),
        ("latent = 2", "latent = 2.5", "recursion.latent is 2.5, expected int"),
        ('"trm-mlp"', '"gpt"', "the preset 'gpt' is unknown"),
        ("box_rows = 2", "box_rows = 7", "is 14, expected 2 to 9"),
        ("[data]", "[data", "is no valid TOML"),
        ("[data]", "text = 'x'\n[data]", "unknown key 'text'"),
        ("[data]", "[data]\ncolour = 1", "unknown key 'colour'"),
        ("[data]", "[data]\nsingles_kept = 0.0", "data.singles_kept is 0.0, expected above 0 and up to 1"),
        ("[training]", "[training]\ngradient = 'half'", "training.gradient is 'half', expected one of 'full'"),
        ("[training]", "[training]\nloss = 'mse'", "training.loss is 'mse', expected one of 'softmax', 'stablemax'"),
        ("[training]", "[training]\ninitial_state = 1", "training.initial_state is 1, expected one of 'fixed'"),
        ("[training]", "[training]\ninitial_state = 'learned'", "'learned' with training.gradient = 'full', expected"),
        ("ema = 0.99", "ema = 1.0", "training.ema is 1.0, expected 0 up to 1"),
        ("latent = 2", "latent = 0", "recursion.latent is 0, expected at least 1"),
        ("hidden_size = 64", "hidden_size = 64, latents = 3", "architecture.latents is 3 with recursion.latent = 2"),
        (
            "[training]",
            "[training]\ncurriculum = [{ until = 0.5, deep = 2 }, { until = 0.4, deep = 3 }]",
            "training.curriculum ends its stages at [0.5, 0.4], expected rising shares",
        ),
        ("[training]", "[training]\ncurriculum = [{ until = 1.5, deep = 2 }]", "until is 1.5, expected above 0"),
        ("[training]", "[training]\ncurriculum = [{ until = 0.5, deep = 0 }]", "deep is 0, expected at least 1"),
    ],
)
def test_mistakes_are_named(old: str, new: str, message: str) -> None:
    assert old in SMALL
    with pytest.raises(RecipeError) as raised:
        recipe.parse(SMALL.replace(old, new), source="mine.toml")
    assert message in str(raised.value)
    assert str(raised.value).startswith("mine.toml: ")


def test_an_unknown_name_lists_the_recipes(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no recipe or file has that name, expected one of sudoku-4x4, sudoku"):
        recipe.load("chess")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="cannot be read"):
        recipe.load(str(tmp_path / "binary.toml"))


def test_the_learning_rate_warms_up_and_decays_to_zero() -> None:
    settings = OptimizerSettings(warmup_steps=9, decay_share=0.5)
    factors = [settings.learning_rate_factor(step, 100) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == 1.0
    assert factors[50] == 1.0
    assert factors[75] == pytest.approx(0.5)
    assert factors[100] == 0.0
    assert OptimizerSettings(warmup_steps=0, decay_share=0.0).learning_rate_factor(0, 100) == 1.0
