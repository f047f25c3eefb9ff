"""Training learns, repeats itself, and survives being killed at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.train.conftest import DATASET_RECIPE, SMALL, TINY, parsed
from trm_deploy import checkpoints
from trm_deploy.checkpoints import archive
from trm_deploy.errors import RecipeError
from trm_deploy.train.runlog import read_metrics
from trm_deploy.train.trainer import Trainer


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoints.load(folder / "ema.pt").ema


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_the_small_recipe_learns_to_solve_unseen_puzzles(tmp_path: Path) -> None:
    Trainer(parsed(SMALL), tmp_path / "run").run()
    last = [line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if "held_out_solved" in line][-1]
    assert last["held_out_solved"] >= 0.9
    assert last["held_out_mean_steps"] < 6


def test_a_run_leaves_its_files_and_repeats_itself(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Trainer(parsed(), tmp_path / name).run()
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    Trainer(parsed(TINY.replace("rotation = 2", "rotation = 2\nseed = 7")), tmp_path / "c").run()
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        "ema.pt", "resume.pt", "metrics.jsonl", "curves.png", "recipe.toml", "tensorboard",
    }  # fmt: skip
    loaded = checkpoints.load(tmp_path / "a" / "ema.pt")
    assert loaded.training == {"steps": 12, "recipe": TINY, "seed": 0}
    assert loaded.spec == parsed().spec
    assert (tmp_path / "a" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_resuming_continues_bit_for_bit(tmp_path: Path) -> None:
    Trainer(parsed(), tmp_path / "whole").run()
    first = Trainer(parsed(), tmp_path / "parts")
    for _ in range(8):
        first._optimize()
        first.step += 1
    first.cpu_seconds = 1000.0
    first.save()
    Trainer(parsed(), tmp_path / "parts", resume=True).run()
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    # What the process has computed is counted over both parts.
    spent = [line["cpu_seconds"] for line in read_metrics(tmp_path / "parts" / "metrics.jsonl")]
    assert spent == sorted(spent)
    assert 1000 < spent[0] <= spent[-1] < 1100


def test_a_run_on_a_dataset_resumes_bit_for_bit_and_trains_its_puzzle_embeddings(tmp_path: Path, dataset: Path) -> None:
    asked = parsed(DATASET_RECIPE).with_flags(data=str(dataset), device=None)
    Trainer(asked, tmp_path / "whole").run()
    first = Trainer(asked, tmp_path / "parts")
    for _ in range(5):
        first._optimize()
        first.step += 1
    first.save()
    Trainer(asked, tmp_path / "parts", resume=True).run()
    made = weights(tmp_path / "whole")
    assert same(made, weights(tmp_path / "parts"))
    loaded = checkpoints.load(tmp_path / "whole" / "ema.pt")
    assert loaded.spec.task.puzzle_identifiers == 21
    assert loaded.model().puzzles.shape == (21, 24)
    assert (made["puzzles"][0] == 0).all()  # the blank puzzle occurs nowhere
    assert (made["puzzles"] != 0).any(-1).sum() > 10
    assert (tmp_path / "whole" / "identifiers.json").read_bytes() == (dataset / "identifiers.json").read_bytes()


def test_the_log_reaches_tensorboard_without_what_was_trained_again(tmp_path: Path, dataset: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    asked = parsed(DATASET_RECIPE).with_flags(data=str(dataset), device=None)
    Trainer(asked, tmp_path / "run").run()
    # As if the run had been killed after its checkpoint at step 8, with four lines more in its logs.
    time.sleep(1.1)  # TensorBoard tells which file is the later one by the second in their names
    resumed = Trainer(asked, tmp_path / "run", resume=True)
    resumed.step = 8
    resumed.run()
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    lines = [line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if "answer_loss" in line]
    logged = [(event.step, event.value) for event in events.Scalars("training/answer_loss")]
    assert [step for step, _ in logged] == [line["step"] for line in lines] == list(range(1, 13))
    assert [value for _, value in logged] == pytest.approx([line["answer_loss"] for line in lines], abs=1e-5)
    assert [event.step for event in events.Scalars("evaluation/held_out_solved")] == [12]


def test_a_killed_run_resumes_from_its_last_complete_checkpoint(tmp_path: Path) -> None:
    """SIGKILL at several moments, among them while files are being written."""
    folder = tmp_path / "run"
    text = TINY.replace("steps = 12", "steps = 60").replace("checkpoint_every = 4", "checkpoint_every = 1")
    (tmp_path / "r.toml").write_text(text)
    command = [sys.executable, "-m", "trm_deploy", "train", str(tmp_path / "r.toml"), "-o"]
    # The order of float sums depends on the number of threads, so every run gets one.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    kills = 0
    for attempt in range(12):
        resume = ["--resume"] if (folder / "resume.pt").exists() else []
        process = subprocess.Popen([*command, str(folder), *resume], env=environment)
        before = _saved_step(folder)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline and _saved_step(folder) < before + 3:
            time.sleep(0.002)
        if process.poll() is None and attempt < 3:
            # A little later each time, so as to hit different moments between two checkpoints.
            time.sleep(0.003 * attempt)
            process.send_signal(signal.SIGKILL)
            kills += 1
            process.wait()
            archive.read_pickle(folder / "resume.pt")
            continue
        assert process.wait(120) == 0
        break
    assert kills == 3
    steps = [line["step"] for line in read_metrics(folder / "metrics.jsonl") if "answer_loss" in line]
    assert steps == list(range(4, 61, 4))
    assert checkpoints.load(folder / "ema.pt").training["steps"] == 60
    subprocess.run([*command, str(tmp_path / "whole")], env=environment, check=True)
    assert same(weights(folder), weights(tmp_path / "whole"))


def _saved_step(folder: Path) -> int:
    path = folder / "resume.pt"
    return torch.load(path, weights_only=True)["step"] if path.exists() else 0


def test_a_diverging_run_stops_and_says_why(tmp_path: Path) -> None:
    wild = TINY.replace("learning_rate = 2e-3", "learning_rate = 1e30\nclip_norm = 0.0")
    with pytest.raises(RecipeError, match=r"the loss is (nan|inf) at step \d+.*lower optimizer.learning_rate"):
        Trainer(parsed(wild), tmp_path / "run").run()


def test_samples_leave_when_they_halt_or_have_done_all_steps(tmp_path: Path) -> None:
    trainer = Trainer(parsed(TINY.replace("[training]", "[training]\nexploration = 0.0")), tmp_path / "run")
    steps = torch.tensor([1, 8, 1, 3])
    logits = torch.tensor([-1.0, -1.0, 1.0, 0.0])
    assert trainer._halts(steps, logits).tolist() == [False, True, True, False]
    always = Trainer(parsed(TINY.replace("[training]", "[training]\nexploration = 1.0")), tmp_path / "other")
    # With exploration nothing halts before its second step, and nothing passes the last.
    assert not always._halts(torch.ones(100, dtype=torch.int64), torch.ones(100)).any()
    assert always._halts(torch.full((100,), 8), -torch.ones(100)).all()
    held = always._halts(torch.full((1000,), 4), torch.ones(1000)).float().mean()
    assert 0.3 < held < 0.6  # the least step is drawn evenly from 2 to 8: three of seven let step 4 halt


def test_only_the_last_latent_recursion_carries_gradient(tmp_path: Path) -> None:
    trainer = Trainer(parsed(), tmp_path / "run")
    recursion = trainer.model.latent_recursion
    calls: list[bool] = []

    def noting(x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        calls.append(torch.is_grad_enabled())
        return recursion(x, y, z)

    trainer.model.latent_recursion = noting  # type: ignore[method-assign]
    trainer._optimize()
    assert calls == [False, True]


def test_the_curriculum_deepens_the_recursion(tmp_path: Path) -> None:
    stages = "[training]\ncurriculum = [{ until = 0.25, deep = 1 }, { until = 0.5, deep = 3 }]"
    trainer = Trainer(parsed(TINY.replace("[training]", stages)), tmp_path / "run")
    recursion = trainer.model.latent_recursion
    calls: list[int] = []

    def noting(x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        calls[-1] += 1
        return recursion(x, y, z)

    trainer.model.latent_recursion = noting  # type: ignore[method-assign]
    for trainer.step in range(12):
        calls.append(0)
        trainer._optimize()
    assert calls == [1] * 3 + [3] * 3 + [2] * 6
