"""From a checkpoint file to an artefact with its build record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import onnx

from trm_deploy import checkpoint, record
from trm_deploy.checkpoint import Checkpoint
from trm_deploy.errors import InputError
from trm_deploy.export.onnx_export import IR_VERSION, OPSET, Graph, export_onnx
from trm_deploy.files import atomic_path
from trm_deploy.spec import Precision

VERSIONED = ("trm-deploy", "torch", "onnx", "onnxscript", "onnx-ir", "onnxruntime")


@dataclass(frozen=True)
class ExportSettings:
    """What to export; see `export_onnx`."""

    graph: Graph = "loop"
    steps: int | None = None
    precision: Precision = "fp32"
    opset: int = OPSET
    unroll_inner: bool = False


class ParityResult(Protocol):
    """What the build needs of a parity report."""

    def summary(self) -> dict[str, object]:
        """For the build record."""

    def raise_if_failed(self) -> None:
        """Raises `ParityFailure` where an engine failed."""


def export_checkpoint(
    source: Path, target: Path, settings: ExportSettings, *, verify: Callable[[Checkpoint, Path, str], ParityResult]
) -> Checkpoint:
    """Export a checkpoint, compare it with PyTorch, and only then put it in its place with its record beside it.

    Args:
        source: the checkpoint.
        target: the ONNX file to write.
        settings: what to export.
        verify: compares with a checkpoint an ONNX file, which is to be called by a name.

    Returns:
        The checkpoint.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        InputError: settings that contradict each other.
        ParityFailure: the export does not compute what PyTorch computes; nothing is written then.
    """
    loaded = checkpoint.load(source)
    if target.is_dir():
        raise InputError(f"{target}: is a folder, expected a file to write", hint="name a file with -o")
    model = export_onnx(
        loaded.model(),
        graph=settings.graph,
        steps=settings.steps,
        precision=settings.precision,
        opset=settings.opset,
        unroll_inner=settings.unroll_inner,
    )
    with atomic_path(target) as temporary:
        onnx.save(model, temporary)
        result = verify(loaded, temporary, target.name)
        result.raise_if_failed()
    record.write(
        target,
        record.BuildRecord(
            graph=settings.graph,
            steps=(settings.steps or loaded.spec.halting.max_steps) if settings.graph == "unrolled" else None,
            precision=settings.precision,
            precision_source="network",
            checkpoint_sha256=loaded.sha256,
            artefact_sha256=record.sha256(target),
            opset=settings.opset,
            ir_version=IR_VERSION,
            versions={name: version(name) for name in VERSIONED},
            halting_threshold=loaded.spec.halting.threshold,
            parity=result.summary(),
        ),
    )
    return loaded
