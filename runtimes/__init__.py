"""From an artefact to answers. `load` picks the runtime from the file's own bytes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from trm_deploy.artefacts import kind, onnx_file
from trm_deploy.artefacts.kind import Kind
from trm_deploy.errors import InputError
from trm_deploy.runtimes import registry
from trm_deploy.runtimes.base import Device, LoadOptions, Runtime, Solution, StepRuntime
from trm_deploy.signature import Precision

log = logging.getLogger(__name__)

__all__ = ["Device", "LoadOptions", "Runtime", "Solution", "StepRuntime", "load"]


def load(
    path: Path,
    runtime: str | None = None,
    *,
    device: Device = "cpu",
    allow_host_code: bool = False,
    precision: Precision | None = None,
    compiled: bool = False,
    overrides: Sequence[str] = (),
) -> Runtime:
    """The runtime that runs an artefact.

    Args:
        path: the artefact; or a published checkpoint's folder.
        runtime: a name in `trm_deploy.runtimes.registry`; the default of the kind of file where None.
        device: where to run it; a plan always runs on the GPU.
        allow_host_code: load a version-compatible plan, which carries code for this machine's processor.
        precision: of a checkpoint, float32 where None; an exported file has its own, but some runtimes compute it in
            another arithmetic (`Backend.arithmetics`).
        compiled: run a checkpoint through torch.compile.
        overrides: of a checkpoint: KEY=VALUE, what a published one does not say of itself.

    Raises:
        ArtefactError: missing, empty, truncated, altered or not ours.
        CheckpointError: a checkpoint that cannot be read.
        InputError: a runtime that does not read this kind of file; a precision, compilation or overrides where the file
            is not a checkpoint.
        CannotRunHere: the package or device that it needs is missing, or a plan is for another one.
    """
    options = LoadOptions(device, allow_host_code, precision, compiled, tuple(overrides))
    found = kind.of(path)
    backend = registry.choose(path, found, runtime)
    check_options(path, backend, options)
    if found is Kind.onnx and onnx_file.is_changed(path):
        log.warning(
            "%s: %s; trm-deploy verify %s checks it where its .golden.npz is beside it, trm-deploy parity where its"
            " checkpoint is",
            path,
            onnx_file.CHANGED,
            path,
        )
    return backend.load(path, options)


def check_options(path: Path, backend: registry.Backend, options: LoadOptions) -> None:
    """Refuse what applies to checkpoints alone where a file is another; see `load` for what it raises."""
    found = kind.of(path)
    others = [other.name for other in registry.reading(found) if other.arithmetics]
    if found is not Kind.checkpoint:
        for flag, given, what in (
            ("--precision", options.precision is not None and not backend.arithmetics, "precision"),
            ("--compile", options.compiled, "precision"),
            ("--set", bool(options.overrides), "spec"),
        ):
            if given:
                other = f", or add --runtime {others[0]}" if others and flag == "--precision" else ""
                raise InputError(
                    f"{flag} applies to checkpoints: {path} is an exported file, which has its {what} already",
                    hint=f"leave out {flag}, or name the checkpoint with --engine{other}",
                )
