"""Checkpoint to ONNX: traces the pieces of a model with `torch.onnx.export` and composes a graph form of them."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

import numpy as np
import onnx
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from onnx import helper
from onnx_ir.passes import common
from onnxscript import optimizer

from trm_deploy.artefacts.onnx_file import (
    GRAPH_KEY,
    LIMITS_KEY,
    METADATA_KEY,
    PRECISION_KEY,
    RESET_KEY,
    STEPS_KEY,
    limits_text,
)
from trm_deploy.errors import InputError, TrmDeployError
from trm_deploy.export.formats import DEFAULT_GRAPH, IR_VERSION, MAX_BATCH, OPSET, OPSETS
from trm_deploy.export.graph.calibration import largest_inputs
from trm_deploy.export.graph.composer import Traced
from trm_deploy.export.graph.forms import loop_graph, step_graph, unrolled_graph
from trm_deploy.export.graph.passes import int8
from trm_deploy.export.graph.passes.fixing import bake_limits, fix_batch
from trm_deploy.export.graph.passes.halves import split_products
from trm_deploy.export.graph.passes.reset_column import take_column
from trm_deploy.export.graph.pieces import RESULTS, Pieces
from trm_deploy.models.precision import cast
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.signature import PUZZLE_EMBEDDING, PUZZLE_IDS, TOKENS, BakedLimits, Graph, Precision, Y, Z, question
from trm_deploy.spec import ModelSpec

# Unlike every size in the model, so that the tracer cannot take the batch for one of them.
TRACED_BATCH = 3


def export_onnx(
    model: RecursiveReasoner,
    *,
    graph: Graph = DEFAULT_GRAPH,
    steps: int | None = None,
    precision: Precision = "fp32",
    opset: int = OPSET,
    unroll_inner: bool = False,
    calibration: NDArray[np.int32] | None = None,
    batch: int | None = None,
    baked: BakedLimits | None = None,
    reset_column: bool = False,
) -> onnx.ModelProto:
    """One graph form of a model, checked by onnx.checker.

    Args:
        model: on the CPU, in evaluation mode.
        graph: the form, see `trm_deploy.export.graph.forms`.
        steps: supervision steps of the unrolled form; the spec's maximum where None.
        precision: of weights and activations; the graph carries it (see `trm_deploy.models.precision`).
        opset: of the ONNX standard operators.
        unroll_inner: write the inner recursions (n and T) out instead of looping; the unrolled form always does.
        calibration: int32 [N, L], questions that the static scales of int8 are calibrated on, for TensorRT; None scales
            by row, for ONNX Runtime (see `trm_deploy.export.graph.passes.int8`).
        batch: samples that the graph takes at a time; any number where None.
        baked: the limits as constants of the loop or unrolled form; inputs where None.
        reset_column: the step form takes `reset` as bool [B, 1].

    Raises:
        InputError: settings that contradict each other, or a model whose latent is split.
        TrmDeployError: the exporter wrote another opset or IR version than it was to.
    """
    if steps is not None and graph != "unrolled":
        raise InputError(f"--steps applies to --graph unrolled, not to --graph {graph}", hint="leave out --steps")
    if steps is not None and steps < 1:
        raise InputError(f"--steps is {steps}, expected at least 1")
    if opset not in OPSETS:
        raise InputError(f"--opset is {opset}, expected {OPSETS.start} to {OPSETS.stop - 1}")
    if model.spec.architecture.latents > 1:
        raise InputError(
            f"the model has architecture.latents = {model.spec.architecture.latents}, expected 0 or 1:"
            " a split latent is for training and evaluation in PyTorch",
            hint="train with architecture = { latents = 1 }",
        )
    metadata = {METADATA_KEY: model.spec.to_json(), GRAPH_KEY: graph, PRECISION_KEY: precision}
    # An int8 graph for TensorRT is float16 where it is not int8, one for a CPU float32.
    narrow = cast(model, "fp16" if precision == "int8" and calibration is not None else precision)
    pieces = trace(narrow, opset)
    traced = Traced.of(pieces, model.spec)
    if graph == "loop":
        composed = loop_graph(traced, write_out=unroll_inner)
    elif graph == "step":
        composed = step_graph(traced, write_out=unroll_inner)
    else:
        steps = steps or model.spec.halting.max_steps
        composed = unrolled_graph(traced, steps)
        metadata[STEPS_KEY] = str(steps)
    exported = _model(composed, pieces)
    if precision != "int8":  # whose products share what quantises their input
        split_products(exported.graph)
    else:
        groups = int8.weight_groups(narrow, composed)
        if calibration is None:
            int8.quantize_by_row(exported.graph, int8.chosen(groups, int8.FLOAT_BY_ROW))
            exported.opset_import.append(helper.make_opsetid(int8.CONTRIB, 1))
        else:
            chosen = int8.chosen(groups, int8.FLOAT_STATIC)
            flat = _model(step_graph(traced, write_out=True), pieces)
            int8.quantize_statically(exported.graph, largest_inputs(flat, chosen, model.spec, calibration))
    if baked is not None:
        bake_limits(exported, baked)
        metadata[LIMITS_KEY] = limits_text(baked)
    if reset_column:
        take_column(exported.graph)
        metadata[RESET_KEY] = "column"
    if batch is not None:
        exported = fix_batch(exported, batch)
    helper.set_model_props(exported, metadata)
    written = {entry.domain: entry.version for entry in exported.opset_import}.get("")
    if (written, exported.ir_version) != (opset, IR_VERSION):
        raise TrmDeployError(
            f"the exporter wrote opset {written} and IR version {exported.ir_version},"
            f" expected opset {opset} and IR version {IR_VERSION}",
            hint="type: pip install 'trm-deploy[export]' (it pins torch, onnx, onnxscript and onnx-ir together)",
        )
    onnx.checker.check_model(exported, full_check=True)
    return exported


def _model(graph: onnx.GraphProto, pieces: onnx.ModelProto) -> onnx.ModelProto:
    """A graph as a model, with the versions of the trace that its nodes come from."""
    return helper.make_model(
        graph,
        opset_imports=pieces.opset_import,
        ir_version=pieces.ir_version,
        producer_name=pieces.producer_name,
        producer_version=pieces.producer_version,
    )


def trace(model: RecursiveReasoner, opset: int) -> onnx.ModelProto:
    """The pieces of a model as one graph, see `Pieces`; constants computed, equal weights kept once."""
    spec = model.spec
    state = model.initial_state(TRACED_BATCH)[0]
    inputs = {
        TOKENS: torch.ones(TRACED_BATCH, spec.task.sequence_length, dtype=torch.int32),
        **_puzzle_inputs(spec),
        **{name: state.clone() for name in ("x", Y, Z, "inner")},
    }
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    with _quiet():
        program = torch.onnx.export(
            Pieces(model),
            kwargs=inputs,
            dynamo=True,
            opset_version=opset,
            input_names=[name for name, value in inputs.items() if value is not None],
            output_names=list(RESULTS),
            dynamic_shapes={name: None if value is None else {0: batch} for name, value in inputs.items()},
            verbose=False,
        )
    assert program is not None
    found = program.model
    # The tracer leaves some weights to be transposed at every use. None is larger than this.
    limits = {"input_size_limit": 1 << 28, "output_size_limit": 1 << 28}
    optimizer.fold_constants(found, **limits)
    common.DeduplicateInitializersPass(size_limit=1 << 28)(found)
    # Stack traces with paths of the machine, half the file's size.
    common.ClearMetadataAndDocStringPass()(found)
    return ir.to_proto(found)


def _puzzle_inputs(spec: ModelSpec) -> dict[str, torch.Tensor | None]:
    """What tells puzzles apart: their numbers, or their rows where the table stays outside the graph."""
    taken = {tensor.name for tensor in question(spec)}
    rows = torch.zeros(TRACED_BATCH, spec.architecture.puzzle_embedding_size)
    return {
        PUZZLE_IDS: torch.zeros(TRACED_BATCH, dtype=torch.int32) if PUZZLE_IDS in taken else None,
        PUZZLE_EMBEDDING: rows if PUZZLE_EMBEDDING in taken else None,
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences notices that say nothing about the model: torchvision's absence, deprecations inside torch."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
