"""int8 graphs: what is quantised and how, that rows stay independent, and that TensorRT takes the static form."""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.conftest import exported, random_model, tiny_spec
from trm_deploy import puzzles
from trm_deploy.artefacts import onnx_file
from trm_deploy.artefacts.onnx_file import GRAPH_KEY, INT8_BY_ROW, METADATA_KEY, PRECISION_KEY
from trm_deploy.errors import CannotRunHere, InputError
from trm_deploy.evaluation import parity
from trm_deploy.evaluation.parity.pytorch import reference_and_controls
from trm_deploy.export.engine.build import build_engine
from trm_deploy.export.engine.options import BatchProfile, EngineOptions
from trm_deploy.export.formats import OPSET
from trm_deploy.export.graph.assemble import trace
from trm_deploy.export.graph.calibration import largest_inputs, questions
from trm_deploy.export.graph.composer import Traced
from trm_deploy.export.graph.forms import loop_graph, step_graph
from trm_deploy.export.graph.nested import graphs
from trm_deploy.export.graph.passes import int8
from trm_deploy.runtimes import load
from trm_deploy.runtimes.base import StepResult, StepRuntime

RTX = EngineOptions(format="rtx", batch=BatchProfile(1, 4, 8), compute_capabilities=("8.6",))
# One of each mixer: tracing takes seconds.
TRACED = ("trm-mlp", "trm-att")
TOKENS = np.random.default_rng(0).integers(6, size=(32, 16)).astype(np.int32)


@functools.cache
def pieces(preset: str) -> onnx.ModelProto:
    """A tiny model traced in float32: once for all tests here, because that takes seconds."""
    return trace(random_model(tiny_spec(preset)), OPSET)


def plain(preset: str, graph: str = "loop", *, write_out: bool = False) -> onnx.ModelProto:
    """A graph form in float32, before any pass."""
    make = {"loop": loop_graph, "step": step_graph}[graph]
    composed = make(Traced.of(pieces(preset), tiny_spec(preset)), write_out=write_out)
    model = helper.make_model(composed, opset_imports=pieces(preset).opset_import, ir_version=10)
    helper.set_model_props(model, {METADATA_KEY: tiny_spec(preset).to_json(), GRAPH_KEY: graph, PRECISION_KEY: "int8"})
    return model


def by_row(preset: str, graph: str) -> onnx.ModelProto:
    """The same with int8 products by row."""
    model = plain(preset, graph)
    groups = int8.weight_groups(random_model(tiny_spec(preset)), model.graph)
    int8.quantize_by_row(model.graph, int8.chosen(groups, int8.FLOAT_BY_ROW))
    model.opset_import.append(helper.make_opsetid(int8.CONTRIB, 1))
    return model


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for graph in graphs(model.graph) for node in graph.node)


def products_with_weights(model: onnx.ModelProto) -> list[str]:
    weights = {tensor.name for tensor in model.graph.initializer}
    return [
        node.input[1]
        for graph in graphs(model.graph)
        for node in graph.node
        if node.op_type == "MatMul" and node.input[1] in weights
    ]


@pytest.mark.parametrize("preset", TRACED)
def test_all_products_inside_loops_are_int8_and_weights_are_kept_once(preset: str) -> None:
    model = by_row(preset, "loop")
    before, after = products_with_weights(plain(preset)), products_with_weights(model)
    assert len(after) == 1  # the answer head, by the policy
    assert operators(model)[INT8_BY_ROW] == len(before) - 1
    kinds = {tensor.name: tensor for tensor in model.graph.initializer}
    narrow = [tensor for tensor in kinds.values() if tensor.data_type == TensorProto.INT8]
    assert len(narrow) == len(set(before)) - 1
    for tensor in narrow:
        assert tensor.name.removesuffix("/int8") not in kinds
        assert list(kinds[tensor.name.replace("/int8", "/scale")].dims) == tensor.dims[1:]  # a scale a column


def test_an_exported_file_says_what_it_is() -> None:
    model = exported("trm-mlp", "loop", precision="int8")
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    assert (model.ir_version, opsets) == (10, {"": 20, int8.CONTRIB: 1})
    assert {prop.key: prop.value for prop in model.metadata_props}[PRECISION_KEY] == "int8"
    assert operators(model) == operators(by_row("trm-mlp", "loop"))


@pytest.mark.parametrize(("preset", "graph"), [("trm-mlp", "loop"), ("trm-mlp", "step"), ("trm-att", "step")])
def test_parity_within_the_bounds_of_int8(preset: str, graph: str, tmp_path: Path) -> None:
    path = tmp_path / "s.onnx"
    onnx.save(by_row(preset, graph), path)
    engine = load(path)
    assert (engine.precision, engine.arithmetic.split()[0]) == ("int8", "int8")
    report = parity.compare(
        *reference_and_controls(random_model(tiny_spec(preset)), 1),
        [("s.onnx", engine)],
        TOKENS,
        solved=None,
        max_steps=6,
        halt_threshold=0.0,
    )
    (found,) = report.engines
    # Not the share that halts: one random sample of 32 at the threshold's edge is three points.
    assert all(difference.passed for difference in found.step_differences)
    assert max(d.largest for d in found.step_differences if d.same_state) > parity.BOUNDS["fp32"].logits


@pytest.mark.parametrize("preset", TRACED)
def test_an_answer_does_not_depend_on_its_neighbours(preset: str, tmp_path: Path) -> None:
    path = tmp_path / "s.onnx"
    onnx.save(by_row(preset, "step"), path)
    engine = load(path)
    assert isinstance(engine, StepRuntime)
    rng = np.random.default_rng(1)
    spec = engine.spec
    shape = (4, spec.architecture.prefix_length + spec.task.sequence_length, spec.architecture.hidden_size)
    y, z = (rng.normal(size=shape).astype(np.float32) for _ in range(2))
    # Neighbours a thousand times as large would move a scale over the batch.
    loud = np.array([1, 1000, 1000, 1000], np.float32)[:, None, None]
    others = np.concatenate((TOKENS[:1], TOKENS[5:8]))
    reset = np.zeros(4, bool)

    def first(result: StepResult) -> list[np.ndarray]:
        return [np.asarray(part)[:1] for part in (result.y, result.z, result.logits, result.halt_logit)]

    together = first(engine.step(TOKENS[:4], reset, y, z))
    for ours, theirs in zip(together, first(engine.step(others, reset, y * loud, z * loud))):
        np.testing.assert_array_equal(ours, theirs)
    for ours, theirs in zip(together, first(engine.step(TOKENS[:1], reset[:1], y[:1], z[:1]))):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_row_of_zeros_stays_one() -> None:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["out"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [2, 2])],
        [numpy_helper.from_array(np.array([[1, 0], [2, 0], [-4, 0]], np.float32), "w")],
    )
    int8.quantize_by_row(graph, ["w"])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(int8.CONTRIB, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (out,) = session.run(None, {"x": np.array([[0, 0, 0], [1, -1, 127]], np.float32)})
    assert np.abs(out - np.array([[0, 0], [1 - 2 - 4 * 127, 0]])).max() < 2


def test_the_static_form_builds_for_tensorrt(tmp_path: Path) -> None:
    model = exported("trm-mlp", "loop", precision="int8", static_scales=True)
    counts = operators(model)
    # Two blocks, each in the update and in the closing: four products a block, and the head.
    assert (counts["QuantizeLinear"], counts["DequantizeLinear"]) == (8, 16)
    assert len(products_with_weights(model)) == 8 + 1
    onnx.save(model, tmp_path / "s.onnx")
    built = build_engine(tmp_path / "s.onnx", tmp_path / "s.plan", RTX)
    assert (built.precision, built.precision_source) == ("int8", "network")
    # ONNX Runtime takes it as well, which is how an export is checked without a GPU.
    report = parity.compare(
        *reference_and_controls(random_model(tiny_spec("trm-mlp")), 1),
        [("s.onnx", load(tmp_path / "s.onnx"))],
        TOKENS,
        solved=None,
        max_steps=6,
        halt_threshold=0.0,
    )
    assert all(difference.passed for difference in report.engines[0].step_differences)


def test_the_static_form_of_attention_builds(tmp_path: Path) -> None:
    model = plain("trm-att")
    groups = int8.weight_groups(random_model(tiny_spec("trm-att")), model.graph)
    assert set(groups.values()) == {"attention qkv", "attention out", "channel gate_up", "channel down", "answer head"}
    int8.quantize_statically(model.graph, dict.fromkeys(int8.chosen(groups, int8.FLOAT_STATIC), 4.0))
    onnx.save(model, tmp_path / "s.onnx")
    assert build_engine(tmp_path / "s.onnx", tmp_path / "s.plan", RTX).precision == "int8"


def test_tensorrt_is_not_given_the_form_for_cpus(tmp_path: Path) -> None:
    onnx.save(by_row("trm-mlp", "loop"), tmp_path / "s.onnx")
    assert INT8_BY_ROW in onnx_file.read(tmp_path / "s.onnx").operators
    with pytest.raises(CannotRunHere, match=r"scale for each row, for CPUs.*--format rtx --precision int8"):
        build_engine(tmp_path / "s.onnx", tmp_path / "s.plan", RTX)


def test_scales_cover_all_steps_and_uses() -> None:
    model = random_model(tiny_spec("trm-mlp"))
    flat = plain("trm-mlp", "step", write_out=True)
    groups = int8.weight_groups(model, flat.graph)
    assert set(groups.values()) == {"token gate_up", "token down", "channel gate_up", "channel down", "answer head"}
    found = largest_inputs(flat, list(groups), model.spec, puzzles.get("sudoku-4x4").examples()[:4])
    assert set(found) == set(groups)
    for weight, group in groups.items():
        # What follows an RMSNorm over D = 32 channels has a magnitude between 1 and sqrt(32).
        if group == "channel gate_up" or group == "answer head":
            assert 1 < found[weight] < 6
        assert 0 < found[weight] < 100

    # Fewer steps, or only the first use of a weight, see other values.
    tokens = puzzles.get("sudoku-4x4").examples()[:4]
    once = replace(model.spec, halting=replace(model.spec.halting, max_steps=1))
    assert all(found[weight] >= scale for weight, scale in largest_inputs(flat, list(groups), once, tokens).items())
    assert found != largest_inputs(flat, list(groups), once, tokens)
    used: set[str] = set()
    for node in flat.graph.node:
        if node.op_type == "MatMul" and node.input[1] in groups:
            if node.input[1] in used:
                node.input[1] += "/again"
            used.add(node.input[1])
    again = [tensor for tensor in flat.graph.initializer if f"{tensor.name}/again" in used]
    for tensor in again:
        copy = flat.graph.initializer.add()
        copy.CopyFrom(tensor)
        copy.name += "/again"
    assert {groups[tensor.name] for tensor in again} == set(groups.values()) - {"answer head"}
    first = largest_inputs(flat, list(groups), model.spec, tokens)
    assert all(found[tensor.name] >= first[tensor.name] for tensor in again)
    assert found != first


def test_sensitivity_finds_both_halves_of_a_product_that_the_export_divides() -> None:
    model = random_model(tiny_spec("trm-mlp"))
    groups = int8.weight_groups(model, exported("trm-mlp", "step").graph)
    # Of two blocks, each gate_up twice.
    assert Counter(groups.values()) == {
        "token gate_up": 4, "token down": 2, "channel gate_up": 4, "channel down": 2, "answer head": 1,
    }  # fmt: skip


def test_calibration_puzzles(tmp_path: Path) -> None:
    spec = tiny_spec("trm-mlp")
    file = tmp_path / "p.txt"
    file.write_text("1...............\n.2..............\n")
    assert questions(spec, file).shape == (2, 16)
    assert len(questions(spec, None)) > 0
    file.write_text("\n")
    with pytest.raises(InputError, match=r"p\.txt: holds no puzzle"):
        questions(spec, file)
