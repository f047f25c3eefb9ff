"""From an artefact to answers. `load` picks the runtime from the file's own bytes."""

from __future__ import annotations

import zipfile
from pathlib import Path

from trm_deploy.errors import ArtefactError
from trm_deploy.runtimes import plan
from trm_deploy.runtimes.base import Device, Runtime, Solution, StepRuntime

__all__ = ["Device", "Runtime", "Solution", "StepRuntime", "load"]


def load(path: Path, *, device: Device = "cpu", allow_host_code: bool = False) -> Runtime:
    """The runtime that can run a file: checkpoints through PyTorch, ONNX files through ONNX Runtime, plans through
    TensorRT or TensorRT for RTX.

    Args:
        path: the artefact; or a published checkpoint's folder.
        device: where to run it; a plan always runs on the GPU.
        allow_host_code: load a version-compatible plan, which carries code for this machine's processor.

    Raises:
        ArtefactError: missing, empty, truncated, altered or not ours.
        CheckpointError: a checkpoint that cannot be read.
        CannotRunHere: the package or device that it needs is missing, or a plan is for another one.
    """
    expected = "expected an ONNX file, a TensorRT plan or a checkpoint"
    if not path.exists():
        raise ArtefactError(f"{path}: there is no such file", hint="type: trm-deploy export CHECKPOINT --format onnx")
    in_folder = path.is_dir() and any(zipfile.is_zipfile(file) for file in path.iterdir() if file.is_file())
    if path.is_dir() and not in_folder:
        raise ArtefactError(f"{path}: is a folder without a checkpoint, {expected}")
    if not path.stat().st_size:
        raise ArtefactError(f"{path}: is empty, {expected}")
    if not in_folder and plan.flavour_of(path):
        from trm_deploy.runtimes.trt_runtime import TrtRuntime

        return TrtRuntime.from_file(path, allow_host_code=allow_host_code)
    if in_folder or zipfile.is_zipfile(path):
        from trm_deploy.runtimes.torch_runtime import TorchRuntime

        return TorchRuntime.from_file(path, device=device)
    from trm_deploy.runtimes.ort_runtime import OrtRuntime

    return OrtRuntime.from_file(path, device=device)
