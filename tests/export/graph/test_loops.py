"""The Loops of a graph: each has a trip count, and only the one that may end before it a condition."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from tests.conftest import exported
from trm_deploy.export.graph.nested import graphs
from trm_deploy.signature import Graph


def loops(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    for graph in graphs(model.graph):
        yield from (node for node in graph.node if node.op_type == "Loop")


@pytest.mark.parametrize(("graph", "conditions"), [("loop", 1), ("step", 0)])
def test_every_loop_has_a_trip_count_and_only_halting_is_a_condition(name: str, graph: Graph, conditions: int) -> None:
    found = list(loops(exported(name, graph)))
    assert len(found) == 2 + conditions
    assert all(node.input[0] for node in found)
    assert sum(bool(node.input[1]) for node in found) == conditions
    if conditions:
        (outer,) = (node for node in found if node.input[1])
        counted = {output: node for node in exported(name, graph).graph.node for output in node.output}
        assert (counted[outer.input[0]].op_type, counted[outer.input[0]].input[0]) == ("Cast", "max_steps")


def with_conditions(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with conditions alone where they decide, and constant ones elsewhere: another way to say it."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    changed.graph.initializer.append(numpy_helper.from_array(np.array(True), "always"))
    for node in loops(changed):
        if node.input[1]:
            node.input[0] = ""
        else:
            node.input[1] = "always"
    return changed


def run(model: onnx.ModelProto, feeds: dict[str, NDArray[np.generic]]) -> list[NDArray[np.generic]]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)  # type: ignore[no-any-return]


@pytest.mark.parametrize("threshold", [0.0, np.inf])
def test_onnxruntime_computes_the_same_bits_as_with_conditions(name: str, threshold: float) -> None:
    model = exported(name, "loop")
    tokens = np.random.default_rng(0).integers(6, size=(7, 16)).astype(np.int32)
    for limit in (1, 4):
        feeds: dict[str, NDArray[np.generic]] = {
            "tokens": tokens,
            "max_steps": np.array(limit, np.int32),
            "halt_threshold": np.array(threshold, np.float32),
        }
        for ours, theirs in zip(run(model, feeds), run(with_conditions(model), feeds)):
            np.testing.assert_array_equal(ours, theirs)


def test_a_loop_that_is_not_to_begin_gives_its_start(name: str) -> None:
    """Our callers refuse a limit of 0, and a reader may not: neither may count to another number."""
    feeds: dict[str, NDArray[np.generic]] = {
        "tokens": np.zeros((2, 16), np.int32),
        "max_steps": np.array(0, np.int32),
        "halt_threshold": np.array(0, np.float32),
    }
    _, steps, _, logits = run(exported(name, "loop"), feeds)
    assert steps.tolist() == [0, 0]
    assert not logits.any()
