"""safetensors: tensors behind a JSON header, which no reading can run. Ours say in the header what the model is.

The header's metadata of a file of ours, all text:

format               "pt", for other readers
trm_deploy.schema    of `native`
trm_deploy.spec      JSON text of the `ModelSpec`
trm_deploy.training  JSON text of what made it
trm_deploy.sha256    of the two above and of all tensors: the format itself has no checksum
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trm_deploy.artefacts import onnx_file
from trm_deploy.errors import CheckpointError, reason, require, shown

# The spec and the seal are called as in ONNX files.
SPEC, SEAL = onnx_file.METADATA_KEY, onnx_file.SEAL_KEY
SCHEMA, TRAINING = "trm_deploy.schema", "trm_deploy.training"


def read(path: Path) -> dict[str, Any]:
    """What a file holds: its tensors by name, mapped into memory; of one of ours a document as `native` has it.

    Raises:
        CheckpointError: truncated or damaged, or one of ours that was changed.
        MissingPackage: safetensors is not installed.
    """
    safetensors = require("safetensors", extra="safetensors", purpose=f"to read {path}")
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
    except Exception as error:  # the library raises its own error, and torch's for types that torch lacks
        raise CheckpointError(
            f"{path}: is a damaged or truncated safetensors file ({reason(error)})", hint="copy it again"
        ) from error
    if SPEC not in metadata:
        return tensors
    if metadata.get(SEAL) != _seal(metadata, tensors):
        raise CheckpointError(
            f"{path}: is altered: its SHA-256 is not the one that was written with it",
            hint="copy it again, or type: trm-deploy export CHECKPOINT --format safetensors",
        )
    schema = metadata.get(SCHEMA, "")
    return {
        "format": "trm-deploy",
        "schema": int(schema) if schema.isascii() and schema.isdigit() and len(schema) < 10 else schema,
        "spec": metadata[SPEC],
        "ema": tensors,
        "training": _training(metadata.get(TRAINING, ""), path),
    }


def write(path: Path, document: Mapping[str, Any]) -> None:
    """Write a document of `native`, not atomically.

    Raises:
        MissingPackage: safetensors is not installed.
    """
    torch_files = require("safetensors.torch", extra="safetensors", purpose=f"to write {path}")
    tensors = {name: tensor.contiguous() for name, tensor in document["ema"].items()}
    metadata = {
        "format": "pt",
        SCHEMA: str(document["schema"]),
        SPEC: document["spec"],
        TRAINING: json.dumps(document["training"]),
    }
    torch_files.save_file(tensors, path, {**metadata, SEAL: _seal(metadata, tensors)})


def _training(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: the entry {TRAINING} is {shown(text)}, expected JSON") from error


def _seal(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    described = {name: [str(tensor.dtype), *tensor.shape] for name, tensor in sorted(tensors.items())}
    digest.update(json.dumps([metadata.get(key, "") for key in (SCHEMA, SPEC, TRAINING)] + [described]).encode())
    for _, tensor in sorted(tensors.items()):
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
