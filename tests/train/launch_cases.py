"""Beginning, interrupting and resuming a run, as `trm-deploy train` does."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train.conftest import TINY
from trm_deploy import checkpoints
from trm_deploy.errors import CheckpointError, InputError, Interrupted
from trm_deploy.train.launch import RunRequest, launch
from trm_deploy.train.runlog import read_metrics
from trm_deploy.train.trainer import Trainer

PRESSED_AT = 5


@pytest.fixture(autouse=True)
def python_handles_ctrl_c() -> Iterator[None]:
    """As in a command: a process that runs tests in parallel may have left Ctrl-C to end it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def recipe_file(tmp_path: Path) -> str:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return str(path)


def press_ctrl_c(monkeypatch: pytest.MonkeyPatch, method: str, *, times: int = 1, at: int = PRESSED_AT) -> None:
    """Ctrl-C within a method of the trainer, once optimiser step `at` (from 0) has come."""
    whole = getattr(Trainer, method)

    def interrupted(trainer: Trainer) -> Any:
        if trainer.step >= at:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
        return whole(trainer)

    monkeypatch.setattr(Trainer, method, interrupted)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoints.load(folder / "ema.pt").ema


def test_ctrl_c_saves_the_step_and_resuming_goes_on_bit_for_bit(
    tmp_path: Path, recipe_file: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "trm_deploy")
    with monkeypatch.context() as patched:
        press_ctrl_c(patched, "_optimize")
        with pytest.raises(Interrupted, match="interrupted; add --resume to go on"):
            launch(RunRequest(recipe=recipe_file, output=tmp_path / "run"))
    assert f"saved a checkpoint at step {PRESSED_AT + 1} of 12" in caplog.text
    assert checkpoints.load(tmp_path / "run" / "ema.pt").training["steps"] == PRESSED_AT + 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    launch(RunRequest(output=tmp_path / "run", resume=True))  # the recipe is the folder's
    launch(RunRequest(recipe=recipe_file, output=tmp_path / "whole"))
    made, expected = weights(tmp_path / "run"), weights(tmp_path / "whole")
    assert all(torch.equal(made[name], value) for name, value in expected.items())


def test_ctrl_c_during_an_evaluation_cuts_it_off_and_saves(
    tmp_path: Path, recipe_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(recipe_file).write_text(TINY.replace("every = 200", "every = 7"))
    press_ctrl_c(monkeypatch, "evaluate")
    with pytest.raises(Interrupted, match="add --resume to go on"):
        launch(RunRequest(recipe=recipe_file, output=tmp_path / "run"))
    assert checkpoints.load(tmp_path / "run" / "ema.pt").training["steps"] == 7
    assert not any("held_out_solved" in line for line in read_metrics(tmp_path / "run" / "metrics.jsonl"))


def test_ctrl_c_twice_ends_at_once_and_keeps_the_checkpoint_before(
    tmp_path: Path, recipe_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    press_ctrl_c(monkeypatch, "_optimize", times=2)
    with pytest.raises(Interrupted, match="add --resume to go on"):
        launch(RunRequest(recipe=recipe_file, output=tmp_path / "run"))
    assert checkpoints.load(tmp_path / "run" / "ema.pt").training["steps"] == 4  # checkpoint_every


def test_ctrl_c_before_the_first_checkpoint_says_that_there_is_none(
    tmp_path: Path, recipe_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_make_model", lambda *_: signal.raise_signal(signal.SIGINT))
        with pytest.raises(Interrupted, match="there is no checkpoint yet; the same command begins anew"):
            launch(RunRequest(recipe=recipe_file, output=tmp_path / "run"))
    with monkeypatch.context() as patched:
        press_ctrl_c(patched, "_optimize", times=2, at=0)
        with pytest.raises(Interrupted, match="there is no checkpoint yet; add --force to begin anew"):
            launch(RunRequest(recipe=recipe_file, output=tmp_path / "run"))
    with pytest.raises(InputError, match=r"holds a begun run without a checkpoint to resume \(metrics.jsonl, recipe"):
        launch(RunRequest(recipe=recipe_file, output=tmp_path / "run"))
    launch(RunRequest(recipe=recipe_file, output=tmp_path / "run", force=True))
    assert checkpoints.load(tmp_path / "run" / "ema.pt").training["steps"] == 12


def test_a_run_ends_with_its_result_and_a_finished_one_writes_nothing_again(
    tmp_path: Path, recipe_file: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "trm_deploy")
    run = tmp_path / "run"
    launch(RunRequest(recipe=recipe_file, output=run))
    share = read_metrics(run / "metrics.jsonl")[-1]["held_out_solved"]
    lines = [line.getMessage() for line in caplog.records]
    assert lines[-2].startswith("trained 12 steps in 0:00:")
    assert f", {share:.1%} of the held-out puzzles solved in " in lines[-2]
    assert lines[-1] == f"wrote {run / 'ema.pt'}; type: trm-deploy export {run / 'ema.pt'}"
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    monkeypatch.delattr(Trainer, "__init__")  # neither data nor model are made for it
    for recipe in (recipe_file, None):
        caplog.clear()
        launch(RunRequest(recipe=recipe, output=run, resume=True))
        assert caplog.messages == [f"{run}: is finished already: {lines[-2].removeprefix('trained ')}"]
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_requests_that_make_no_sense(tmp_path: Path, recipe_file: str) -> None:
    with pytest.raises(InputError, match=r"no recipe is named, expected one of arc-8x8, .* or a TOML file$"):
        launch(RunRequest(output=tmp_path))
    with pytest.raises(InputError, match="or a TOML file; or resume a run: trm-deploy train --output FOLDER --resume"):
        launch(RunRequest(resume=True))
    with pytest.raises(CheckpointError, match=r"holds no run to resume \(no recipe.toml\); leave out --resume"):
        launch(RunRequest(output=tmp_path, resume=True))
    with pytest.raises(InputError, match="--force begins a run, --resume goes on with one"):
        RunRequest(recipe=recipe_file, resume=True, force=True)
    with pytest.raises(InputError, match="--from begins a run, --resume goes on with one"):
        RunRequest(recipe=recipe_file, resume=True, start=tmp_path / "ema.pt")


def test_the_command_line_of_it(tmp_path: Path, recipe_file: str) -> None:
    def trm(*arguments: object) -> tuple[int, str]:
        command = [sys.executable, "-m", "trm_deploy", "train", *map(str, arguments)]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300
        )
        return done.returncode, done.stderr

    run = tmp_path / "run"
    code, errors = trm(recipe_file, "--output", run)
    assert (code, errors.count("trained 12 steps in ")) == (0, 1), errors
    code, errors = trm(recipe_file, "--output", run)
    assert (code, "holds a run already; add --resume to go on, or add --force" in errors) == (2, True), errors
    code, errors = trm("--output", run, "--resume")
    assert (code, "is finished already: 12 steps in" in errors) == (0, True), errors
    code, errors = trm(recipe_file, "--output", tmp_path / "second", "--from", run / "ema.pt")
    assert (code, f"starting from the weights of {run / 'ema.pt'} (12 optimiser steps)" in errors) == (0, True), errors
