"""Checkpoints in safetensors, ours and published ones."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.checkpoints.test_published import assert_same, model_of, published_weights, settings_of, write
from trm_deploy import api, checkpoints
from trm_deploy.artefacts import kind
from trm_deploy.artefacts.kind import Kind
from trm_deploy.checkpoints import rewriting
from trm_deploy.errors import CheckpointError, InputError
from trm_deploy.evaluation.parity.files import compare_files


@pytest.fixture
def ours(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return api.export_model(tiny_checkpoint, tmp_path / "tiny.safetensors", format="safetensors")


def test_a_published_one_is_read_with_the_files_beside_it(tmp_path: Path) -> None:
    model = model_of({})
    write(tmp_path, {}, *settings_of(model)).unlink()
    save_file(published_weights(model), tmp_path / "model.safetensors", {"format": "pt"})
    assert kind.of(tmp_path / "model.safetensors") is Kind.checkpoint
    assert_same(checkpoints.load(tmp_path / "model.safetensors"), model)
    assert_same(checkpoints.load(tmp_path), model)


def test_ours_is_the_same_model_as_its_source(tiny_checkpoint: Path, ours: Path) -> None:
    before, after = checkpoints.load(tiny_checkpoint), checkpoints.load(ours)
    assert (after.spec, after.training) == (before.spec, before.training)
    assert after.ema.keys() == before.ema.keys()
    assert all(torch.equal(tensor, after.ema[name]) for name, tensor in before.ema.items())
    assert set(load_file(ours)) == set(before.ema)
    assert compare_files(tiny_checkpoint, [ours], limit=2, controls=1).passed
    with pytest.raises(InputError, match="--set seq_len=81 applies to a checkpoint of the published code"):
        checkpoints.load(ours, ["seq_len=81"])


def test_a_published_one_becomes_one_that_needs_no_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = model_of({})
    path = write(tmp_path, published_weights(model), *settings_of(model))
    (tmp_path / "identifiers.json").write_text('["<blank>", "a", "b"]')
    output = tmp_path / "other" / "whole.safetensors"
    api.export_model(path, output, format="safetensors", overrides=["arch.L_cycles=9"])
    (said,) = (message for message in caplog.messages if "arch.L_cycles" in message)
    assert "--set arch.L_cycles=9, where all_config.yaml says 3" in said
    loaded = checkpoints.load(output)
    assert loaded.spec == replace(model.spec, recursion=replace(model.spec.recursion, latent=9))
    assert loaded.training["checkpoint_sha256"] == checkpoints.load(path).sha256
    # What contradicted the files goes on, and so do the names.
    assert loaded.contradictions == ("arch.L_cycles=9, where all_config.yaml says 3",)
    assert json.loads(output.with_name("whole.safetensors.identifiers.json").read_text()) == ["<blank>", "a", "b"]


def test_what_was_changed_or_cut_is_refused(ours: Path) -> None:
    whole = ours.read_bytes()
    for changed, message in (
        (whole[:-1] + bytes([whole[-1] ^ 1]), "is altered: its SHA-256 is not the one that was written with it"),
        (whole.replace(b"sudoku-4x4", b"sudoku-6x6"), "is altered"),
        (whole[:-100], "is a damaged or truncated safetensors file"),
        (whole[:500], "is a damaged or truncated safetensors file"),
        (whole + b"x", "is a damaged or truncated safetensors file"),
        (whole.replace(b"trm_deploy.sha256", b"trm_deploy.sha257"), "is altered"),
    ):
        ours.write_bytes(changed)
        with pytest.raises(CheckpointError, match=message):
            checkpoints.load(ours)


def test_a_header_that_claims_more_than_the_file_has(tmp_path: Path) -> None:
    claims = {"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}
    header = json.dumps(claims).encode()
    (tmp_path / "c.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(64))
    with pytest.raises(CheckpointError, match="is a damaged or truncated safetensors file"):
        checkpoints.load(tmp_path / "c.safetensors")


def test_a_spec_is_rewritten_in_the_same_format(ours: Path) -> None:
    before = checkpoints.load(ours)
    rewriting.rewrite_spec(ours, lambda spec: replace(spec, halting=replace(spec.halting, threshold=0.5)))
    assert kind.is_safetensors(ours)
    after = checkpoints.load(ours)
    assert after.spec.halting.threshold == 0.5
    assert after.spec.model_json() == before.spec.model_json()


def test_what_does_not_apply_or_would_be_lost_is_refused(tiny_checkpoint: Path, ours: Path) -> None:
    with pytest.raises(InputError, match="--graph applies to --format onnx or trt or rtx, not to --format safetensors"):
        api.export_model(tiny_checkpoint, ours, format="safetensors", graph="loop")
    with pytest.raises(InputError, match="--precision applies to"):
        api.export_model(tiny_checkpoint, ours, format="safetensors", precision="fp16")
    # Its own kind is replaced, another checkpoint is not.
    api.export_model(tiny_checkpoint, ours, format="safetensors")
    published = ours.with_name("published.safetensors")
    save_file(published_weights(model_of({})), published)
    for other in (published, ours.with_name("other.pt")):
        if other.suffix == ".pt":
            other.write_bytes(tiny_checkpoint.read_bytes())
        with pytest.raises(InputError, match="exists already and is not a checkpoint in safetensors that export made"):
            api.export_model(tiny_checkpoint, other, format="safetensors")
