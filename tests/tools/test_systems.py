"""The tool behind docs/systems.md: the same puzzles for each system, and a run is told as its log has it."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from tests.conftest import load_tool
from trm_deploy import checkpoints
from trm_deploy.checkpoints import Checkpoint
from trm_deploy.models.recursive import RecursiveReasoner


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_tool("systems")


def test_the_systems_are_the_published_ones_on_the_same_puzzles(tool: ModuleType) -> None:
    found = {name: tool.recipe_of(name) for name in tool.SYSTEMS}
    assert len({recipe.data for recipe in found.values()}) == 1
    on_cpu = {name: recipe for name, recipe in found.items() if recipe.training.device == "cpu"}
    assert set(on_cpu) == {"trm-mlp", "trm-att", "hrm"}
    assert len({recipe.training.batch_size for recipe in on_cpu.values()}) == 1
    kinds = {
        name: (recipe.spec.architecture.mixer, recipe.spec.architecture.networks, recipe.spec.halting.rule)
        for name, recipe in found.items()
    }
    assert kinds == {
        "trm-mlp": ("mlp", "shared", "halt"),
        "trm-att": ("attention", "shared", "halt"),
        "hrm": ("attention", "separate", "halt-continue"),
        "hrm-gpu": ("attention", "separate", "halt-continue"),
    }
    assert found["hrm-gpu"].spec == found["hrm"].spec
    assert {name: recipe.training.gradient for name, recipe in found.items()}["hrm"] == "one-step"
    for name, legs in tool.LEGS.items():
        for number in range(len(legs)):
            assert tool.recipe_of(name, number).spec == found[name].spec
            assert tool.recipe_of(name, number).data == found[name].data


def test_a_run_is_told_by_its_log(tool: ModuleType, tmp_path: Path) -> None:
    solved = {250: 0.2, 500: 0.55, 750: 0.54, 1000: 0.86}
    lines: list[dict[str, float]] = [
        {"step": 50, "seconds": 9.0, "cpu_seconds": 4.0, "answer_loss": 1.5, "halting_loss": 0.1}
    ]
    lines += [
        {"step": step, "seconds": step, "cpu_seconds": step / 2, "held_out_solved": share, "held_out_mean_steps": 3.0}
        for step, share in solved.items()
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "two").mkdir()
    second = {"step": 250, "seconds": 60.0, "cpu_seconds": 50.0, "held_out_solved": 0.93, "held_out_mean_steps": 2.5}
    (tmp_path / "two" / "metrics.jsonl").write_text(json.dumps(second) + "\n")
    legs = tool.described("hrm", [tmp_path, tmp_path / "two"])
    assert legs["reached"]["90%"] == {"step": 1250, "seconds": 1060, "cpu_seconds": 550}
    row = tool.described("hrm", [tmp_path])
    assert (row["optimiser_steps"], row["cpu_seconds"]) == (1000, 500)
    assert row["reached"] == {"50%": {"step": 500, "seconds": 500, "cpu_seconds": 250}, "90%": None}
    assert row["loss"] == [[50, 4.0, 1.5, 0.1]]
    assert [point[2] for point in row["held_out"]] == list(solved.values())
    depths = [{"deep": deep, "solved": 0.9, "halted_wrong": 0.02, "mean_steps": 2.0} for deep in tool.DEPTHS]
    document = {"systems": [{**row, "unseen": depths}]}
    assert "| HRM |" in tool.table(document)
    assert "| 500, 4 | not reached | 90.0% | 2.00 | 2.0% |" in tool.table(document)
    on_gpu = {"systems": [{**row, "device": "cuda", "unseen": depths}]}
    assert "| 16.7 of a GPU | 500, 8.3 of a GPU | not reached |" in tool.table(on_gpu)
    assert tool.depth_table(document).count("90.0%, 2.00") == len(tool.DEPTHS)
    tool.plot(document, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_answers_are_judged_by_the_rules(tool: ModuleType, tmp_path: Path) -> None:
    """An untrained model solves nothing, and does not halt."""
    spec = tool.recipe_of("trm-mlp").spec
    torch.manual_seed(0)
    checkpoints.save(tmp_path / "ema.pt", Checkpoint(spec, RecursiveReasoner(spec).state_dict(), {"steps": 0}))
    found = tool.evaluate("trm-mlp", tmp_path / "ema.pt", np.ones((3, 36), np.int32), 1)
    assert found == {"deep": 1, "solved": 0.0, "halted_wrong": 0.0, "mean_steps": 8.0}
