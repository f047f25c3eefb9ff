"""Recipes: the shipped ones parse, mistakes are named with their key."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from trm_deploy.errors import RecipeError
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.train import recipe
from trm_deploy.train.recipe import OptimizerSection

SMALL = recipe.shipped()["sudoku-4x4"]


# The task of each shipped recipe and the published size of its network in millions of parameters, embeddings of
# puzzles aside (TRM, arXiv 2510.04871, table 1 and section 5; HRM, arXiv 2506.21734); None where it is ours.
SHIPPED: dict[str, tuple[str, float | None]] = {
    "sudoku": ("sudoku-9x9", None),
    "sudoku-4x4": ("sudoku-4x4", None),
    "sudoku-6x6-trm-mlp": ("sudoku-6x6", None),
    "sudoku-6x6-trm-att": ("sudoku-6x6", None),
    "sudoku-6x6-hrm": ("sudoku-6x6", None),
    "sudoku-6x6-hrm-2": ("sudoku-6x6", None),
    "sudoku-6x6-hrm-gpu": ("sudoku-6x6", None),
    "sudoku-gpu": ("sudoku-9x9", None),
    "maze-12x12": ("maze-12x12", None),
    "arc-8x8": ("arc-8x8", None),
    "sudoku-extreme": ("sudoku-9x9", 5),
    "maze-hard": ("maze-30x30", 7),
    "arc-agi-1": ("arc", 7),
    "arc-agi-2": ("arc", 7),
    "hrm-sudoku-extreme": ("sudoku-9x9", 27),
}


def test_every_shipped_recipe_is_listed() -> None:
    assert set(recipe.shipped()) == set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_recipes_parse_and_have_the_published_size(name: str) -> None:
    task, millions = SHIPPED[name]
    loaded = recipe.load(name)
    spec = loaded.spec_for(1000) if task == "arc" else loaded.spec
    assert spec.task.name == loaded.puzzle.name == task
    with torch.device("meta"):
        model = RecursiveReasoner(spec)
    size = sum(p.numel() for n, p in model.named_parameters() if n != "puzzles") / 1e6
    if millions:
        assert size == pytest.approx(millions, abs=0.5)
        assert loaded.training.batch_size == 768
        assert spec.architecture.hidden_size == 512


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
        ("[data]", "[data", "is not valid TOML"),
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
    with pytest.raises(
        RecipeError, match=r"no recipe or file has that name, expected one of arc-8x8, .*, sudoku or a TOML file"
    ):
        recipe.load("chess")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="cannot be read"):
        recipe.load(str(tmp_path / "binary.toml"))


def test_the_learning_rate_warms_up_and_decays_to_zero() -> None:
    settings = OptimizerSection(warmup_steps=9, decay_share=0.5)
    factors = [settings.learning_rate_factor(step, 100) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == 1.0
    assert factors[50] == 1.0
    assert factors[75] == pytest.approx(0.5)
    assert factors[100] == 0.0
    assert OptimizerSection(warmup_steps=0, decay_share=0.0).learning_rate_factor(0, 100) == 1.0
