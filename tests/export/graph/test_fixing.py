"""A graph of one batch size, and one with its limits baked in, compute what the free one computes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.conftest import GRAPHS, Graph, exported, random_model, tiny_spec
from trm_deploy.artefacts.onnx_file import LIMITS_KEY, limits_text
from trm_deploy.errors import ArtefactError, InputError
from trm_deploy.export.graph.passes.fixing import bake_limits, fix_batch
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.runtimes import load
from trm_deploy.runtimes.base import Runtime, Solution, StepRuntime, initial_numpy_state
from trm_deploy.runtimes.graph_runtime import GraphRuntime
from trm_deploy.signature import BakedLimits

STEPS = 4
# A tiny random model's halting logits are spread around 0, so that samples halt at different steps.
LIMITS = BakedLimits(STEPS, 0.0)
TOLERANCE = 1e-5
RUNTIMES = ("onnxruntime", "openvino", "trt-network")


def free(graph: Graph, name: str = "trm-mlp") -> onnx.ModelProto:
    return exported(name, graph, steps=STEPS if graph == "unrolled" else None)


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    onnx.save(model, folder / "m.onnx")
    return folder / "m.onnx"


def baked(model: onnx.ModelProto) -> onnx.ModelProto:
    model = copy.deepcopy(model)
    bake_limits(model, LIMITS)
    entry = model.metadata_props.add()
    entry.key, entry.value = LIMITS_KEY, limits_text(LIMITS)
    return model


def questions(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    spec = tiny_spec("trm-mlp")
    shape = (count, spec.task.sequence_length)
    return np.random.default_rng(1).integers(len(spec.task.vocabulary), size=shape).astype(np.int32)


def solved(runtime: Runtime, count: int) -> Solution:
    return runtime.solve(questions(count), max_steps=STEPS, halt_threshold=0.0)


def assert_same(found: Solution, expected: Solution) -> None:
    assert len(set(expected.steps)) > 1
    np.testing.assert_array_equal(found.steps, expected.steps)
    np.testing.assert_array_equal(found.answer, expected.answer)
    np.testing.assert_allclose(found.logits, expected.logits, atol=TOLERANCE)
    np.testing.assert_allclose(found.halt_logit, expected.halt_logit, atol=TOLERANCE)


def free_sizes(graph: onnx.GraphProto) -> Iterator[str]:
    for value in (*graph.input, *graph.output):
        yield from (size.dim_param for size in value.type.tensor_type.shape.dim if not size.HasField("dim_value"))
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from free_sizes(attribute.g)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("graph", GRAPHS)
def test_a_graph_of_one_batch_size_takes_any_number_of_puzzles(graph: Graph, runtime: str, tmp_path: Path) -> None:
    model = fix_batch(copy.deepcopy(free(graph)), 3)
    assert {entry.key for entry in model.metadata_props} == {entry.key for entry in free(graph).metadata_props}
    onnx.checker.check_model(model, full_check=True)
    assert list(free_sizes(model.graph)) == []
    assert not any(node.op_type == "Shape" for node in model.graph.node), "a size that is still computed"
    engine = load(saved(model, tmp_path), runtime)
    assert isinstance(engine, GraphRuntime)
    assert engine.largest_batch == 3
    expected = solved(load(saved(free(graph), tmp_path)), 8)
    assert_same(solved(engine, 8), expected)  # in parts of 3, 3 and 2


@pytest.mark.parametrize("name", ["trm-att", "hrm"])
def test_every_architecture_has_a_graph_of_one_batch_size(name: str, tmp_path: Path) -> None:
    model = fix_batch(copy.deepcopy(free("loop", name)), 2)
    assert list(free_sizes(model.graph)) == []
    assert_same(solved(load(saved(model, tmp_path)), 8), solved(load(saved(free("loop", name), tmp_path)), 8))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_steps_of_fewer_puzzles_than_the_batch(runtime: str, tmp_path: Path) -> None:
    engine = load(saved(fix_batch(copy.deepcopy(free("step")), 4), tmp_path), runtime)
    other = load(saved(free("step"), tmp_path))
    tokens, first = questions(2), np.ones(2, bool)
    found = []
    for each in (engine, other):
        assert isinstance(each, StepRuntime)
        one = each.step(tokens, first, *initial_numpy_state(each.spec, 2))
        two = each.step(tokens, ~first, one.y, one.z)  # from what is on the device
        again = each.step(tokens, ~first, np.asarray(two.y), np.asarray(two.z))
        found.append([np.asarray(getattr(again, name)) for name in ("y", "z", "answer", "halt_logit", "logits")])
    for ours, theirs in zip(*found):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert isinstance(engine, StepRuntime)
    with pytest.raises(InputError, match="the batch has 5 samples, this engine takes up to 4 a step"):
        engine.step(questions(5), np.ones(5, bool), *initial_numpy_state(engine.spec, 5))


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("graph", ["loop", "unrolled"])
def test_limits_that_are_baked_in(graph: Graph, runtime: str, tmp_path: Path) -> None:
    model = baked(free(graph))
    assert [value.name for value in model.graph.input] == ["tokens"]
    engine = load(saved(model, tmp_path), runtime)
    assert (engine.baked, engine.fixed_steps) == (LIMITS, STEPS)
    assert_same(solved(engine, 8), solved(load(saved(free(graph), tmp_path)), 8))
    with pytest.raises(InputError, match="max_steps is 3, but this engine has its limit of 4 steps baked in; use"):
        engine.solve(questions(1), max_steps=3, halt_threshold=0.0)
    with pytest.raises(InputError, match="the halting threshold is 1, but this engine has 0 baked in; use --halt-thr"):
        engine.solve(questions(1), max_steps=STEPS, halt_threshold=1.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"max_steps": 4}',
        '{"max_steps": 0, "halt_threshold": 0.0}',
        '{"max_steps": 4, "halt_threshold": NaN}',
    ],
)
def test_limits_that_make_no_sense_are_refused(text: str, tmp_path: Path) -> None:
    model = baked(free("loop"))
    next(entry for entry in model.metadata_props if entry.key == LIMITS_KEY).value = text
    with pytest.raises(ArtefactError, match=r"m\.onnx: the metadata entry 'trm_deploy\.limits' is"):
        load(saved(model, tmp_path))


def test_a_graph_without_limits_that_does_not_say_so_is_refused(tmp_path: Path) -> None:
    model = copy.deepcopy(free("loop"))
    bake_limits(model, LIMITS)
    with pytest.raises(ArtefactError, match="the graph has no max_steps, its spec expects max_steps"):
        load(saved(model, tmp_path))


def test_the_reference_halts_at_several_steps() -> None:
    model: RecursiveReasoner = random_model(tiny_spec("trm-mlp"))
    assert model.spec.halting.threshold == 0.0
