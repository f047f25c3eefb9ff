"""From a checkpoint file to an artefact with its build record."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from trm_deploy import checkpoints
from trm_deploy.artefacts import embeddings, identifiers, onnx_file, record
from trm_deploy.checkpoints import Checkpoint
from trm_deploy.export.graph.assemble import IR_VERSION, OPSET, Graph, export_onnx
from trm_deploy.export.graph.calibration import questions
from trm_deploy.export.graph.passes.widening import widened
from trm_deploy.signature import Precision
from trm_deploy.support import machine
from trm_deploy.support.files import atomic_path, refuse_folder, sha256

VERSIONED = ("trm-deploy", "torch", "onnx", "onnxscript", "onnx-ir", "onnxruntime")


@dataclass(frozen=True)
class ExportSettings:
    """What to export; see `export_onnx`.

    Attributes:
        static_scales: int8 with static scales, for TensorRT, rather than a scale a row.
        calibrate: puzzles for the static scales; those that come with the package where None.
    """

    graph: Graph = "loop"
    steps: int | None = None
    precision: Precision = "fp32"
    opset: int = OPSET
    unroll_inner: bool = False
    static_scales: bool = False
    calibrate: Path | None = None


class ParityResult(Protocol):
    """What the build needs of a parity report."""

    def summary(self) -> dict[str, object]:
        """For the build record."""

    def raise_if_failed(self) -> None:
        """Raises `ParityFailure` where an engine failed."""


def export_checkpoint(
    source: Path,
    target: Path,
    settings: ExportSettings,
    *,
    told: Sequence[str] = (),
    identifiers_file: Path | None = None,
    verify: Callable[[Checkpoint, Path, str], ParityResult],
) -> Checkpoint:
    """Export a checkpoint, compare it with PyTorch, and only then put it in its place with its record beside it.

    Args:
        source: the checkpoint.
        target: the ONNX file to write.
        settings: what to export.
        told: KEY=VALUE, what a published checkpoint does not say of itself.
        identifiers_file: names of the puzzle ids; the `identifiers.json` beside the checkpoint where None, if any.
        verify: compares with a checkpoint an ONNX file, which is to be called by a name.

    Returns:
        The checkpoint.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        InputError: settings that contradict each other, or an identifier map that does not fit the model.
        ParityFailure: the export does not compute what PyTorch computes; nothing is written then.
    """
    loaded = checkpoints.load(source, told)
    refuse_folder(target)
    names = _identifiers(loaded, checkpoints.locate(source), identifiers_file)
    model = export_onnx(
        loaded.model(),
        graph=settings.graph,
        steps=settings.steps,
        precision=settings.precision,
        opset=settings.opset,
        unroll_inner=settings.unroll_inner,
        calibration=questions(loaded.spec, settings.calibrate) if settings.static_scales else None,
    )
    table: dict[str, Any] = {}
    with ExitStack() as stack:
        temporary = stack.enter_context(atomic_path(target))
        onnx.save(model, temporary)
        onnx_file.seal(temporary)
        if loaded.spec.puzzle_table_outside:
            file = stack.enter_context(atomic_path(embeddings.path_of(target)))
            digest = embeddings.write(file, _blocks(loaded.ema["puzzles"]), loaded.spec)
            table = embeddings.described(loaded.spec, digest)
            stack.enter_context(embeddings.lent(temporary, file))
        if settings.precision == "bf16":
            result = _verified(loaded, model, temporary, target.name, verify)
        else:
            result = verify(loaded, temporary, target.name)
        result.raise_if_failed()
        # An interruption between the two renames must leave no record of another file beside this one.
        record.path_of(target).unlink(missing_ok=True)
    if not table:
        embeddings.path_of(target).unlink(missing_ok=True)  # an older export's
    identifiers.write(target, names)
    record.write(
        target,
        record.BuildRecord(
            graph=settings.graph,
            steps=(settings.steps or loaded.spec.halting.max_steps) if settings.graph == "unrolled" else None,
            precision=settings.precision,
            precision_source="network",
            checkpoint_sha256=loaded.sha256,
            artefact_sha256=sha256(target),
            opset=settings.opset,
            ir_version=IR_VERSION,
            versions=machine.versions(VERSIONED),
            halting_threshold=loaded.spec.halting.threshold,
            puzzle_embeddings=table,
            parity={**result.summary(), **({"arithmetic": "fp32"} if settings.precision == "bf16" else {})},
        ),
    )
    return loaded


def _verified(
    loaded: Checkpoint,
    model: onnx.ModelProto,
    file: Path,
    name: str,
    verify: Callable[[Checkpoint, Path, str], ParityResult],
) -> ParityResult:
    """Compare with PyTorch what no runtime here takes as it is: a bfloat16 graph, in float32 arithmetic."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        wide = Path(folder, file.name)
        onnx.save(widened(model), wide)
        if loaded.spec.puzzle_table_outside:
            stack.enter_context(embeddings.lent(wide, embeddings.path_of(file)))
        print(
            f"{name}: ONNX Runtime computes no bf16 on CPUs; checked is its graph with its weights in fp32 arithmetic",
            file=sys.stderr,
        )
        return verify(loaded, wide, f"{name} in fp32 arithmetic")


# Bytes of a puzzle table that are in memory at a time.
BLOCK = 16 << 20


def _blocks(table: torch.Tensor) -> Iterator[NDArray[np.float32]]:
    """The rows of a table [puzzles, E], usually mapped from a file, a block at a time."""
    rows = max(1, BLOCK // (4 * table.shape[1]))
    for start in range(0, len(table), rows):
        yield table[start : start + rows].to(torch.float32).numpy()


def _identifiers(loaded: Checkpoint, file: Path, named: Path | None) -> tuple[str, ...] | None:
    """The names of the puzzle ids; None where there are none, or nothing to name: a model without a puzzle table."""
    path = named or file.with_name("identifiers.json")
    if named is None and not (path.is_file() and loaded.spec.architecture.puzzle_embedding_size):
        return None
    names = identifiers.read_file(path)
    identifiers.check_count(names, loaded.spec.task.puzzle_identifiers, path)
    return names
