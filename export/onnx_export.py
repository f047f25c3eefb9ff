"""Checkpoint to ONNX: traces a graph form with `torch.onnx.export`, or composes the unrolled one from steps."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any, Literal

import onnx
import torch
from onnx import TensorProto, helper, inliner
from torch import nn

from trm_deploy.errors import InputError, TrmDeployError
from trm_deploy.export.graphs import LOOP_OUTPUTS, STEP_OUTPUTS, LoopGraph, StepGraph
from trm_deploy.export.precision import cast
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.spec import GRAPH_KEY, METADATA_KEY, PRECISION_KEY, STEPS_KEY, ModelSpec, Precision

Graph = Literal["loop", "step", "unrolled"]

# TensorRT 10.3 (JetPack 6) and older runtimes know no newer ones.
OPSET = 20
IR_VERSION = 10
# torch's exporter writes 18 and up; TensorRT 10.3 reads 20 and down.
OPSETS = range(18, OPSET + 1)

# Unlike every size in the model, so that the tracer cannot take the batch for one of them.
TRACED_BATCH = 3
MAX_BATCH = 65536


def export_onnx(
    model: RecursiveReasoner,
    *,
    graph: Graph = "loop",
    steps: int | None = None,
    precision: Precision = "fp32",
    opset: int = OPSET,
    unroll_inner: bool = False,
) -> onnx.ModelProto:
    """One graph form of a model, dynamic in its batch, checked by onnx.checker.

    Args:
        model: on the CPU, in evaluation mode.
        graph: the form, see `trm_deploy.export.graphs`; `unrolled` repeats the step without control flow.
        steps: supervision steps of the unrolled form; the spec's maximum where None.
        precision: of weights and activations; the graph carries it (see `trm_deploy.export.precision`).
        opset: of the ONNX standard operators.
        unroll_inner: write the inner recursions (n and T) out instead of looping; the unrolled form always does.

    Raises:
        InputError: settings that contradict each other, or a model whose latent is split.
        TrmDeployError: the exporter wrote another opset or IR version than asked for.
    """
    if steps is not None and graph != "unrolled":
        raise InputError(f"--steps goes with --graph unrolled, not with --graph {graph}", hint="leave out --steps")
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
    model = cast(model, precision)
    if graph == "loop":
        exported = _trace_loop(model, opset, unroll_inner)
    elif graph == "step":
        exported = _trace_step(model, opset, unroll_inner)
    else:
        steps = steps or model.spec.halting.max_steps
        exported = unroll(_trace_step(model, opset, unroll_inner=True), model.spec, steps)
        metadata[STEPS_KEY] = str(steps)
    _strip(exported)
    _name_batch(exported)
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


def _puzzle_ids(spec: ModelSpec) -> torch.Tensor | None:
    return torch.zeros(TRACED_BATCH, dtype=torch.int32) if spec.task.puzzle_identifiers > 1 else None


def _trace_step(model: RecursiveReasoner, opset: int, unroll_inner: bool) -> onnx.ModelProto:
    y, z = (state.clone() for state in model.initial_state(TRACED_BATCH))
    inputs = {
        "tokens": torch.ones(TRACED_BATCH, model.spec.task.sequence_length, dtype=torch.int32),
        "puzzle_ids": _puzzle_ids(model.spec),
        "reset": torch.ones(TRACED_BATCH, dtype=torch.bool),
        "y": y,
        "z": z,
    }
    return _trace(StepGraph(model, unroll_inner=unroll_inner), inputs, STEP_OUTPUTS, opset)


def _trace_loop(model: RecursiveReasoner, opset: int, unroll_inner: bool) -> onnx.ModelProto:
    inputs = {
        "tokens": torch.ones(TRACED_BATCH, model.spec.task.sequence_length, dtype=torch.int32),
        "puzzle_ids": _puzzle_ids(model.spec),
        "max_steps": torch.tensor(model.spec.halting.max_steps, dtype=torch.int32),
        "halt_threshold": torch.tensor(0.0),
    }
    return _trace(LoopGraph(model, unroll_inner=unroll_inner), inputs, LOOP_OUTPUTS, opset)


def _trace(
    graph: nn.Module, inputs: dict[str, torch.Tensor | None], outputs: tuple[str, ...], opset: int
) -> onnx.ModelProto:
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    shapes = {name: {0: batch} if value is not None and value.ndim else None for name, value in inputs.items()}
    with _quiet():
        program = torch.onnx.export(
            graph,
            kwargs=inputs,
            dynamo=True,
            opset_version=opset,
            input_names=[name for name, value in inputs.items() if value is not None],
            output_names=list(outputs),
            dynamic_shapes=shapes,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


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


def unroll(step: onnx.ModelProto, spec: ModelSpec, steps: int) -> onnx.ModelProto:
    """Repeat a step graph `steps` times, without control flow; a halted row keeps its outputs.

    Composed of ONNX graphs rather than traced: tracing 16 steps takes minutes, this takes a second. The step
    becomes a function that is called once a step and then inlined.

    Args:
        step: the step form with its inner recursions unrolled.
        spec: of the model.
        steps: at least 1.
    """
    graph = step.graph
    weights = [weight.name for weight in graph.initializer]
    function = helper.make_function(
        domain="trm_deploy",
        fname="step",
        inputs=[value.name for value in graph.input] + weights,
        outputs=[value.name for value in graph.output],
        nodes=graph.node,
        opset_imports=step.opset_import,
    )
    architecture, task = spec.architecture, spec.task
    state_shape = [architecture.prefix_length + task.sequence_length, architecture.hidden_size]
    nodes: list[onnx.NodeProto] = []
    constants: list[TensorProto] = []

    def constant(name: str, kind: int, dims: list[int], values: list[Any]) -> str:
        constants.append(helper.make_tensor(name, kind, dims, values))
        return name

    def add(operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    batch = add("Shape", ["tokens"], "batch", start=0, end=1)
    rest = constant("state_rest", TensorProto.INT64, [2], state_shape)
    shape = add("Concat", [batch, rest], "state_shape", axis=0)
    state = next(value for value in graph.input if value.name == "y").type.tensor_type.elem_type
    y = z = add("Expand", [constant("zero", state, [], [0.0]), shape], "no_state")
    kept: dict[str, str] = {}
    halted = ""
    for number in range(1, steps + 1):
        first = constant(f"is_first_{number}", TensorProto.BOOL, [], [number == 1])
        reset = add("Expand", [first, batch], f"reset_{number}")
        feeds = {"tokens": "tokens", "puzzle_ids": "puzzle_ids", "reset": reset, "y": y, "z": z}
        results = {name: f"{name}_{number}" for name in STEP_OUTPUTS}
        nodes.append(
            helper.make_node(
                "step",
                [feeds[value.name] for value in graph.input] + weights,
                [results[value.name] for value in graph.output],
                domain="trm_deploy",
            )
        )
        y, z = results["y_next"], results["z_next"]
        index = constant(f"index_{number}", TensorProto.INT32, [], [number])
        results["steps"] = add("Expand", [index, batch], f"steps_{number}")
        current = {name: results[name] for name in LOOP_OUTPUTS}
        if number == 1:
            kept = current
            axes = {
                "answer": constant("axes_1", TensorProto.INT64, [1], [1]),
                "logits": constant("axes_2", TensorProto.INT64, [2], [1, 2]),
            }
        else:
            masks = {name: add("Unsqueeze", [halted, axes[name]], f"halted_{name}_{number}") for name in axes}
            kept = {
                name: add("Where", [masks.get(name, halted), kept[name], current[name]], f"kept_{name}_{number}")
                for name in LOOP_OUTPUTS
            }
        over = add("Greater", [kept["halt_logit"], "halt_threshold"], f"over_{number}")
        # A frozen row's halting logit is over the threshold for good, so this alone says who has halted.
        halted = over
    for name in LOOP_OUTPUTS:
        add("Identity", [kept[name]], name)

    def described(name: str, kind: int, dims: list[str | int]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, dims)

    length, vocabulary = task.sequence_length, len(task.vocabulary)
    inputs = [value for value in graph.input if value.name in ("tokens", "puzzle_ids")]
    composed = helper.make_model(
        helper.make_graph(
            nodes,
            "unrolled",
            [*inputs, described("halt_threshold", TensorProto.FLOAT, [])],
            [
                described("answer", TensorProto.INT32, ["batch", length]),
                described("steps", TensorProto.INT32, ["batch"]),
                described("halt_logit", TensorProto.FLOAT, ["batch"]),
                described("logits", TensorProto.FLOAT, ["batch", length, vocabulary]),
            ],
            [*graph.initializer, *constants],
        ),
        functions=[function],
        opset_imports=[*step.opset_import, helper.make_opsetid("trm_deploy", 1)],
        ir_version=step.ir_version,
        producer_name=step.producer_name,
        producer_version=step.producer_version,
    )
    inlined = inliner.inline_local_functions(composed)
    standard = [entry for entry in inlined.opset_import if entry.domain == ""]
    del inlined.opset_import[:]
    inlined.opset_import.extend(standard)
    return inlined


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and those inside its loops."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs(attribute.g)


def _strip(model: onnx.ModelProto) -> None:
    """Take out what the tracer noted of its source: stack traces with paths, half the file's size."""
    for graph in graphs(model.graph):
        for noted in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer, graph):
            del noted.metadata_props[:]
            noted.doc_string = ""
    del model.metadata_props[:]
    model.doc_string = ""


def _name_batch(model: onnx.ModelProto) -> None:
    """Call the free size "batch" wherever the tracer's own symbol for it stands."""
    symbol = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for graph in graphs(model.graph):
        for value in (*graph.value_info, *graph.input, *graph.output):
            for size in value.type.tensor_type.shape.dim:
                if size.dim_param == symbol:
                    size.dim_param = "batch"
