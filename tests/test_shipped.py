"""The shipped model: its files belong together, and it solves published puzzles."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from tests.conftest import ASSETS
from trm_deploy import checkpoints, puzzles, runtimes
from trm_deploy.artefacts import record
from trm_deploy.evaluation.parity.export_check import check_export
from trm_deploy.evaluation.parity.files import compare_files
from trm_deploy.export import onnx_artefact
from trm_deploy.models.solve import solve
from trm_deploy.puzzles.maze import Maze
from trm_deploy.puzzles.sudoku import Sudoku
from trm_deploy.runtimes.solving.attempts import Schedule, solve_verified
from trm_deploy.runtimes.solving.session import shipped_engine
from trm_deploy.support.files import sha256
from trm_deploy.train import recipe
from trm_deploy.train.data.generators.maze import default_min_path
from trm_deploy.train.data.generators.maze import generate as generate_mazes
from trm_deploy.train.data.generators.sudoku import generate
from trm_deploy.train.data.settings import GeneratedPuzzles

ROOT = Path(__file__).parent.parent


# Model -> recipe, and what its run did: it ended by the clock, and the recipe counts steps instead.
RUNS = {"sudoku": ("sudoku-gpu", 4500, 3.72), "maze": ("maze-12x12", 6118, 3.55)}
ENGINES = [
    ("sudoku", "sudoku.onnx", "loop"),
    ("sudoku", "sudoku-step.onnx", "step"),
    ("maze", "maze-step.onnx", "step"),
]


@pytest.mark.parametrize("model", RUNS)
def test_the_checkpoint_is_small_and_came_from_the_shipped_recipe(model: str) -> None:
    name, steps, minutes = RUNS[model]
    path = ASSETS / f"{model}.pt"
    assert path.stat().st_size <= 3_000_000
    loaded = checkpoints.load(path)
    made_by, shipped = recipe.parse(loaded.training["recipe"], source=path.name), recipe.load(name)
    by_clock = dataclasses.replace(shipped.training, steps=60_000, minutes=minutes)
    assert (made_by.data, made_by.model, made_by.optimizer, made_by.training) == (
        shipped.data, shipped.model, shipped.optimizer, by_clock,
    )  # fmt: skip
    assert loaded.training["steps"] == steps
    assert abs(shipped.training.steps - steps) <= 400
    assert loaded.spec == shipped.spec


@pytest.mark.parametrize(("model", "engine", "graph"), ENGINES)
def test_the_onnx_files_were_made_from_the_checkpoint_and_hold_parity(model: str, engine: str, graph: str) -> None:
    built = record.read(ASSETS / engine)
    assert built is not None
    assert built.graph == graph
    assert built.checkpoint_sha256 == sha256(ASSETS / f"{model}.pt")
    assert built.artefact_sha256 == sha256(ASSETS / engine)
    compare_files(ASSETS / f"{model}.pt", [ASSETS / engine], limit=2).raise_if_failed()


def test_int8_with_static_scales_passes_the_check_after_an_export(tmp_path: Path) -> None:
    """Other models may bear coarser scales: this one has activations that must not saturate."""
    options = onnx_artefact.GraphOptions(graph="step", precision="int8", static_scales=True)
    onnx_artefact.export_checkpoint(ASSETS / "sudoku.pt", tmp_path / "int8.onnx", options, check=check_export)
    built = record.read(tmp_path / "int8.onnx")
    assert built is not None
    assert built.precision == "int8"
    assert built.parity["passed"] is True


def test_mazes_of_a_new_seed_are_solved() -> None:
    maze = puzzles.get("maze-12x12")
    assert isinstance(maze, Maze)
    (pairs,) = generate_mazes(maze, 20, min_path=default_min_path(maze), seed=20261127)
    runtime = runtimes.load(ASSETS / "maze-step.onnx")
    schedule = Schedule(attempts=8, attempt_steps=(3,), halt_threshold=0.0)
    answers = [solve_verified(runtime, maze, row[None].astype(np.int32), schedule)[0] for row in pairs[:, 0]]
    assert all(answer.verified for answer in answers)
    assert sum(answer.attempts == 1 for answer in answers) >= 16


def hard_questions(count: int) -> np.ndarray:
    """Puzzles with few givens that need more than singles: they take the model different numbers of steps."""
    settings = GeneratedPuzzles(puzzles=count, min_clues=20, max_clues=24, singles_kept=0.05, seed=3)
    made = np.concatenate(list(generate(settings, processes=1)))
    return Sudoku(3, 3).from_digits(made[:, 0])


def test_onnxruntime_alone_gives_pytorchs_answers_and_steps() -> None:
    """A batch in which every sample halts at a step of its own, and the same puzzles one by one."""
    model = checkpoints.load(ASSETS / "sudoku.pt").model()
    pool = hard_questions(120)
    first = solve(model, torch.from_numpy(pool), max_steps=8, halt_threshold=0.0)
    # Right answers only: a puzzle that the model cannot solve answers to the last bit of every sum.
    right = np.array([not Sudoku(3, 3).answer_faults(*pair) for pair in zip(pool, first.answer.numpy())])
    halting = right & (first.halt_logit.numpy() > 0)
    rows = [np.flatnonzero((first.steps.numpy() == step) & halting)[:1] for step in range(1, 9)]
    tokens = pool[np.concatenate(rows)]
    assert len(tokens) >= 4, "the pool has too few different halting steps"
    expected = solve(model, torch.from_numpy(tokens), max_steps=16, halt_threshold=0.0)
    assert len(set(expected.steps.tolist())) == len(tokens)

    session = onnxruntime.InferenceSession(str(shipped_engine()))
    limits = {"max_steps": np.array(16, np.int32), "halt_threshold": np.array(0, np.float32)}
    answer, steps, _, _ = session.run(None, {"tokens": tokens, **limits})
    np.testing.assert_array_equal(answer, expected.answer.numpy())
    np.testing.assert_array_equal(steps, expected.steps.numpy())
    for row in np.flatnonzero(steps <= 8):
        alone, its_steps, _, _ = session.run(None, {"tokens": tokens[row : row + 1], **limits})
        np.testing.assert_array_equal(alone[0], answer[row])
        assert its_steps[0] == steps[row]


def test_the_examples_in_the_readme_run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    ours, alone = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(ROOT)
    exec(ours, {})
    verified, _, text = capsys.readouterr().out.split()
    assert (verified, text[:9]) == ("True", "534678912")
    exec(alone, {})
    assert capsys.readouterr().out.split()[:9] == ["[5", "3", "4", "6", "7", "8", "9", "1", "2"]


@pytest.mark.parametrize(("name", "share"), [("qqwing_simple", 0.98), ("qqwing_expert", 0.94)])
def test_published_puzzles_are_solved(published_data: Path, name: str, share: float) -> None:
    puzzle = puzzles.get("sudoku-9x9")
    found = list(puzzles.questions(str(published_data / "data" / "sudoku" / f"{name}.csv"), puzzle))[:100]
    tokens = np.stack([question.tokens for question in found if question.tokens is not None])
    runtime = runtimes.load(shipped_engine())
    schedule = Schedule(attempts=8, attempt_steps=(16,), halt_threshold=0.0)
    answers = [solve_verified(runtime, puzzle, row[None], schedule)[0] for row in tokens]
    assert np.mean([answer.verified for answer in answers]) >= share
    assert all(math.isfinite(answer.halt_logit) for answer in answers)
