"""float16 and bfloat16 graphs: what is narrow, what stays float32, and that they compute what PyTorch computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

from tests.conftest import GRAPHS, PRESETS, Graph, exported, random_model, tiny_spec
from tests.stand_ins import types_of
from trm_deploy.errors import CannotRunHere
from trm_deploy.evaluation import parity
from trm_deploy.evaluation.parity.pytorch import reference_and_controls
from trm_deploy.export.engine.build import build_engine
from trm_deploy.export.engine.options import BatchProfile, EngineOptions
from trm_deploy.export.graph.nested import graphs
from trm_deploy.export.graph.passes.widening import widened
from trm_deploy.inspection.artefact import inspect
from trm_deploy.models.precision import cast
from trm_deploy.runtimes import load
from trm_deploy.runtimes.backends.trt.cuda import bfloat16_bits, from_bfloat16_bits


def test_the_halting_head_keeps_its_float32_values() -> None:
    model = random_model(tiny_spec("trm-mlp"))
    narrow = cast(model, "fp16")
    assert torch.equal(narrow.halt_head.weight, model.halt_head.weight)
    assert narrow.halt_head.weight.dtype == torch.float32
    others = [weight for name, weight in narrow.named_parameters() if not name.startswith("halt_head")]
    assert {weight.dtype for weight in others} == {torch.float16}
    assert model.answer_head.weight.dtype == torch.float32  # the original is left alone


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("preset", PRESETS)
def test_norms_are_float32_and_products_float16(preset: str, graph: Graph) -> None:
    model = exported(preset, graph, steps=2 if graph == "unrolled" else None, precision="fp16")
    inferred = onnx.shape_inference.infer_shapes(model)
    kinds = types_of(inferred)
    found: dict[str, list[int]] = {"ReduceMean": [], "MatMul": [], "Greater": []}
    heads = 0
    for inner in graphs(inferred.graph):
        for node in inner.node:
            heads += node.op_type == "Gemm"
            if node.op_type in found:
                found[node.op_type].append(kinds[node.input[0]])
    assert set(found["ReduceMean"]) == {TensorProto.FLOAT}
    assert set(found["MatMul"]) <= {TensorProto.FLOAT16, TensorProto.FLOAT}
    assert found["MatMul"].count(TensorProto.FLOAT) + heads <= (2 if graph == "unrolled" else 1)  # the halting head
    assert found["MatMul"].count(TensorProto.FLOAT16) >= 5
    assert set(found["Greater"]) <= {TensorProto.FLOAT}
    state = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    assert state.get("y", TensorProto.FLOAT16) == TensorProto.FLOAT16


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("preset", PRESETS)
def test_parity_within_the_bounds_of_float16(preset: str, graph: Graph, tmp_path: Path) -> None:
    path = tmp_path / "s.onnx"
    onnx.save(exported(preset, graph, steps=2 if graph == "unrolled" else None, precision="fp16"), path)
    model = random_model(tiny_spec(preset))
    tokens = np.random.default_rng(0).integers(6, size=(32, 16)).astype(np.int32)
    report = parity.compare(
        *reference_and_controls(model, 1),
        [("s.onnx", load(path))],
        tokens,
        solved=None,
        max_steps=6,
        halt_threshold=0.0,
    )
    report.raise_if_failed()
    largest = (
        max(difference.largest for difference in report.engines[0].step_differences if difference.same_state)
        if graph != "unrolled"
        else 1.0
    )
    assert largest > parity.BOUNDS["fp32"].logits  # it is not float32 in disguise


def test_bfloat16(tmp_path: Path) -> None:
    model = exported("trm-mlp", "step", precision="bf16")
    kinds = types_of(onnx.shape_inference.infer_shapes(model))
    found = [
        (node.op_type, kinds[node.input[0]]) for inner in graphs(model.graph) for node in inner.node if node.input[0]
    ]
    assert {kind for operator, kind in found if operator == "ReduceMean"} == {TensorProto.FLOAT}
    products = [kind for operator, kind in found if operator == "MatMul"]
    assert products.count(TensorProto.BFLOAT16) == 25
    path = tmp_path / "s.onnx"
    onnx.save(model, path)
    with pytest.raises(CannotRunHere, match=r"s\.onnx: is in bf16, .* --precision bf16; TensorRT takes the file"):
        load(path)
    seen = inspect(path)
    assert (seen["graph"], seen["precision"]) == ("step", "bf16")
    assert "ONNX Runtime does not compute on CPUs" in seen["runs_here"]
    settings = EngineOptions(format="rtx", batch=BatchProfile(1, 4, 8), compute_capabilities=("8.6",))
    assert build_engine(path, tmp_path / "s.plan", settings).precision == "bf16"
    # The same graph in float32 arithmetic is what the check after an export looks at.
    onnx.save(widened(model), path)
    engine = load(path)
    assert (engine.precision, engine.arithmetic) == ("bf16", "fp32 with weights in bf16")
    tokens = np.random.default_rng(0).integers(6, size=(32, 16)).astype(np.int32)
    reference = random_model(tiny_spec("trm-mlp"))
    report = parity.compare(
        *reference_and_controls(reference, 1),
        [("s", engine)],
        tokens,
        solved=None,
        max_steps=6,
        halt_threshold=0.0,
    )
    # Not the share that halts: one random sample of 32 at the threshold's edge is three points.
    assert all(difference.passed for difference in report.engines[0].step_differences)


def test_bfloat16_bits() -> None:
    values = np.array([1, -1.5, 3.14159, 1e-20, 65504, 0, 1.00390625, 1.01171875], np.float32)
    expected = torch.from_numpy(values).bfloat16().float().numpy()
    np.testing.assert_array_equal(from_bfloat16_bits(bfloat16_bits(values)), expected)
