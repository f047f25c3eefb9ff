"""Reads and writes checkpoints: one file, a dict of plain types and tensors.

    format    "trm-deploy"
    schema    1
    spec      JSON text of the `ModelSpec`
    ema       state dict of the averaged weights: the model that is exported
    training  what made it: steps, recipe (TOML text), seed

Read with `weights_only=True` and nothing else: a pickle may carry code, and this never runs it.
"""

from __future__ import annotations

import pickle
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trm_deploy.errors import CheckpointError, SpecError
from trm_deploy.files import atomic_path
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.record import sha256
from trm_deploy.spec import ModelSpec

FORMAT = "trm-deploy"
SCHEMA = 1


@dataclass(frozen=True)
class Checkpoint:
    """A model and what made it.

    Attributes:
        spec: what the model is.
        ema: state dict of the averaged weights, float32 on the CPU.
        training: plain values: steps, recipe, seed.
        sha256: of the file it was read from; empty for one that was not.
        source: what to call it in messages.
    """

    spec: ModelSpec
    ema: dict[str, Tensor]
    training: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    source: str = "checkpoint"

    def model(self) -> RecursiveReasoner:
        """The model with these weights, in evaluation mode on the CPU.

        Raises:
            CheckpointError: a weight is missing, left over or of another shape than the spec says.
        """
        with torch.device("meta"):
            expected = RecursiveReasoner(self.spec).state_dict()
        for name in sorted(expected.keys() | self.ema.keys()):
            if name not in self.ema:
                raise CheckpointError(
                    f"{self.source}: the weight {name} is missing, its spec expects {list(expected[name].shape)}"
                )
            if name not in expected:
                raise CheckpointError(
                    f"{self.source}: the weight {name} {list(self.ema[name].shape)} has no place in its spec"
                )
            if self.ema[name].shape != expected[name].shape:
                raise CheckpointError(
                    f"{self.source}: the weight {name} has the shape {list(self.ema[name].shape)},"
                    f" its spec expects {list(expected[name].shape)}"
                )
        model = RecursiveReasoner(self.spec)
        model.load_state_dict(self.ema)
        return model.eval().requires_grad_(False)


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


def read_pickle(path: Path) -> Any:
    """What `torch.save` wrote, restricted to tensors and plain types.

    Raises:
        CheckpointError: missing, a folder, truncated, not from `torch.save`, or a pickle that asks for code.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such file")
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder, expected a checkpoint file")
    if not zipfile.is_zipfile(path):
        raise CheckpointError(
            f"{path}: is no checkpoint, or a truncated one ({path.stat().st_size:,} bytes, no end record),"
            " expected a file that torch.save wrote"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error):
            raise CheckpointError(
                f"{path}: refused: the pickle asks for code or types beyond tensors, which could run anything",
                hint="ask for a file with a plain state dict",
            ) from error
        raise CheckpointError(f"{path}: is no checkpoint (its pickle is damaged)") from error
    except Exception as error:  # torch.load raises nearly anything on damaged bytes
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(f"{path}: is a damaged checkpoint ({reason[0]})") from error


def load(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        CheckpointError: see `read_pickle`; or the file is not one of ours, or its weights do not fit its spec.
    """
    document = read_pickle(path)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: is no trm-deploy checkpoint (no 'format' entry that says {FORMAT!r})",
            hint="expected the ema.pt that 'trm-deploy train' writes",
        )
    schema = document.get("schema")
    if schema != SCHEMA:
        raise CheckpointError(
            f"{path}: has checkpoint schema {schema!r}, this trm-deploy reads {SCHEMA}",
            hint="type: pip install --upgrade trm-deploy",
        )
    spec, ema, training = (document.get(key) for key in ("spec", "ema", "training"))
    if not isinstance(spec, str) or not isinstance(training, dict):
        raise CheckpointError(f"{path}: the entry 'spec' or 'training' is missing or of the wrong type")
    if not isinstance(ema, dict) or not all(isinstance(value, Tensor) for value in ema.values()):
        raise CheckpointError(f"{path}: the entry 'ema' is missing or no dict of tensors")
    try:
        parsed = ModelSpec.from_json(spec, source=str(path))
    except SpecError as error:
        raise CheckpointError(str(error)) from error
    return Checkpoint(parsed, ema, training, sha256(path), str(path))
