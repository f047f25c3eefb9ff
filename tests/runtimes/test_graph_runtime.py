"""What a graph's runtime checks, whatever computes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import tiny_spec
from trm_deploy.errors import ArtefactError, InputError
from trm_deploy.runtimes.graph_runtime import GraphStepRuntime, LoadedGraph, State, open_graph
from trm_deploy.signature import Graph, Precision, Signature, TensorSpec, signature

SPEC = tiny_spec("trm-mlp", identifiers=3)


class Recorded:
    """A session that gives zeros and keeps what it was fed."""

    def __init__(self, found: Signature, largest_batch: int | None = None) -> None:
        self.inputs, self.outputs = found.inputs, found.outputs
        self.smallest_batch = 1
        self.largest_batch = largest_batch
        self.feeds: list[dict[str, Any]] = []

    def run(self, feeds: Mapping[str, Any]) -> Mapping[str, Any]:
        self.feeds.append(dict(feeds))
        batch = len(feeds["tokens"])
        return {
            tensor.name: np.zeros((batch, *tensor.shape[1:]), np.int32 if tensor.dtype == "int32" else np.float32)
            for tensor in self.outputs
        }


def loaded(graph: Graph, precision: str = "fp32", steps: int | None = None) -> LoadedGraph:
    return LoadedGraph(
        Path("s.onnx"), SPEC, graph, steps, precision, "onnxruntime", "Recorded", precision
    )  # fmt: skip


def changed(found: Signature, name: str, **what: Any) -> Signature:
    """A signature with one tensor changed; None in place of the tensor's name takes it away."""

    def edit(tensors: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        edited = (replace(tensor, **what) if tensor.name == name and what else tensor for tensor in tensors)
        return tuple(tensor for tensor in edited if what or tensor.name != name)

    return Signature(edit(found.inputs), edit(found.outputs))


@pytest.mark.parametrize(
    ("name", "what", "message"),
    [
        ("logits", {}, r"has no logits, its spec expects logits float32 \[batch, 16, 6\]"),
        ("puzzle_ids", {}, r"has no puzzle_ids, its spec expects puzzle_ids int32 \[batch\]"),
        ("tokens", {"dtype": "tensor(int64)"}, r"has tokens tensor\(int64\) \[batch, 16\], its spec expects tokens in"),
        ("y", {"shape": ("batch", 17, 32)}, r"has y float32 \[batch, 17, 32\], its spec expects y float32 \[batch, 18"),
        ("z_next", {"dtype": "float16"}, r"has z_next float16 .*, its spec expects z_next float32"),
        ("reset", {"shape": ()}, r"has reset bool \[\], its spec expects reset bool \[batch\]"),
    ],
)
def test_a_graph_of_another_signature_is_refused(name: str, what: dict[str, Any], message: str) -> None:
    session = Recorded(changed(signature(SPEC, "step"), name, **what))
    with pytest.raises(
        ArtefactError, match=rf"^s\.onnx: the graph {message}.*; type: trm-deploy export CHECKPOINT --format onn"
    ):
        open_graph(session, loaded("step"))


def test_an_input_that_no_spec_tells_of_is_refused() -> None:
    found = signature(SPEC, "loop")
    session = Recorded(Signature((*found.inputs, TensorSpec("seed", "int32", ())), found.outputs))
    with pytest.raises(
        ArtefactError, match="an input 'seed' that its spec does not tell of, expected tokens, puzzle_i"
    ):
        open_graph(session, loaded("loop"))
    more = Recorded(Signature(found.inputs, (*found.outputs, TensorSpec("debug", "float32", ("batch",)))))
    assert open_graph(more, loaded("loop")).graph == "loop"


@pytest.mark.parametrize(
    ("precision", "state", "refused"),
    [
        ("int8", "float32", ""),
        ("int8", "float16", ""),
        ("bf16", "float32", ""),
        ("unknown", "bfloat16", ""),
        ("fp16", "float32", "has y float32"),
    ],
)
def test_the_type_of_the_state_follows_from_the_precision(precision: str, state: Any, refused: str) -> None:
    session = Recorded(signature(SPEC, "step", state=state))
    if refused:
        with pytest.raises(ArtefactError, match=refused):
            open_graph(session, loaded("step", precision))
    else:
        assert open_graph(session, loaded("step", precision)).precision == precision


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_what_a_step_is_fed(precision: Precision) -> None:
    session = Recorded(signature(SPEC, "step", precision), largest_batch=4)
    runtime = open_graph(session, loaded("step", precision))
    assert isinstance(runtime, GraphStepRuntime)
    tokens, reset = np.ones((2, 16), np.int32), np.array([True, False])
    y, z = (np.full((2, 18, 32), value, np.float32) for value in (1, 2))
    result = runtime.step(tokens, reset, y, z)
    (feeds,) = session.feeds
    assert sorted(feeds) == ["puzzle_ids", "reset", "tokens", "y", "z"]
    assert feeds["y"].dtype == feeds["z"].dtype == (np.float16 if precision == "fp16" else np.float32)
    np.testing.assert_array_equal(feeds["puzzle_ids"], [0, 0])
    # What the session gave goes back as it is; what another one gave comes as an array.
    runtime.step(tokens, reset, result.y, result.z, np.array([2, 1], np.int32))
    assert session.feeds[1]["y"] is result.y.value
    np.testing.assert_array_equal(session.feeds[1]["puzzle_ids"], [2, 1])
    runtime.step(tokens, reset, State(Recorded(signature(SPEC, "step")), y), z)
    np.testing.assert_array_equal(session.feeds[2]["y"], y)
    with pytest.raises(InputError, match=r"reset is int64 \[2\], expected bool \[2\]"):
        runtime.step(tokens, reset.astype(np.int64), y, z)
    with pytest.raises(InputError, match=r"the state z is \[2, 17, 32\], expected \[2, 18, 32\]"):
        runtime.step(tokens, reset, y, z[:, 1:])
    with pytest.raises(InputError, match="the batch has 5 samples, this engine takes up to 4 a step"):
        runtime.step(np.ones((5, 16), np.int32), np.ones(5, bool), *(np.zeros((5, 18, 32), np.float32),) * 2)


def test_what_a_loop_is_fed_in_batches_that_it_takes() -> None:
    session = Recorded(signature(SPEC, "loop"), largest_batch=2)
    runtime = open_graph(session, loaded("loop"))
    ids = np.array([0, 1, 2, 1, 0], np.int32)
    solution = runtime.solve(np.ones((5, 16), np.int32), ids, max_steps=7, halt_threshold=0.5)
    assert solution.answer.shape == (5, 16)
    assert [feeds["puzzle_ids"].tolist() for feeds in session.feeds] == [[0, 1], [2, 1], [0]]
    assert {(float(feeds["max_steps"]), float(feeds["halt_threshold"])) for feeds in session.feeds} == {(7, 0.5)}
    unrolled = Recorded(signature(SPEC, "unrolled"))
    open_graph(unrolled, loaded("unrolled", steps=3)).solve(np.ones((1, 16), np.int32), max_steps=3, halt_threshold=0.0)
    assert sorted(unrolled.feeds[0]) == ["halt_threshold", "puzzle_ids", "tokens"]
