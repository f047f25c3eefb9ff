"""SwiGLU's first product as two: the same numbers, and no Split behind a product."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from trm_deploy.export.graph.passes.halves import split_products


def swiglu(weight: np.ndarray, *, uses: int = 1, axis: int = -1) -> onnx.ModelProto:
    """sigmoid(gate(x)) * up(x) of x [B, 3], where the product may have another use."""
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["both"]),
        helper.make_node("Split", ["both"], ["gate", "up"], axis=axis, num_outputs=2),
        helper.make_node("Sigmoid", ["gate"], ["opened"]),
        helper.make_node("Mul", ["opened", "up"], ["out"]),
        *(helper.make_node("Abs", ["both"], [f"other{number}"]) for number in range(1, uses)),
    ]
    outputs = ["out", *(f"other{number}" for number in range(1, uses))]
    graph = helper.make_graph(
        nodes,
        "swiglu",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 5, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 5, "width"]) for name in outputs],
        [numpy_helper.from_array(weight, "weight")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: list[np.ndarray] = session.run(None, {"x": x})
    return found


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


WEIGHT = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
X = np.random.default_rng(1).standard_normal((2, 5, 3)).astype(np.float32)


def test_two_products_give_what_one_gave() -> None:
    model = swiglu(WEIGHT)
    (expected,) = run(model, X)
    split_products(model.graph)
    onnx.checker.check_model(model, full_check=True)
    assert operators(model) == ["MatMul", "MatMul", "Sigmoid", "Mul"]
    assert {tensor.name: list(tensor.dims) for tensor in model.graph.initializer} == {
        "weight/gate": [3, 4],
        "weight/up": [3, 4],
    }
    np.testing.assert_allclose(run(model, X)[0], expected, rtol=1e-6)


def test_a_product_with_another_use_stays_whole() -> None:
    model = swiglu(WEIGHT, uses=2)
    split_products(model.graph)
    assert operators(model) == ["MatMul", "Split", "Sigmoid", "Mul", "Abs"]
    assert [tensor.name for tensor in model.graph.initializer] == ["weight"]


def test_a_split_of_another_axis_stays() -> None:
    model = swiglu(np.ascontiguousarray(WEIGHT[:, :2]), axis=0)
    split_products(model.graph)
    assert "Split" in operators(model)


def test_weights_used_twice_are_halved_once() -> None:
    model = swiglu(WEIGHT)
    first = list(model.graph.node)
    for node in first:
        again = onnx.NodeProto()
        again.CopyFrom(node)
        again.input[:] = [name if name in ("x", "weight") else f"{name}/2" for name in node.input]
        again.output[:] = [f"{name}/2" for name in node.output]
        model.graph.node.append(again)
    model.graph.output.append(helper.make_tensor_value_info("out/2", TensorProto.FLOAT, ["batch", 5, 4]))
    split_products(model.graph)
    onnx.checker.check_model(model, full_check=True)
    assert operators(model).count("Split") == 0
    assert len(model.graph.initializer) == 2
    one, two = run(model, X)
    np.testing.assert_array_equal(one, two)
