"""From a checkpoint to an ONNX file with its side files: `--format onnx`, and half of the way to an engine."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from trm_deploy import checkpoints, hub
from trm_deploy.artefacts import bundle, embeddings, golden, identifiers, onnx_file
from trm_deploy.artefacts.record import BuildRecord
from trm_deploy.checkpoints import Checkpoint
from trm_deploy.export.check import Check, Checked, announce
from trm_deploy.export.engine.targets import Target
from trm_deploy.export.formats import DEFAULT_GRAPH, FORMATS, IR_VERSION, OPSET
from trm_deploy.export.graph.assemble import export_onnx
from trm_deploy.export.graph.calibration import questions
from trm_deploy.export.graph.passes.widening import widened
from trm_deploy.export.options import ExportOptions
from trm_deploy.export.source import identifiers_of, load_source
from trm_deploy.signature import BakedLimits, Graph, Precision
from trm_deploy.support import machine
from trm_deploy.support.files import refuse_folder

log = logging.getLogger(__name__)

VERSIONED = ("trm-deploy", "torch", "onnx", "onnxscript", "onnx-ir", "onnxruntime")


@dataclass(frozen=True)
class GraphOptions:
    """Which graph; see `export_onnx`.

    Attributes:
        static_scales: int8 with static scales, for TensorRT and OpenVINO, rather than a scale for each row.
        calibrate: puzzles for the static scales; the task's examples where None.
        batch: samples that the graph takes at a time; any number where None.
        bake_limits: the checkpoint's step limit and threshold as constants rather than inputs.
        reset_column: the step form takes `reset` as bool [B, 1].
    """

    graph: Graph = DEFAULT_GRAPH
    steps: int | None = None
    precision: Precision = FORMATS["onnx"].precision
    opset: int = OPSET
    unroll_inner: bool = False
    static_scales: bool = False
    calibrate: Path | None = None
    batch: int | None = None
    bake_limits: bool = False
    reset_column: bool = False


def build(options: ExportOptions, output: Path, check: Check) -> Checkpoint:
    """Export what the options say; the checkpoint, for what is made of the ONNX file next.

    Raises:
        TrmDeployError: see `export_checkpoint`.
    """
    is_engine = options.artefact() != output
    how = GraphOptions(
        graph=options.graph or DEFAULT_GRAPH,
        steps=options.steps,
        precision=options.graph_precision(),
        opset=options.graph_opset(),
        # A loop cannot be captured as a CUDA graph, and capturing is what an engine of the step form is for.
        unroll_inner=options.unroll_inner or (is_engine and options.graph == "step"),
        static_scales=options.graph_precision() == "int8" and (is_engine or options.static_scales),
        calibrate=options.calibrate,
        batch=None if is_engine or options.batch is None else int(options.batch),
        bake_limits=options.bake_limits,
        reset_column=options.reset_column,
    )
    log.info("exporting %s: graph %s, precision %s", options.source, how.graph, how.precision)
    checkpoint, built = export_checkpoint(
        options.source,
        output,
        how,
        overrides=options.overrides,
        identifiers_file=options.identifiers,
        target=options.device(),
        check=check,
    )
    announce(str(output), built.parity)
    log.info("wrote %s", " and ".join(map(str, bundle.present(output))))
    return checkpoint


def export_checkpoint(
    source: Path,
    output: Path,
    options: GraphOptions,
    *,
    overrides: tuple[str, ...] = (),
    identifiers_file: Path | None = None,
    target: Target | None = None,
    check: Check | None = None,
) -> tuple[Checkpoint, BuildRecord]:
    """Export a checkpoint, compare the result with PyTorch, and only then publish it with its side files.

    Args:
        source: the checkpoint.
        output: the ONNX file to write.
        options: which graph.
        overrides: KEY=VALUE, what a published checkpoint does not say of itself.
        identifiers_file: names of the puzzle ids; the `identifiers.json` beside the checkpoint where None, if any.
        target: the device that it is for: its TensorRT must be able to parse the graph.
        check: compares the ONNX file with the checkpoint; nothing does where None.

    Returns:
        The checkpoint, and the build record that was written.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        InputError: options that contradict each other, or an identifier map that does not fit the model.
        CannotRunHere: the target cannot parse the graph; nothing is written then.
        ParityFailure: the export does not compute what PyTorch computes; nothing is written then.
    """
    checkpoint = load_source(source, overrides)
    spec = checkpoint.spec
    refuse_folder(output)
    names = identifiers_of(checkpoint, source, identifiers_file)
    steps = (options.steps or spec.halting.max_steps) if options.graph == "unrolled" else None
    baked = BakedLimits(steps or spec.halting.max_steps, spec.halting.threshold) if options.bake_limits else None
    model = export_onnx(
        checkpoint.model(),
        graph=options.graph,
        steps=options.steps,
        precision=options.precision,
        opset=options.opset,
        unroll_inner=options.unroll_inner,
        calibration=questions(spec, options.calibrate) if options.static_scales else None,
        batch=options.batch,
        baked=baked,
        reset_column=options.reset_column,
    )
    origin = hub.origin(checkpoints.locate(source), checkpoint.sha256)
    about = BuildRecord(
        graph=options.graph,
        steps=steps,
        precision=options.precision,
        precision_source="network",
        checkpoint_sha256=checkpoint.sha256,
        checkpoint_source={} if origin is None else origin.to_plain(),
        artefact_sha256="",
        opset=options.opset,
        ir_version=IR_VERSION,
        versions=machine.versions(VERSIONED),
        halting_threshold=spec.halting.threshold,
        overrides=checkpoint.overrides,
        contradictions=checkpoint.contradictions,
        batch="" if options.batch is None else str(options.batch),
    )

    with bundle.staged(output) as staging:

        def compare(artefact: Path) -> Mapping[str, Any]:
            if check is None:
                return {}
            if options.precision == "bf16":
                found = _compare_wide(checkpoint, model, artefact, str(output), check)
            else:
                found = check(checkpoint, artefact, str(output))
            staging.add(golden.FILE, found.golden)
            return found.parity

        onnx.save(model, staging.artefact)
        onnx_file.seal(staging.artefact)
        if target is not None:
            target.check(onnx_file.read(staging.artefact), output)
        if spec.puzzle_table_outside:
            staging.add(embeddings.FILE, (_blocks(checkpoint.ema["puzzles"]), spec))
        staging.add(identifiers.FILE, names)
        return checkpoint, staging.publish(about, check=compare)


def _compare_wide(checkpoint: Checkpoint, model: onnx.ModelProto, artefact: Path, name: str, check: Check) -> Checked:
    """Compare with PyTorch what no runtime here takes as it is: a bfloat16 graph, in float32 arithmetic."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        wide = Path(folder, artefact.name)
        onnx.save(widened(model), wide)
        if checkpoint.spec.puzzle_table_outside:
            stack.enter_context(embeddings.linked_beside(wide, embeddings.path_of(artefact)))
        log.warning(
            "ONNX Runtime computes no bf16 on CPUs: what is checked of %s is its graph with its weights in fp32"
            " arithmetic, and it runs in TensorRT only",
            name,
        )
        found = check(checkpoint, wide, f"{name} in fp32 arithmetic")
        return replace(found, parity={**found.parity, "arithmetic": "fp32"})


# Bytes of a puzzle table that are in memory at a time.
BLOCK = 16 << 20


def _blocks(table: torch.Tensor) -> Iterator[NDArray[np.float32]]:
    """The rows of a table [puzzles, E], usually mapped from a file, a block at a time."""
    rows = max(1, BLOCK // (4 * table.shape[1]))
    for start in range(0, len(table), rows):
        yield table[start : start + rows].to(torch.float32).numpy()
