"""A run is neither overwritten nor mixed up with another."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.train.conftest import DATASET_RECIPE, TINY, parsed
from trm_deploy import checkpoints
from trm_deploy.errors import CheckpointError, InputError
from trm_deploy.train import run_folder
from trm_deploy.train.trainer import Trainer


def test_a_run_is_not_overwritten_and_not_mixed_up(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no run to resume"):
        Trainer(parsed(), tmp_path / "run", resume=True)
    Trainer(parsed(), tmp_path / "run").run()
    with pytest.raises(InputError, match="holds a run already; add --resume"):
        Trainer(parsed(), tmp_path / "run")
    with pytest.raises(CheckpointError, match="is a run of another recipe"):
        Trainer(parsed(TINY.replace("ema = 0.99", "ema = 0.9")), tmp_path / "run", resume=True)


@pytest.mark.parametrize("left", ["recipe.toml", "metrics.jsonl", "ema.pt"])
def test_a_begun_run_is_not_overwritten_either(tmp_path: Path, left: str) -> None:
    (tmp_path / left).write_text("of an earlier run")
    with pytest.raises(
        InputError, match=rf"holds a begun run without a checkpoint to resume \({left}\) already; .*--force"
    ):
        Trainer(parsed(), tmp_path)
    with pytest.raises(CheckpointError, match=r"no resume.pt\); type --force in place of --resume to begin anew"):
        Trainer(parsed(), tmp_path, resume=True)
    trainer = Trainer(parsed(), tmp_path, force=True)
    assert (tmp_path / left).read_text() == "of an earlier run"  # until training begins
    trainer.run()
    assert checkpoints.load(tmp_path / "ema.pt").training["steps"] == 12


def test_force_begins_anew_and_leaves_nothing_of_the_run_before(tmp_path: Path, dataset: Path) -> None:
    run = tmp_path / "run"
    Trainer(parsed(DATASET_RECIPE).with_flags(data=str(dataset), device=None), run).run()
    (run / "notes.txt").write_text("mine")
    longer = TINY.replace("steps = 12", "steps = 13")
    Trainer(parsed(longer), run, force=True).run()
    assert checkpoints.load(run / "ema.pt").training == {"steps": 13, "recipe": longer, "seed": 0}
    assert not (run / "identifiers.json").exists()
    assert (run / "notes.txt").read_text() == "mine"
    assert len(list((run / "tensorboard").iterdir())) == 1


def test_a_run_in_the_dataset_s_folder_keeps_the_dataset(dataset: Path) -> None:
    names = (dataset / "identifiers.json").read_bytes()
    asked = parsed(DATASET_RECIPE).with_flags(data=str(dataset), device=None)
    for force in (False, True):
        Trainer(asked, dataset, force=force).run()
        assert (dataset / "identifiers.json").read_bytes() == names


def test_what_a_run_starts_from_is_not_removed(tmp_path: Path) -> None:
    Trainer(parsed(), tmp_path).run()
    with pytest.raises(InputError, match="is in the folder that --force empties, and would be lost"):
        Trainer(parsed(), tmp_path, force=True, start=tmp_path / "ema.pt")


def test_a_run_is_finished_when_its_checkpoint_is_of_the_last_step(tmp_path: Path) -> None:
    assert not run_folder.is_finished(tmp_path, parsed())
    trainer = Trainer(parsed(), tmp_path)
    trainer.step = 11
    trainer.save()
    assert not run_folder.is_finished(tmp_path, parsed())
    trainer.step = 12
    trainer.save()
    assert run_folder.is_finished(tmp_path, parsed())
    assert not run_folder.is_finished(tmp_path, parsed(TINY.replace("ema = 0.99", "ema = 0.9")))
    (tmp_path / "ema.pt").write_bytes(b"damaged")
    assert not run_folder.is_finished(tmp_path, parsed())
