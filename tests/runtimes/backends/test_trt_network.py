"""Networks of TensorRT, evaluated: loops and layers, of networks that are made by hand and of single operators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from trm_deploy.errors import ArtefactError, CannotRunHere
from trm_deploy.runtimes.backends.trt_network.evaluator import Evaluator
from trm_deploy.runtimes.backends.trt_network.network import parse, read
from trm_deploy.trt import flavours

trt = pytest.importorskip("tensorrt_rtx")


class Made:
    """A network that is made by hand, through TensorRT's own API."""

    def __init__(self) -> None:
        logger = flavours.make_logger(trt)
        self.builder = trt.Builder(logger)
        self.definition = self.builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        self._logger = logger

    def constant(self, value: Any, dtype: Any = np.float32) -> Any:
        array = np.asarray(value, dtype)
        return self.definition.add_constant(array.shape, array).get_output(0)

    def input(self, name: str, dtype: Any, shape: tuple[int, ...]) -> Any:
        return self.definition.add_input(name, dtype, shape)

    def elementwise(self, a: Any, b: Any, operation: str) -> Any:
        return self.definition.add_elementwise(a, b, getattr(trt.ElementWiseOperation, operation)).get_output(0)

    def evaluated(self, *outputs: Any, **feeds: Any) -> tuple[list[NDArray[Any]], list[list[int]]]:
        """The values of tensors, and the turns of the loops."""
        for tensor in outputs:
            self.definition.mark_output(tensor)
        evaluator = Evaluator(read(trt, self.definition, "made.onnx"))
        found = evaluator.run({name: np.asarray(value) for name, value in feeds.items()})
        return [found[tensor.name] for tensor in outputs], list(evaluator.turns.values())

    def parsed(self, model: onnx.ModelProto) -> Made:
        parser = trt.OnnxParser(self.definition, self._logger)
        assert parser.parse(model.SerializeToString())
        self._parser = parser
        return self

    def layers(self, kind: str) -> list[Any]:
        """The layers of a kind, of its class."""
        found = [self.definition.get_layer(index) for index in range(self.definition.num_layers)]
        chosen = [layer for layer in found if layer.type.name == kind]
        for layer in chosen:
            layer.__class__ = getattr(trt, {"TRIP_LIMIT": "ITripLimitLayer", "CONSTANT": "IConstantLayer"}[kind])
        return chosen


def doubling(made: Made, *, count: int | None = None, below: float | None = None) -> Any:
    """A loop that doubles 1 a number of times, or while it is below a bound; the loop, and the recurrence."""
    loop = made.definition.add_loop()
    value = loop.add_recurrence(made.constant(1.0))
    value.set_input(1, made.elementwise(value.get_output(0), made.constant(2.0), "PROD"))
    if count is not None:
        loop.add_trip_limit(made.constant(count, np.int32), trt.TripLimit.COUNT)
    if below is not None:
        go_on = made.elementwise(value.get_output(0), made.constant(below), "LESS")
        loop.add_trip_limit(go_on, trt.TripLimit.WHILE)
    return loop, value.get_output(0)


@pytest.mark.parametrize(
    ("count", "below", "turns"),
    [(0, None, 0), (1, None, 1), (5, None, 5), (None, 1.0, 0), (None, 5.0, 3), (2, 5.0, 2), (7, 5.0, 3)],
)
def test_a_loop_turns_as_often_as_both_limits_allow(count: int | None, below: float | None, turns: int) -> None:
    made = Made()
    loop, value = doubling(made, count=count, below=below)
    last = loop.add_loop_output(value, trt.LoopOutput.LAST_VALUE, 0).get_output(0)
    (found,), ((taken,),) = made.evaluated(last)
    assert (float(found), taken) == (2.0**turns, turns)


def test_a_condition_that_a_recurrence_carries_is_looked_at_before_each_turn() -> None:
    """The parser makes a Loop's condition so: what the body gives counts from the next turn on."""
    made = Made()
    loop, value = doubling(made)
    go_on = loop.add_recurrence(made.constant(True, np.bool_))
    doubled = made.elementwise(value, made.constant(2.0), "PROD")
    go_on.set_input(1, made.elementwise(doubled, made.constant(5.0), "LESS"))
    loop.add_trip_limit(go_on.get_output(0), trt.TripLimit.WHILE)
    last = loop.add_loop_output(value, trt.LoopOutput.LAST_VALUE, 0).get_output(0)
    (found,), ((taken,),) = made.evaluated(last)
    assert (float(found), taken) == (8.0, 3)


@pytest.mark.parametrize("axis", [0, 1])
def test_the_turns_are_stacked_along_an_axis_and_in_reverse(axis: int) -> None:
    made = Made()
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    length = made.constant(3, np.int32)
    outputs = []
    for reverse, kind in ((False, trt.LoopOutput.CONCATENATE), (False, trt.LoopOutput.REVERSE), (True, None)):
        loop = made.definition.add_loop()
        loop.add_trip_limit(length, trt.TripLimit.COUNT)
        row = loop.add_iterator(made.constant(rows), 0, reverse).get_output(0)
        output = loop.add_loop_output(row, kind or trt.LoopOutput.CONCATENATE, axis)
        output.set_input(1, length)
        outputs.append(output.get_output(0))
    (forward, backward, reversed_), _ = made.evaluated(*outputs)
    np.testing.assert_array_equal(forward, rows if axis == 0 else rows.T)
    np.testing.assert_array_equal(backward, np.flip(forward, axis))
    np.testing.assert_array_equal(reversed_, backward)


def test_what_is_stacked_is_filled_up_and_must_have_room() -> None:
    for room, expected in ((4, [1, 2, 4]), (2, None)):
        made = Made()
        loop, value = doubling(made, count=3)
        output = loop.add_loop_output(value, trt.LoopOutput.CONCATENATE, 0)
        output.set_input(1, made.constant(room, np.int32))
        if expected is None:
            with pytest.raises(CannotRunHere, match="has room for 2 turns, the loop took 3"):
                made.evaluated(output.get_output(0))
        else:
            (found,), _ = made.evaluated(output.get_output(0))
            assert found.shape == (4,)
            assert found[:3].tolist() == expected


def test_loops_nest_by_what_they_use() -> None:
    """Adds 1, 2, 4, ... to a sum: a loop that doubles inside one that counts."""
    made = Made()
    outer = made.definition.add_loop()
    outer.add_trip_limit(made.constant(4, np.int32), trt.TripLimit.COUNT)
    turn = outer.add_recurrence(made.constant(0, np.int32))
    turn.set_input(1, made.elementwise(turn.get_output(0), made.constant(1, np.int32), "SUM"))
    total = outer.add_recurrence(made.constant(0.0))
    inner = made.definition.add_loop()
    inner.add_trip_limit(turn.get_output(0), trt.TripLimit.COUNT)
    power = inner.add_recurrence(made.constant(1.0))
    power.set_input(1, made.elementwise(power.get_output(0), made.constant(2.0), "PROD"))
    powered = inner.add_loop_output(power.get_output(0), trt.LoopOutput.LAST_VALUE, 0).get_output(0)
    total.set_input(1, made.elementwise(total.get_output(0), powered, "SUM"))
    summed = outer.add_loop_output(total.get_output(0), trt.LoopOutput.LAST_VALUE, 0).get_output(0)
    (found,), turns = made.evaluated(summed)
    assert float(found) == 1 + 2 + 4 + 8
    assert sorted(turns) == [[0, 1, 2, 3], [4]]


def test_a_loop_without_a_limit_is_refused() -> None:
    made = Made()
    loop, value = doubling(made)
    with pytest.raises(CannotRunHere, match=r"the loop .* has no trip limit"):
        made.evaluated(loop.add_loop_output(value, trt.LoopOutput.LAST_VALUE, 0).get_output(0))


def one_operator(operator: str, *inputs: Any, gives: int = TensorProto.FLOAT, **attributes: Any) -> onnx.ModelProto:
    """A model of one operator on constants."""
    constants = [onnx.numpy_helper.from_array(np.asarray(value), f"in{place}") for place, value in enumerate(inputs)]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])
    node = helper.make_node(operator, ["x", *(tensor.name for tensor in constants)], ["y"], name="odd", **attributes)
    graph = helper.make_graph([node], "g", [x], [helper.make_tensor_value_info("y", gives, None)], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


# Rows of what an evaluator must know by itself, with numpy's answer for them.
X = np.array([[-2.6, -0.5, 0.5, 2.6]], np.float32)
OPERATORS: list[tuple[onnx.ModelProto, Callable[[NDArray[Any]], NDArray[Any]]]] = [
    (one_operator("Softmax", axis=-1), lambda x: np.exp(x) / np.exp(x).sum()),
    (one_operator("Relu"), lambda x: np.maximum(x, 0)),
    (one_operator("Sigmoid"), lambda x: 1 / (1 + np.exp(-x))),
    (one_operator("Round"), np.rint),
    (one_operator("Slice", np.array([1]), np.array([4]), np.array([1]), np.array([2])), lambda x: x[:, 1:4:2]),
    (one_operator("Reshape", np.array([0, 2, -1])), lambda x: x.reshape(1, 2, 2)),
    (one_operator("Expand", np.array([3, 1, 4])), lambda x: np.broadcast_to(x, (3, 1, 4))),
    (one_operator("Cast", to=TensorProto.INT32, gives=TensorProto.INT32), lambda x: x.astype(np.int32)),
    (one_operator("Gather", np.array([-1, 0]), axis=1), lambda x: x[:, [-1, 0]]),
    (
        one_operator("QuantizeLinear", np.float32(0.02), np.int8(0), gives=TensorProto.INT8),
        lambda x: np.clip(np.rint(x / 0.02), -128, 127),
    ),
]


@pytest.mark.parametrize(("model", "expected"), OPERATORS, ids=[model.graph.node[0].op_type for model, _ in OPERATORS])
def test_operators(model: onnx.ModelProto, expected: Callable[[NDArray[Any]], NDArray[Any]], tmp_path: Path) -> None:
    onnx.save(model, tmp_path / "one.onnx")
    found = Evaluator(parse(tmp_path / "one.onnx")).run({"x": X})["y"]
    np.testing.assert_allclose(found, expected(X), rtol=1e-6)


def test_a_layer_that_is_not_known_is_named_with_its_operator(tmp_path: Path) -> None:
    onnx.save(one_operator("CumSum", np.int64(1)), tmp_path / "one.onnx")
    with pytest.raises(CannotRunHere, match=r"one\.onnx: TensorRT reads .*odd.* \(CUMULATIVE\)") as caught:
        parse(tmp_path / "one.onnx")
    assert caught.value.exit_code == 4
    onnx.save(one_operator("Erf"), tmp_path / "one.onnx")
    with pytest.raises(CannotRunHere, match=r"the layer .*odd.* \(UNARY\) has op ERF"):
        Evaluator(parse(tmp_path / "one.onnx")).run({"x": X})


def test_what_tensorrt_cannot_parse_is_refused(tmp_path: Path) -> None:
    onnx.save(one_operator("Unique"), tmp_path / "one.onnx")
    with pytest.raises(ArtefactError, match=r"one\.onnx: TensorRT for RTX .* cannot parse it"):
        parse(tmp_path / "one.onnx")
