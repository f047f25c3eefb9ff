"""Weights inside what a training left: one state dict, several, averages of parameters, buffers that no model needs."""

from __future__ import annotations

import argparse
import collections
import datetime
import functools
import json
import logging
import random
from fractions import Fraction
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.checkpoints.test_published import assert_same, model_of, published_weights, settings_of, write
from trm_deploy import checkpoints
from trm_deploy.artefacts import kind
from trm_deploy.checkpoints.archive import read_pickle
from trm_deploy.errors import CheckpointError, InputError
from trm_deploy.models.recursive import RecursiveReasoner

BUFFERS = ("H_init", "L_init", "puzzle_emb.weights")


@pytest.fixture(scope="module")
def model() -> RecursiveReasoner:
    return model_of({})


def saved(folder: Path, model: RecursiveReasoner, document: dict[str, Any]) -> Path:
    """The document in a file, with the model's settings beside it."""
    path = write(folder, {}, *settings_of(model))
    torch.save(document, path)
    return path


def moved(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor + 1 for name, tensor in weights.items()}


OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}


@pytest.mark.parametrize("key", ["model_state_dict", "state_dict", "model", "ema", "module", "anything"])
def test_the_only_state_dict_in_a_file_is_taken(key: str, model: RecursiveReasoner, tmp_path: Path) -> None:
    path = saved(tmp_path, model, {key: published_weights(model), "optimizer": OPTIMIZER, "epoch": 3, "loss": 0.1})
    loaded = checkpoints.load(path)
    assert_same(loaded, model)
    assert f"weights = {key} (step_7)" in loaded.settings


def test_a_file_of_lightning(model: RecursiveReasoner, tmp_path: Path) -> None:
    arch, dataset = settings_of(model)
    document = {
        "epoch": 1,
        "global_step": 20,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": published_weights(model, "model.model.inner."),
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5), "dirpath": "x"}},
        "optimizer_states": [OPTIMIZER],
        "lr_schedulers": [],
        "hyper_parameters": {"lr": 0.1, "cfg": {}, "config": {"x": 1}, "arch": arch},
    }
    path = tmp_path / "epoch=1-step=20.ckpt"
    torch.save(document, path)
    loaded = checkpoints.load(path, [f"seq_len={dataset['seq_len']}"])
    assert_same(loaded, model)
    assert "arch.L_cycles = 3 (epoch=1-step=20.ckpt)" in loaded.settings


def test_of_several_the_averaged_one_is_taken_and_said(
    model: RecursiveReasoner, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = published_weights(model)
    path = saved(tmp_path, model, {"model": moved(weights), "ema": {"shadow": weights, "decay": 0.999}})
    with caplog.at_level(logging.WARNING, "trm_deploy"):
        loaded = checkpoints.load(path)
    assert_same(loaded, model)
    (message,) = caplog.messages
    assert "takes the averaged weights 'ema.shadow', not 'model' (--set weights=model takes those)" in message
    other = checkpoints.load(path, ["weights=model"])
    assert torch.equal(other.ema["y_init"], loaded.ema["y_init"] + 1)
    with pytest.raises(InputError, match=r"--set weights=raw: .* has no such weights, expected model, ema"):
        checkpoints.load(path, ["weights=raw"])


def test_an_average_of_parameters_gets_the_buffers_of_its_model(model: RecursiveReasoner, tmp_path: Path) -> None:
    weights = published_weights(model)
    buffers = {name for name in weights if name.endswith(BUFFERS)}
    assert len(buffers) == 3
    raw = {name: tensor if name in buffers else tensor + 1 for name, tensor in weights.items()}
    averaged = {name: tensor for name, tensor in weights.items() if name not in buffers}
    loaded = checkpoints.load(saved(tmp_path, model, {"model": raw, "model_ema": averaged}))
    assert_same(loaded, model)
    taken = "model_ema, with H_init, L_init, puzzle_emb.weights of model"
    assert any(taken in setting for setting in loaded.settings)


def test_two_models_in_one_state_dict(model: RecursiveReasoner, tmp_path: Path) -> None:
    weights = published_weights(model, "")
    both = {f"online_model.inner.{name}": tensor + 1 for name, tensor in weights.items()}
    both |= {f"ema_model.inner.{name}": tensor for name, tensor in weights.items()}
    both |= {"initted": torch.tensor(True), "step": torch.tensor(7)}
    loaded = checkpoints.load(saved(tmp_path, model, both))
    assert_same(loaded, model)
    both["ema_model.inner.adapter.weight"] = torch.ones(2)
    with pytest.raises(CheckpointError, match=r"the weight ema_model.inner.adapter.weight \[2\] belongs to neither"):
        checkpoints.load(saved(tmp_path, model, both))


def test_several_without_an_average_are_named(model: RecursiveReasoner, tmp_path: Path) -> None:
    weights = published_weights(model)
    path = saved(tmp_path, model, {"best": weights, "last": moved(weights)})
    with pytest.raises(CheckpointError, match=r"2 state dicts: 'best', 'last'.*; add --set weights=best, or another"):
        checkpoints.load(path)
    assert_same(checkpoints.load(path, ["weights=best"]), model)
    path = saved(tmp_path, model, {"ema_0.99": weights, "ema_0.999": weights})
    with pytest.raises(CheckpointError, match="holds 2 state dicts"):
        checkpoints.load(path)
    path = saved(tmp_path, model, {**weights, "previous": moved(weights)})
    assert_same(checkpoints.load(path, ["weights=top-level"]), model)


def rotary(model: RecursiveReasoner, theta: float = 10000.0) -> dict[str, Tensor]:
    architecture = model.spec.architecture
    size = architecture.hidden_size // architecture.heads
    inverse = 1 / theta ** (torch.arange(0, size, 2).float() / size)
    angles = torch.outer(torch.arange(model.spec.positions).float(), inverse).repeat(1, 2)
    return {
        "rotary_emb.cos_cached": angles.cos(),
        "rotary_emb.sin_cached": angles.sin().bfloat16(),
        "rotary_emb.inv_freq": inverse,
    }


def test_buffers_that_hold_nothing_new_are_passed_over_by_name(model: RecursiveReasoner, tmp_path: Path) -> None:
    inner = "_orig_mod.model.inner."
    extra = {f"{inner}{name}": tensor for name, tensor in rotary(model).items()}
    extra |= {"n_averaged": torch.tensor(5), "global_step": torch.tensor([3])}
    extra |= {
        f"{inner}puzzle_emb.local_weights": torch.ones(4, 40),
        f"{inner}puzzle_emb.local_ids": torch.ones(4).int(),
    }
    loaded = checkpoints.load(saved(tmp_path, model, {**published_weights(model), **extra}))
    assert_same(loaded, model)
    (note,) = (setting for setting in loaded.settings if setting.startswith("passed over"))
    assert all(name in note for name in extra)
    long = {**published_weights(model), "steps": torch.ones(2)}
    with pytest.raises(CheckpointError, match=r"the weight steps \[2\] belongs to neither"):
        checkpoints.load(saved(tmp_path, model, long))


@pytest.mark.parametrize("name", ["cos_cached", "sin_cached", "inv_freq"])
def test_a_rotary_table_that_says_otherwise_is_refused(name: str, model: RecursiveReasoner, tmp_path: Path) -> None:
    table = {f"model.inner.rotary_emb.{name}": rotary(model, 500.0)[f"rotary_emb.{name}"]}
    path = saved(tmp_path, model, {**published_weights(model), **table})
    with pytest.raises(CheckpointError, match=rf"{name} .* is another rotary table than rope_theta = 10000 makes"):
        checkpoints.load(path)
    assert checkpoints.load(path, ["arch.rope_theta=500"]).spec.architecture.rope_theta == 500


def test_in_a_folder_what_is_no_model_is_passed_over(model: RecursiveReasoner, tmp_path: Path) -> None:
    write(tmp_path, published_weights(model), *settings_of(model)).rename(tmp_path / "checkpoint")
    predictions = {"inputs": torch.ones(2, 16), "preds": torch.ones(2, 16)}
    torch.save(predictions, tmp_path / "step_0_all_preds.0")
    torch.save(predictions, tmp_path / "checkpoint_all_preds.12")
    assert checkpoints.locate(tmp_path) == tmp_path / "checkpoint"
    torch.save(predictions, tmp_path / "answers.pt")
    torch.save(OPTIMIZER, tmp_path / "optimizer.pt")
    assert_same(checkpoints.load(tmp_path), model)


def test_plain_values_of_other_libraries_beside_the_weights(model: RecursiveReasoner, tmp_path: Path) -> None:
    """numpy's numbers and arrays, argparse's namespaces, paths and dates; nothing of those libraries is run."""
    arch, _ = settings_of(model)
    numbers: dict[str, Any] = {
        key: np.int64(value) if type(value) is int else np.float64(value) if type(value) is float else value
        for key, value in arch.items()
    }
    document = {
        "model": published_weights(model),
        "args": argparse.Namespace(lr=0.1, name="x", arch=numbers),
        "loss": np.float32(0.25),
        "done": np.bool_(True),
        "big": np.array([2], ">i4")[0],
        "history": np.arange(6.0).reshape(2, 3),
        "rng": {"numpy": np.random.get_state(), "python": random.getstate()},
        "where": Path("x"),
        "when": datetime.datetime.now(datetime.timezone.utc),
        "per task": collections.defaultdict(list, {"a": [1]}),
    }
    path = saved(tmp_path, model, document)
    for name in ("all_config.yaml", "config.json"):
        (tmp_path / name).unlink(missing_ok=True)
    read = read_pickle(path)
    assert (read["loss"], read["done"], read["big"], read["args"]["lr"]) == (0.25, True, 2, 0.1)
    assert type(read["loss"]) is float
    assert type(read["per task"]) is dict
    assert_same(checkpoints.load(path), model)


@pytest.mark.parametrize("value", [functools.partial(print), Fraction(1, 2), slice])
def test_code_beside_the_weights_is_refused_and_not_run(
    value: object, model: RecursiveReasoner, tmp_path: Path
) -> None:
    path = saved(tmp_path, model, {"model": published_weights(model), "args": value})
    with pytest.raises(CheckpointError, match=r"refused: the pickle asks for code or types"):
        checkpoints.load(path)
    with pytest.raises(UnpicklingError):
        torch.load(path, weights_only=True)  # what is allowed here is allowed nowhere else


def in_pieces(folder: Path, weights: dict[str, Tensor], end: str, save: Any) -> Path:
    """A checkpoint in two files, with their index."""
    names = sorted(weights)
    held = {f"m-0000{n}-of-00002.{end}": names[n - 1 :: 2] for n in (1, 2)}
    for file, part in held.items():
        save({name: weights[name].contiguous() for name in part}, folder / file)
    index = {"metadata": {"total_size": 9}, "weight_map": {name: file for file in held for name in held[file]}}
    path = folder / f"m.{end}.index.json"
    path.write_text(json.dumps(index))
    return path


@pytest.mark.parametrize(("end", "save"), [("safetensors", save_file), ("bin", torch.save)])
def test_a_checkpoint_in_several_files_is_joined(end: str, save: Any, model: RecursiveReasoner, tmp_path: Path) -> None:
    saved(tmp_path, model, {}).unlink()
    index = in_pieces(tmp_path, published_weights(model), end, save)
    first = checkpoints.load(index)
    assert_same(first, model)
    assert_same(checkpoints.load(tmp_path), model)
    assert kind.of(tmp_path) is kind.of(index) is kind.Kind.checkpoint
    piece = tmp_path / f"m-00002-of-00002.{end}"
    with pytest.raises(CheckpointError, match="is one of 2 files of a checkpoint") as caught:
        checkpoints.load(piece)
    assert str(index) in str(caught.value.hint)
    save({"lm_head.weight": torch.zeros(3)}, piece)
    with pytest.raises(CheckpointError, match=r"m-00002-of-00002.*has no .*, which its index .* says it has"):
        checkpoints.load(index)
    in_pieces(tmp_path, moved(published_weights(model)), end, save)
    assert checkpoints.load(index).sha256 != first.sha256, "the same index, other pieces"
    piece.unlink()
    with pytest.raises(CheckpointError, match=r"m-00002-of-00002.*there is no such file"):
        checkpoints.load(tmp_path)


@pytest.mark.parametrize("piece", ["../m-00001-of-00002.bin", "/etc/passwd", "", 3])
def test_an_index_names_files_beside_it_alone(piece: object, tmp_path: Path) -> None:
    path = tmp_path / "m.bin.index.json"
    path.write_text(json.dumps({"weight_map": {"a": piece}}))
    with pytest.raises(CheckpointError, match=r"names a file that is not beside it|is the index of a checkpoint"):
        checkpoints.load(path)


def test_a_truncated_checkpoint_in_a_folder_is_named(model: RecursiveReasoner, tmp_path: Path) -> None:
    path = saved(tmp_path, model, published_weights(model))
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(CheckpointError, match=r"step_7: is not a checkpoint, or is truncated"):
        checkpoints.load(tmp_path)
