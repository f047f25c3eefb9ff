"""A model whose z is split into two latents: training has it, so every command that runs a checkpoint must."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import random_model, tiny_spec
from trm_deploy import checkpoints, puzzles, runtimes
from trm_deploy.checkpoints import Checkpoint
from trm_deploy.cli import main
from trm_deploy.runtimes.base import StepRuntime, initial_numpy_state

TASK = puzzles.get("sudoku-4x4")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = random_model(tiny_spec("trm-mlp", architecture={"latents": 2}))
    path = tmp_path_factory.mktemp("latents") / "two.pt"
    checkpoints.save(path, Checkpoint(model.spec, model.state_dict(), {"steps": 0, "recipe": "", "seed": 0}))
    return path


@pytest.fixture
def trm(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """A command, in this process: exit code, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["trm-deploy", *map(str, arguments)])
        with pytest.raises(SystemExit) as exited:
            main()
        captured = capsys.readouterr()
        return int(exited.value.code or 0), captured.out, captured.err

    return run


def test_single_steps_are_the_steps_of_solve(checkpoint: Path) -> None:
    runtime = runtimes.load(checkpoint)
    assert isinstance(runtime, StepRuntime)
    tokens = TASK.examples()[:4]
    y, z = initial_numpy_state(runtime.spec, 4)
    positions = runtime.spec.positions
    assert (y.shape, z.shape) == ((4, positions, 32), (4, 2 * positions, 32))
    for step in range(1, 4):
        result = runtime.step(tokens, np.full(4, step == 1), y, z)
        y, z = result.y, result.z
        whole = runtime.solve(tokens, max_steps=step, halt_threshold=np.inf)
        np.testing.assert_allclose(result.logits, whole.logits, atol=1e-5)
    assert tuple(z.shape) == (4, 2 * positions, 32)


def test_run_tune_and_benchmark(checkpoint: Path, tmp_path: Path, trm: Callable[..., tuple[int, str, str]]) -> None:
    puzzles_file = tmp_path / "puzzles.txt"
    puzzles_file.write_text("\n".join(TASK.text(row) for row in TASK.examples()[:6]) + "\n")
    code, out, err = trm("run", "--engine", checkpoint, puzzles_file, "--json", "--max-steps", 3)
    assert code == 0, err
    assert [len(json.loads(line)["answer"]) for line in out.splitlines()] == [16] * 6
    code, out, err = trm("tune", checkpoint, puzzles_file, "--max-steps", 3)
    # Said after the whole pass: random weights solve nothing.
    assert (code, err.splitlines()[-1].split(",")[0]) == (2, "error: the engine solves none of the puzzles")
    code, out, err = trm(
        "benchmark", checkpoint, "--puzzles", puzzles_file, "--repeats", 1, "--max-steps", 3, "--json",
        "--only", "torch-eager-fp32", "--only", "torch-eager-bf16", "--only", "ort-step-fp32",
    )  # fmt: skip
    assert code == 0, err
    assert [row["name"] for row in json.loads(out)["rows"]] == ["torch-eager-fp32", "torch-eager-bf16"]
    assert "ort-step-fp32 is left out" in err
