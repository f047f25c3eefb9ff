"""Our own checkpoints: one file, a dict of plain types and tensors.

format    "trm-deploy"
schema    1
spec      JSON text of the `ModelSpec`
ema       state dict of the averaged weights: the model that is exported
training  what made it: steps, recipe (TOML text), seed
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trm_deploy.checkpoints.archive import locate, read_pickle
from trm_deploy.checkpoints.base import Checkpoint
from trm_deploy.errors import CheckpointError, InputError, SpecError, shown
from trm_deploy.spec import ModelSpec
from trm_deploy.support.files import atomic_path, sha256

FORMAT = "trm-deploy"
SCHEMA = 1


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically."""
    document = {
        "format": FORMAT,
        "schema": SCHEMA,
        "spec": checkpoint.spec.to_json(),
        "ema": checkpoint.ema,
        "training": checkpoint.training,
    }
    with atomic_path(path) as temporary:
        torch.save(document, temporary)


def require_native_format(path: Path) -> None:
    """Raises `CheckpointError` where it is not a checkpoint of ours: a published one has no spec to change."""
    if not is_native(read_pickle(locate(path), mapped=True)):
        raise CheckpointError(
            f"{path}: is a checkpoint of the published code, which holds no spec to change",
            hint="export it, and change the build record beside the engine",
        )


def rewrite_spec(path: Path, change: Callable[[ModelSpec], ModelSpec]) -> None:
    """Change the spec of a checkpoint of ours in place, atomically; all else stays as it is.

    Raises:
        CheckpointError: see `from_document` and `require_native_format`.
    """
    path = locate(path)
    require_native_format(path)
    spec = from_document(path, read_pickle(path, mapped=True)).spec
    document = read_pickle(path)
    document["spec"] = change(spec).to_json()
    with atomic_path(path) as temporary:
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
    return Checkpoint(parsed, kept, training, sha256(path), str(path))


def _entry(document: dict[Any, Any], key: str) -> Any:
    """A plain value of a document; None where there is none, or a tensor, which cannot be compared."""
    value = document.get(key)
    return None if isinstance(value, Tensor) else value
