"""From an artefact to answers. `load` picks the runtime from the file's own bytes."""

from __future__ import annotations

import zipfile
from pathlib import Path

from trm_deploy.errors import ArtefactError, CannotRunHere
from trm_deploy.runtimes.base import Device, Runtime, Solution, StepRuntime

__all__ = ["Device", "Runtime", "Solution", "StepRuntime", "load"]

TENSORRT_MAGICS = {b"ftrt": "a TensorRT plan", b"vtrt": "a TensorRT for RTX plan"}


def load(path: Path, *, device: Device = "cpu") -> Runtime:
    """The runtime that can run a file: a checkpoint through PyTorch, an ONNX file through ONNX Runtime.

    Args:
        path: the artefact.
        device: where to run it.

    Raises:
        ArtefactError: missing, empty, truncated or not ours.
        CheckpointError: a checkpoint that cannot be read.
        CannotRunHere: the package or device that it needs is missing.
    """
    if not path.exists():
        raise ArtefactError(f"{path}: there is no such file", hint="type: trm-deploy export CHECKPOINT --format onnx")
    if path.is_dir():
        raise ArtefactError(f"{path}: is a folder, expected an ONNX file or a checkpoint")
    with path.open("rb") as file:
        magic = file.read(4)
    if not magic:
        raise ArtefactError(f"{path}: is empty, expected an ONNX file or a checkpoint")
    if magic in TENSORRT_MAGICS:
        raise CannotRunHere(
            f"{path}: is {TENSORRT_MAGICS[magic]}, which this version of trm-deploy cannot run yet",
            hint="type: trm-deploy export CHECKPOINT --format onnx",
        )
    if zipfile.is_zipfile(path):
        from trm_deploy.runtimes.torch_runtime import TorchRuntime

        return TorchRuntime.from_file(path, device=device)
    from trm_deploy.runtimes.ort_runtime import OrtRuntime

    return OrtRuntime.from_file(path, device=device)
