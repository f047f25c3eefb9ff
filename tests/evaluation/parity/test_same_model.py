"""A difference of settings is called one, with both values and what the export was told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.checkpoints.test_published import model_of, published_weights, settings_of, write
from tests.conftest import ASSETS
from trm_deploy import api, checkpoints
from trm_deploy.artefacts import record
from trm_deploy.artefacts.record import BuildRecord
from trm_deploy.checkpoints import Checkpoint
from trm_deploy.errors import ArtefactError
from trm_deploy.evaluation.parity.files import compare_files
from trm_deploy.evaluation.parity.same_model import require_same_model

CYCLES = ["arch.L_cycles=1", "arch.H_cycles=1", "arch.halt_max_steps=2"]


def refusal(path: Path, spec_of: Checkpoint, loaded: Checkpoint) -> str:
    with pytest.raises(ArtefactError) as caught:
        require_same_model(path, spec_of.spec, loaded)
    return str(caught.value)


def test_settings_and_models_are_told_apart(tmp_path: Path) -> None:
    path = write(tmp_path, published_weights(model_of({})), *settings_of(model_of({})))
    as_run, other = checkpoints.load(path), checkpoints.load(path, ["arch.L_cycles=9", "task=sudoku-4x4"])
    require_same_model(path, as_run.spec, checkpoints.load(path, ["arch.L_cycles=3"]))
    message = refusal(path, other, as_run)
    assert f"{path}: has other settings than the checkpoint: task.name (task) is 'sudoku-4x4'" in message
    assert "recursion.latent (arch.L_cycles) is 9, the checkpoint's 3" in message
    assert message.endswith("give both the same --set flags, or export again")
    wide = replace(as_run.spec.architecture, puzzle_embedding_size=16)
    wider = Checkpoint(replace(as_run.spec, architecture=wide), {})
    message = refusal(path, wider, as_run)
    assert "is of another model than the checkpoint: architecture.puzzle_embedding_size is 16, the" in message


def test_overrides_are_in_the_record_and_parity_names_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = model_of({"mixer": "mlp", "positions": "none", "heads": 1})
    path = write(tmp_path, published_weights(model), *settings_of(model))
    exported = api.export_model(path, tmp_path / "m.onnx", overrides=CYCLES)
    (said,) = (message for message in caplog.messages if "is exported with other settings" in message)
    assert "--set arch.L_cycles=1, where all_config.yaml says 3; --set arch.H_cycles=1, where" in said
    built = record.read(exported)
    assert built is not None
    assert built.overrides == tuple(CYCLES)
    assert built.contradictions == checkpoints.load(path, CYCLES).contradictions
    with pytest.raises(ArtefactError) as caught:
        compare_files(path, [exported])
    flags = " ".join(f"--set {flag}" for flag in CYCLES)
    assert "has other settings than the checkpoint: recursion.latent (arch.L_cycles) is 1, the" in str(caught.value)
    assert f"(exported with {flags})" in str(caught.value)
    assert f"give parity {flags}" in str(caught.value)
    assert compare_files(path, [exported], overrides=CYCLES, controls=1).passed


def test_a_record_without_overrides_reads_as_one_of_none() -> None:
    built = record.read(ASSETS / "sudoku.onnx")
    assert isinstance(built, BuildRecord)
    assert (built.overrides, built.contradictions) == ((), ())
