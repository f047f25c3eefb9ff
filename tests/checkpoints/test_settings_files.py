"""The files beside a published checkpoint: which are read, what contradicts, and settings of forks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints.test_published import assert_same, model_of, published_weights, settings_of, write
from trm_deploy import checkpoints
from trm_deploy.errors import CheckpointError, InputError
from trm_deploy.inspection.artefact import inspect
from trm_deploy.models.recursive import RecursiveReasoner


@pytest.fixture(scope="module")
def model() -> RecursiveReasoner:
    return model_of({"puzzle_embedding_size": 32})


def bare(folder: Path, model: RecursiveReasoner) -> Path:
    """A checkpoint with its dataset.json alone."""
    return write(folder, published_weights(model), None, settings_of(model)[1])


def as_yaml(arch: dict[str, Any]) -> str:
    return "lr: 1e-4\narch:\n" + "".join(f"  {key}: {json.dumps(value)}\n" for key, value in arch.items())


@pytest.mark.parametrize("name", ["all_config.yaml", "config.yaml", ".hydra/config.yaml", "config.json"])
def test_any_configuration_with_an_arch_is_read(name: str, model: RecursiveReasoner, tmp_path: Path) -> None:
    path, (arch, _) = bare(tmp_path, model), settings_of(model)
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"model": {"arch": arch}}) if name.endswith("json") else as_yaml(arch))
    loaded = checkpoints.load(path)
    assert_same(loaded, model)
    assert f"arch.L_cycles = 3 ({name})" in loaded.settings


def test_a_configuration_without_an_arch_is_passed_over(model: RecursiveReasoner, tmp_path: Path) -> None:
    path = write(tmp_path, published_weights(model), *settings_of(model))
    (tmp_path / "config.json").write_text('{"model_type": "trm", "arch": "trm"}')
    (tmp_path / "config.yaml").write_text("defaults: [{arch: trm}]\n")
    assert_same(checkpoints.load(path), model)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config.json: cannot be read as JSON"):
        checkpoints.load(path)


def test_references_between_settings_are_followed(model: RecursiveReasoner, tmp_path: Path) -> None:
    path, (arch, _) = bare(tmp_path, model), settings_of(model)
    for reference in ("${.hidden_size}", "${arch.hidden_size}", "${..arch.hidden_size}"):
        (tmp_path / "config.yaml").write_text(as_yaml({**arch, "puzzle_emb_ndim": reference}))
        assert_same(checkpoints.load(path), model)
    (tmp_path / "config.yaml").write_text(as_yaml({**arch, "L_cycles": "${oc.env:CYCLES}"}))
    with pytest.raises(CheckpointError, match=r"arch.L_cycles is '\$\{oc.env:CYCLES\}', expected a whole number"):
        checkpoints.load(path)


def test_files_that_contradict_each_other_are_refused(model: RecursiveReasoner, tmp_path: Path) -> None:
    arch, dataset = settings_of(model)
    path = write(tmp_path, published_weights(model), arch, dataset)
    (tmp_path / "config.json").write_text(json.dumps({"arch": {**arch, "L_cycles": 6}}))
    with pytest.raises(CheckpointError, match=r"config.json beside it says arch.L_cycles = 6, all_config.yaml says 3"):
        checkpoints.load(path)
    assert checkpoints.load(path, ["arch.L_cycles=3"]).spec.recursion.latent == 3


def test_the_settings_of_a_model_are_those_of_its_dataset_too(model: RecursiveReasoner, tmp_path: Path) -> None:
    arch, dataset = settings_of(model)
    whole = {**arch, **{key: dataset[key] for key in ("seq_len", "vocab_size", "num_puzzle_identifiers")}}
    path = write(tmp_path, published_weights(model), {**whole, "batch_size": 8, "causal": False}, None)
    assert_same(checkpoints.load(path), model)
    with pytest.raises(CheckpointError, match=r"arch.causal = True"):
        checkpoints.load(write(tmp_path, published_weights(model), {**whole, "causal": True}, None))


def test_unknown_settings_of_forks_are_refused_by_name_unless_ignored(model: RecursiveReasoner, tmp_path: Path) -> None:
    arch, dataset = settings_of(model)
    fork = {"lambda_": 0.95, "noise_scale": 0.01, "lora": {"rank": 16}}
    path = write(tmp_path, published_weights(model), {**arch, **fork}, dataset)
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load(path)
    message = str(caught.value)
    assert "all_config.yaml has arch.lambda_ = 0.95, arch.noise_scale = 0.01, arch.lora = {'rank': 16}" in message
    flags = [f"arch.{key}=ignore" for key in fork]
    assert " ".join(f"--set {flag}" for flag in flags) in message
    with pytest.raises(CheckpointError, match=r"all_config.yaml has arch.lora"):
        checkpoints.load(path, flags[:2])
    loaded = checkpoints.load(path, flags)
    assert_same(loaded, model)
    assert loaded.contradictions[0] == "arch.lambda_=ignore, where all_config.yaml says 0.95"
    assert "arch.lambda_ = 0.95 (all_config.yaml; ignored, by --set)" in inspect(path, flags)["settings"]
    with pytest.raises(InputError, match=r"--set arch.other=ignore: nothing beside .* says 'arch.other'"):
        checkpoints.load(path, [*flags, "arch.other=ignore"])
    with pytest.raises(InputError, match="'lambda_' is unknown"):
        checkpoints.load(path, ["lambda_=ignore"])
    with pytest.raises(CheckpointError, match=r"arch.H_cycles is 'ignore', expected a whole number"):
        checkpoints.load(path, [*flags, "arch.H_cycles=ignore"])


def test_only_flags_that_say_otherwise_are_contradictions(model: RecursiveReasoner, tmp_path: Path) -> None:
    path = write(tmp_path, published_weights(model), *settings_of(model))
    loaded = checkpoints.load(path, ["arch.L_cycles=9", "arch.H_cycles=2", "task=sudoku-4x4"])
    assert loaded.contradictions == ("arch.L_cycles=9, where all_config.yaml says 3",)


def test_a_pointer_in_place_of_a_settings_file_is_called_one(model: RecursiveReasoner, tmp_path: Path) -> None:
    path = write(tmp_path, published_weights(model), *settings_of(model))
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 412\n"
    for name in ("dataset.json", "all_config.yaml"):
        before = (tmp_path / name).read_text()
        (tmp_path / name).write_text(pointer)
        with pytest.raises(CheckpointError, match=rf"{name}: is a git-lfs pointer to a file of 412 .*git lfs pull"):
            checkpoints.load(path)
        (tmp_path / name).write_text(before)
