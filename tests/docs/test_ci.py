"""The action does what docs/ci.md says: its steps pass for a sound checkpoint and fail for a damaged one."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "ci.md").read_text()
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS: dict[str, dict[str, Any]] = {step["name"]: step for step in ACTION["runs"]["steps"]}
GIVEN = re.compile(r"\$\{\{ inputs\.([\w-]+) \}\}")


def workflow() -> dict[str, str]:
    """The inputs that the page's workflow gives the action."""
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (step,) = (step for step in yaml.safe_load(text)["jobs"]["parity"]["steps"] if "trm-deploy" in step["uses"])
    given: dict[str, str] = step["with"]
    return given


def filled(value: str, given: dict[str, str]) -> str:
    """A value of the action with its inputs in their places, as a runner does it."""
    return GIVEN.sub(lambda match: given.get(match[1], str(ACTION["inputs"][match[1]].get("default"))), value)


@pytest.fixture
def command(tmp_path: Path) -> str:
    """A PATH on which `trm-deploy` is the one of this checkout."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "trm-deploy").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m trm_deploy "$@"\n')
    (folder / "trm-deploy").chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def run(step: dict[str, Any], given: dict[str, str], folder: Path, path: str) -> subprocess.CompletedProcess[str]:
    """A step of the action, as a runner runs it."""
    assert step["shell"] == "bash"
    values = {name: filled(value, given) for name, value in step.get("env", {}).items()}
    runner = {
        "GITHUB_ACTION_PATH": str(ROOT),
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
        "PYTHONPATH": str(ROOT),
        "PATH": path,
    }
    return subprocess.run(
        ["bash", "-e", "-c", step["run"]],
        cwd=folder,
        env={**os.environ, **runner, **values},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_action(tiny_checkpoint: Path, tmp_path: Path, command: str) -> None:
    keep = STEPS["Keep the report"]
    assert keep["if"] == "always()"
    assert [step for step in STEPS.values() if "if" in step] == [keep]
    steps = [step for step in STEPS.values() if "run" in step]
    assert [step["run"].partition("parity_ci.sh")[2] for step in steps] == ['" install', '" export parity']
    main = steps[1]

    # A user's repository.
    given = workflow()
    home = tmp_path / "repository"
    checkpoint, puzzles = home / given["checkpoint"], home / given["puzzles"]
    checkpoint.parent.mkdir(parents=True)
    shutil.copy(tiny_checkpoint, checkpoint)
    puzzles.write_text("puzzle\n..34341221434321\n1...............\n")
    result = run(main, given, home, command)
    assert result.returncode == 0, result.stderr
    printed = json.loads(result.stdout)
    assert printed["passed"] is True
    assert printed["puzzles"] == 2
    report = home / filled(ACTION["outputs"]["report"]["value"], given)
    assert json.loads(report.read_text()) == printed
    assert (home / "summary.md").read_text() == report.with_name("report.md").read_text()
    kept = home / filled(keep["with"]["path"], given)
    assert {"model.onnx", "model.onnx.json", "model.onnx.golden.npz", "report"} == {
        entry.name for entry in kept.iterdir()
    }

    # The report is accepted, as the page says.
    (accept,) = re.findall(r"^    cp (\S+) (\S+)$", PAGE, re.MULTILINE)
    shutil.copy(*(home / name for name in accept))
    (baseline,) = re.findall(r"^    baseline: (\S+)$", PAGE, re.MULTILINE)
    assert baseline == accept[1]
    given["baseline"] = baseline
    parity = {**main, "run": main["run"].replace("export parity", "parity")}
    result = run(parity, given, home, command)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["engines"][0]["baseline"]

    # Damaged weights.
    damaged = torch.load(checkpoint, weights_only=True)
    damaged["ema"]["answer_head.weight"] += 0.01
    torch.save(damaged, checkpoint)
    result = run(parity, given, home, command)
    assert result.returncode == 3
    assert "parity with PyTorch fails: step 1: differs by" in result.stderr
    assert json.loads(result.stdout)["passed"] is False
    assert "**Parity fails.**" in report.with_name("report.md").read_text()
    assert (home / "summary.md").read_text().endswith(report.with_name("report.md").read_text())


def test_values_are_not_read_as_commands(tmp_path: Path, command: str) -> None:
    """Inputs come from pull requests: they reach the script through its environment, never through its text."""
    for step in STEPS.values():
        assert not GIVEN.search(step.get("run", ""))
    (given := workflow())["checkpoint"] = '$(touch owned) "; touch owned; model.pt'
    given["parity-flags"] = "--limit 2; touch owned"
    result = run(STEPS["Export and parity"], given, tmp_path, command)
    assert result.returncode == 2
    assert "there is no such file" in result.stderr
    assert not (tmp_path / "owned").exists()


def test_what_is_missing_is_named(tmp_path: Path, command: str) -> None:
    result = run(STEPS["Export and parity"], {**workflow(), "checkpoint": ""}, tmp_path, command)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "CHECKPOINT names no file" in result.stderr
    script = ROOT / "tools" / "parity_ci.sh"
    for words, message in (([], "usage: "), (["exprot"], "there is no step 'exprot', expected install, export")):
        result = subprocess.run([script, *words], capture_output=True, text=True, check=False)
        assert result.returncode == 2
        assert message in result.stderr


def test_the_page_names_every_input() -> None:
    assert workflow().keys() <= ACTION["inputs"].keys()
    table = PAGE[PAGE.index("| input |") : PAGE.index("Its steps are a script")]
    assert set(re.findall(r"`([a-z-]+)`", table)) - {"report", "trm-deploy"} >= ACTION["inputs"].keys()
    used = {name for step in STEPS.values() for name in GIVEN.findall(yaml.safe_dump(step))}
    assert used == ACTION["inputs"].keys()
