"""The tool behind docs/ablations.md: each variant differs from TRM-MLP in what its name says; runs are not repeated."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import ROOT, load_tool
from trm_deploy.errors import InputError
from trm_deploy.train import recipe
from trm_deploy.train.trainer import Trainer


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_tool("ablations")


def settings(tool: ModuleType, name: str) -> dict[str, Any]:
    """Every setting of a variant's run by its key."""
    made = recipe.parse(tool.VARIANTS[name].recipe(steps=10, seed=1), source=name)
    parts = {"": made.training, "architecture.": made.spec.architecture}
    parts |= {"recursion.": made.spec.recursion, "halting.": made.spec.halting, "optimizer.": made.optimizer}
    return {f"{place}{key}": value for place, part in parts.items() for key, value in vars(part).items()}


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("trm-att", {"architecture.mixer": "attention", "architecture.positions": "rotary"}),
        (
            "hrm",
            {
                "architecture.mixer": "attention",
                "architecture.positions": "rotary",
                "architecture.layers": 4,
                "architecture.networks": "separate",
                "halting.rule": "halt-continue",
                "gradient": "one-step",
            },
        ),
        ("one-step", {"gradient": "one-step"}),
        ("no-ema", {"ema": 0.0}),
        ("separate", {"architecture.networks": "separate"}),
        ("deeper", {"architecture.layers": 4, "recursion.latent": 1}),
        ("shallow", {"recursion.latent": 1, "recursion.deep": 1}),
        ("q-learning", {"halting.rule": "halt-continue"}),
    ],
)
def test_a_variant_changes_what_its_name_says_and_nothing_else(
    tool: ModuleType, name: str, changed: dict[str, Any]
) -> None:
    base = settings(tool, "trm-mlp")
    assert {key: value for key, value in settings(tool, name).items() if value != base[key]} == changed


def test_a_run_is_taken_up_again_and_not_repeated(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRM_DEPLOY_CACHE", str(tmp_path / "cache"))
    text = tool.VARIANTS["trm-mlp"].recipe(steps=4, seed=1)
    text = text.replace("puzzles = 4_000", "puzzles = 50").replace("puzzles = 256", "puzzles = 8")
    first = Trainer(recipe.parse(text, source="x"), tmp_path / "run")
    for _ in range(3):
        first._optimize()
        first.step += 1
    first.save()
    result = tool.train("trm-mlp", text, tmp_path / "run")
    assert result["seconds_a_step"] > 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [4, 4]  # the losses and the evaluation of the one step that was left
    assert lines[-1]["held_out_solved"] == result["solved"]
    before = (tmp_path / "run" / "ema.pt").stat().st_mtime_ns
    assert tool.train("trm-mlp", text, tmp_path / "run") == result
    assert (tmp_path / "run" / "ema.pt").stat().st_mtime_ns == before
    with pytest.raises(InputError, match="holds a run of another recipe; name another --runs"):
        tool.train("trm-mlp", text.replace("steps = 4", "steps = 5"), tmp_path / "run")


def test_the_table_in_the_docs_is_that_of_the_measurement(tool: ModuleType) -> None:
    document = json.loads((ROOT / "docs" / "measurements" / "ablations.json").read_text())
    assert tool.table(document) in (ROOT / "docs" / "ablations.md").read_text()
    # The recipes behind it are those that the command would run today.
    for row in document["variants"]:
        assert row["recipe"] == tool.VARIANTS[row["variant"]].recipe(steps=document["optimiser_steps"], seed=0)
    assert {row["variant"] for row in document["variants"]} == set(tool.VARIANTS)
    assert all([run["seed"] for run in row["runs"]] == [0, 1, 2] for row in document["variants"])
