"""Whatever is in a checkpoint or its settings, it is read or refused; what was damaged and is read has its weights."""

from __future__ import annotations

import functools
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from safetensors.torch import save as serialized

from tests.conftest import random_model, tiny_spec
from tests.hostile.parsers.properties import (
    VALUES,
    as_json,
    attempted,
    changed,
    parser,
    spoiled,
)
from trm_deploy import checkpoints
from trm_deploy.checkpoints import Checkpoint
from trm_deploy.checkpoints.published import from_document, published_name
from trm_deploy.models.presets import preset
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.puzzles.sudoku import Sudoku
from trm_deploy.spec import ModelSpec, TaskSpec


@functools.cache
def published_state() -> dict[str, torch.Tensor]:
    model = random_model(preset("trm-mlp", TINY_TASK, architecture=TINY))
    return {published_name(name): value for name, value in model.state_dict().items()}


TINY_TASK = TaskSpec(name="sudoku-4x4", sequence_length=16, vocabulary=Sudoku(2, 2).vocabulary)
TINY = {"hidden_size": 32, "puzzle_embedding_size": 32, "prefix_length": 1}
CONFIG = """arch:
  name: recursive_reasoning.trm@TinyRecursiveReasoningModel_ACTV1
  H_cycles: 3
  L_cycles: 6
  L_layers: 2
  halt_max_steps: 16
  expansion: 4
  hidden_size: 32
  num_heads: 8
  mlp_t: true
  pos_encodings: none
  puzzle_emb_ndim: 32
  puzzle_emb_len: 1
  no_ACT_continue: true
  rms_norm_eps: 1e-05
"""
PUBLISHED_DATASET = {"seq_len": 16, "vocab_size": 6, "num_puzzle_identifiers": 1}
YAML_VALUES = st.sampled_from(
    [
        *(
            "0",
            "-1",
            "1e400",
            ".inf",
            ".nan",
            "2024-99-99",
            "!!python/name:os.system",
            "&a [*a]",
            "[[[[]]]]",
            "~",
            "{}",
        ),
        *("9" * 5000, "0x" + "f" * 5000, "1:2:3:4", "'x'", '"\\uD800"', "*nowhere", "1_0", "yes", "3.5", "1" * 400),
    ]
)


@parser(st.data())
def test_published_settings(folder: Path, data: st.DataObject) -> None:
    place = folder / "published"
    place.mkdir(exist_ok=True)
    (place / "step_1").touch()
    lines = CONFIG.splitlines()
    number = data.draw(st.integers(1, len(lines) - 1))
    lines[number] = lines[number].partition(":")[0] + ": " + data.draw(YAML_VALUES)
    text = "\n".join(data.draw(st.sampled_from([lines, CONFIG.splitlines()]))).encode()
    (place / "all_config.yaml").write_bytes(data.draw(st.just(text) | spoiled(text) | st.binary(max_size=60)))
    document = data.draw(st.just(PUBLISHED_DATASET) | changed(PUBLISHED_DATASET))
    (place / "dataset.json").write_text(as_json(document))
    keys = st.sampled_from(
        ["arch.H_cycles", "arch.expansion", "seq_len", "task", "arch.mlp_t", "arch.rope_theta", "x", ""]
    )
    flags = data.draw(
        st.lists(st.tuples(keys, st.text(max_size=8) | st.sampled_from(["1", "nan", "9" * 5000])), max_size=2)
    )
    found = attempted(
        lambda: from_document(place / "step_1", published_state(), [f"{key}={value}" for key, value in flags])
    )
    if found is not None:
        assert ModelSpec.from_json(found.spec.to_json()) == found.spec


@functools.cache
def checkpoint_bytes() -> bytes:
    model = random_model(tiny_spec("trm-mlp"))
    buffer = io.BytesIO()
    document = {"format": "trm-deploy", "schema": 1, "spec": model.spec.to_json(), "ema": dict(model.state_dict())}
    torch.save({**document, "training": {"steps": 1, "recipe": "", "seed": 0}}, buffer)
    return buffer.getvalue()


@parser(st.data())
def test_checkpoints(folder: Path, data: st.DataObject) -> None:
    whole = checkpoint_bytes()
    path = folder / "c.pt"
    path.write_bytes(data.draw(spoiled(whole) | st.binary(max_size=60)))
    found = attempted(lambda: checkpoints.load(path).model())
    if found is not None:  # what was spoiled lies between the entries: the weights are the same
        for name, value in random_model(tiny_spec("trm-mlp")).state_dict().items():
            assert torch.equal(value, found.state_dict()[name])


@functools.cache
def safetensors_bytes(published: bool) -> bytes:
    if published:
        return serialized(published_state())
    model = random_model(tiny_spec("trm-mlp"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "c.safetensors")
        checkpoints.save(path, Checkpoint(model.spec, dict(model.state_dict()), {"steps": 1}), as_safetensors=True)
        return path.read_bytes()


@parser(st.data())
def test_safetensors(folder: Path, data: st.DataObject) -> None:
    published = data.draw(st.booleans())
    whole = safetensors_bytes(published)
    length = 8 + int.from_bytes(whole[:8], "little")
    header = data.draw(
        st.just(whole[8:length]) | changed(json.loads(whole[8:length])).map(lambda d: as_json(d).encode())
    )
    size = data.draw(st.just(len(header)) | st.sampled_from([0, 1, length, 10**8, 10**8 + 1, 2**63]))
    place = folder / "safetensors"
    place.mkdir(exist_ok=True)
    path = place / "c.safetensors"
    path.write_bytes(data.draw(spoiled(whole) | st.just(size.to_bytes(8, "little") + header + whole[length:])))
    (place / "all_config.yaml").write_text(CONFIG)
    (place / "dataset.json").write_text(json.dumps(PUBLISHED_DATASET))
    found = attempted(lambda: checkpoints.load(path).model())
    if found is not None and not published:  # a seal is over spec and weights
        for name, value in random_model(tiny_spec("trm-mlp")).state_dict().items():
            assert torch.equal(value, found.state_dict()[name])


@parser(st.data(), share=0.5)
def test_training_files(folder: Path, data: st.DataObject) -> None:
    """Sound documents around published weights, nested in any way."""
    place = folder / "training"
    place.mkdir(exist_ok=True)
    (place / "all_config.yaml").write_text(CONFIG)
    (place / "dataset.json").write_text(json.dumps(PUBLISHED_DATASET))
    keys = st.sampled_from(
        ["model", "ema", "shadow", "state_dict", "optimizer", "L_level.layers.0.mlp.down_proj.weight"]
    )
    tensors = st.sampled_from([published_state(), torch.ones(2), torch.tensor(3), {}, {1: torch.ones(1)}])
    document = data.draw(
        st.recursive(
            tensors | VALUES.filter(lambda value: value != "\ud800"),
            lambda inner: st.dictionaries(keys | st.text("a.", max_size=3), inner, max_size=4),
            max_leaves=8,
        )
    )
    try:
        torch.save(document, place / "step_1")
    except UnicodeEncodeError:
        return
    flags = data.draw(st.sampled_from([[], ["weights=model"], ["weights=ema.shadow"], ["weights=top-level"]]))
    found = attempted(lambda: checkpoints.load(place / "step_1", flags).model())
    assert found is None or isinstance(found, RecursiveReasoner)


@parser(st.data(), share=0.5)
def test_documents_of_checkpoints(folder: Path, data: st.DataObject) -> None:
    """Sound archives of plain documents that are none of ours."""
    model = random_model(tiny_spec("trm-mlp"))
    document: dict[str, Any] = {
        "format": "trm-deploy",
        "schema": 1,
        "spec": model.spec.to_json(),
        "ema": dict(model.state_dict()),
        "training": {"steps": 1},
    }
    key = data.draw(st.sampled_from([*document, *(f"ema.{name}" for name in document["ema"])]))
    values = VALUES.map(lambda value: value if value != "\ud800" else "") | st.sampled_from(
        [torch.ones(2), torch.ones(1).expand(10**9), torch.ones(2, dtype=torch.int64), torch.ones(2).to_sparse()]
    )
    if key.startswith("ema."):
        document["ema"][key.removeprefix("ema.")] = data.draw(values)
    else:
        document[key] = data.draw(values)
    path = folder / "d.pt"
    try:
        torch.save(document, path)
    except UnicodeEncodeError:  # a half of a surrogate pair is no text to a pickle
        return
    found = attempted(lambda: checkpoints.load(path).model())
    assert found is None or isinstance(found, RecursiveReasoner)


def test_a_checkpoint_survives_its_file(tmp_path: Path) -> None:
    model = random_model(tiny_spec("trm-mlp"))
    checkpoints.save(tmp_path / "c.pt", Checkpoint(model.spec, dict(model.state_dict()), {"steps": 1}))
    assert checkpoints.load(tmp_path / "c.pt").training == {"steps": 1}
