"""From an artefact to answers. `load` picks the runtime from the file's own bytes."""

from __future__ import annotations

from pathlib import Path

from trm_deploy.artefacts import kind
from trm_deploy.artefacts.kind import Kind
from trm_deploy.errors import InputError
from trm_deploy.runtimes.base import Device, Runtime, Solution, StepRuntime
from trm_deploy.signature import Precision

__all__ = ["Device", "Runtime", "Solution", "StepRuntime", "load"]


def load(
    path: Path,
    *,
    device: Device = "cpu",
    allow_host_code: bool = False,
    precision: Precision | None = None,
    compiled: bool = False,
) -> Runtime:
    """The runtime that can run a file: checkpoints through PyTorch, ONNX files through ONNX Runtime, plans through
    TensorRT or TensorRT for RTX.

    Args:
        path: the artefact; or a published checkpoint's folder.
        device: where to run it; a plan always runs on the GPU.
        allow_host_code: load a version-compatible plan, which carries code for this machine's processor.
        precision: of a checkpoint, float32 where None; an exported file has its own.
        compiled: run a checkpoint through torch.compile.

    Raises:
        ArtefactError: missing, empty, truncated, altered or not ours.
        CheckpointError: a checkpoint that cannot be read.
        InputError: a precision or compilation asked for of what is no checkpoint.
        CannotRunHere: the package or device that it needs is missing, or a plan is for another one.
    """
    found = kind.of(path)
    if found is Kind.checkpoint:
        from trm_deploy.runtimes.backends.pytorch import TorchRuntime

        return TorchRuntime.from_file(path, device=device, precision=precision or "fp32", compiled=compiled)
    for flag, given in (("--precision", precision is not None), ("--compile", compiled)):
        if given:
            raise InputError(
                f"{flag} goes with a checkpoint: {path} is an exported file, which has its precision already",
                hint=f"leave out {flag}, or name the checkpoint with --engine",
            )
    if found.is_plan:
        from trm_deploy.runtimes.backends.trt.runtime import TrtRuntime

        return TrtRuntime.from_file(path, allow_host_code=allow_host_code)
    from trm_deploy.runtimes.backends.ort import OrtRuntime

    return OrtRuntime.from_file(path, device=device)
