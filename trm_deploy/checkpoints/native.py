"""Our own checkpoints: one file, a dict of plain types and tensors; see `safetensors_file` for its other form.

format    "trm-deploy"
schema    1
spec      JSON text of the `ModelSpec`
ema       state dict of the averaged weights: the model that is exported
training  what made it: steps, recipe (TOML text), seed
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trm_deploy.checkpoints import safetensors_file
from trm_deploy.checkpoints.base import Checkpoint
from trm_deploy.errors import CheckpointError, InputError, SpecError, shown
from trm_deploy.spec import ModelSpec
from trm_deploy.support.files import atomic_path, sha256

FORMAT = "trm-deploy"
SCHEMA = 1
# Entry of `training` in a copy of a published checkpoint: `Checkpoint.contradictions`, joined.
CONTRADICTIONS = "contradictions"


def save(path: Path, checkpoint: Checkpoint, *, as_safetensors: bool = False) -> None:
    """Write a checkpoint atomically, with `torch.save` or as safetensors.

    Raises:
        MissingPackage: safetensors is not installed.
    """
    document = {
        "format": FORMAT,
        "schema": SCHEMA,
        "spec": checkpoint.spec.to_json(),
        "ema": checkpoint.ema,
        "training": checkpoint.training,
    }
    write_document(path, document, as_safetensors=as_safetensors)


def write_document(path: Path, document: dict[str, Any], *, as_safetensors: bool) -> None:
    """Write a document of a checkpoint of ours atomically; see `save`."""
    with atomic_path(path) as temporary:
        if as_safetensors:
            safetensors_file.write(temporary, document)
        else:
            torch.save(document, temporary)


def is_native(document: object) -> bool:
    """Whether a document calls itself a checkpoint of ours."""
    return isinstance(document, dict) and _entry(document, "format") == FORMAT


def from_document(path: Path, document: dict[Any, Any], overrides: Sequence[str] = ()) -> Checkpoint:
    """A checkpoint of ours from what its file holds.

    Args:
        path: the file that it was read from.
        document: see `is_native`.
        overrides: must be empty: a checkpoint of ours says all of itself.

    Raises:
        CheckpointError: an entry is missing or malformed, or its schema is newer.
        InputError: there are overrides.
    """
    if overrides:
        raise InputError(
            f"--set {overrides[0]} applies to a checkpoint of the published code: {path} says all of itself",
            hint="leave out --set",
        )
    schema = _entry(document, "schema")
    if schema != SCHEMA:
        raise CheckpointError(
            f"{path}: has checkpoint schema {shown(schema)}, this trm-deploy reads {SCHEMA}",
            hint="type: pip install --upgrade trm-deploy",
        )
    spec, ema, training = (document.get(key) for key in ("spec", "ema", "training"))
    if not isinstance(spec, str) or not isinstance(training, dict):
        raise CheckpointError(f"{path}: the entry 'spec' or 'training' is missing or of the wrong type")
    if any(type(value) not in (str, int, float, bool, type(None)) for value in training.values()):
        raise CheckpointError(f"{path}: the entry 'training' holds more than plain values")
    if not isinstance(ema, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in ema.items()):
        raise CheckpointError(f"{path}: the entry 'ema' is missing or no dict of tensors")
    try:
        parsed = ModelSpec.from_json(spec, source=str(path))
    except SpecError as error:
        raise CheckpointError(str(error)) from error
    # What is small is copied out of the mapped file, which may be replaced.
    kept = {
        name: value if name == "puzzles" and parsed.puzzle_table_outside else value.clone()
        for name, value in ema.items()
    }
    contradictions = str(training.get(CONTRADICTIONS) or "")
    return Checkpoint(
        parsed,
        kept,
        training,
        sha256(path),
        str(path),
        contradictions=tuple(filter(None, contradictions.split("; "))),
    )


def _entry(document: dict[Any, Any], key: str) -> Any:
    """A plain value of a document; None where there is none, or a tensor, which cannot be compared."""
    value = document.get(key)
    return None if isinstance(value, Tensor) else value
