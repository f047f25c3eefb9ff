"""Every graph form computes what PyTorch computes, in ONNX Runtime alone."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from tests.conftest import GRAPHS, exported, random_model, tiny_spec
from trm_deploy.artefacts.onnx_file import METADATA_KEY
from trm_deploy.errors import InputError
from trm_deploy.export.graph.assemble import export_onnx
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.models.solve import solve
from trm_deploy.signature import Graph
from trm_deploy.spec import ModelSpec

# Largest difference of a logit after up to 6 free steps of a tiny model; 4e-6 was measured.
TOLERANCE = 1e-4


def questions(spec: ModelSpec, count: int, seed: int = 0) -> NDArray[np.int32]:
    rng = np.random.default_rng(seed)
    return rng.integers(len(spec.task.vocabulary), size=(count, spec.task.sequence_length)).astype(np.int32)


def run(model: onnx.ModelProto, **feeds: object) -> list[NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)  # type: ignore[no-any-return]


def spread_threshold(model: RecursiveReasoner, tokens: NDArray[np.int32]) -> float:
    """A halting threshold at which the samples halt at different steps, far from every halting logit."""
    rows = []
    for step in range(1, model.spec.halting.max_steps + 1):
        rows.append(solve(model, torch.from_numpy(tokens), max_steps=step, halt_threshold=math.inf).halt_logit.numpy())
    trajectory = np.stack(rows)  # [steps, B]
    logits = np.sort(trajectory.ravel())
    best, variety = 0.0, 0
    for low, high in itertools.pairwise(logits):
        middle = float((low + high) / 2)
        over = np.vstack([trajectory > middle, np.ones(trajectory.shape[1], bool)])
        distinct = len(set(over.argmax(0)))
        if high - low > 1e-3 and distinct > variety:
            best, variety = middle, distinct
    assert variety >= 3, "the random model halts nearly everywhere at the same step"
    return best


@pytest.mark.parametrize("unroll_inner", [False, True])
def test_loop_halts_each_sample_at_its_own_step(name: str, tiny: RecursiveReasoner, unroll_inner: bool) -> None:
    graph = exported(name, "loop", unroll_inner=unroll_inner)
    tokens = questions(tiny.spec, 7)
    threshold = spread_threshold(tiny, tokens)
    expected = solve(tiny, torch.from_numpy(tokens), max_steps=6, halt_threshold=threshold)
    answer, steps, halt_logit, logits = run(
        graph, tokens=tokens, max_steps=np.array(6, np.int32), halt_threshold=np.array(threshold, np.float32)
    )
    assert len(set(steps)) >= 3
    np.testing.assert_array_equal(steps, expected.steps.numpy())
    np.testing.assert_array_equal(answer, expected.answer.numpy())
    np.testing.assert_allclose(halt_logit, expected.halt_logit.numpy(), atol=TOLERANCE)
    np.testing.assert_allclose(logits, expected.logits.numpy(), atol=TOLERANCE)


def test_a_sample_computes_the_same_alone_and_in_a_batch(name: str, tiny: RecursiveReasoner) -> None:
    graph = exported(name, "loop")
    tokens = questions(tiny.spec, 5)
    limits = {
        "max_steps": np.array(6, np.int32),
        "halt_threshold": np.array(spread_threshold(tiny, tokens), np.float32),
    }
    together = run(graph, tokens=tokens, **limits)
    for row in range(len(tokens)):
        alone = run(graph, tokens=tokens[row : row + 1], **limits)
        for one, all_ in zip(alone, together):
            np.testing.assert_allclose(one[0], all_[row], atol=TOLERANCE)


def test_loop_stops_at_max_steps_and_an_infinite_threshold_never_halts(name: str, tiny: RecursiveReasoner) -> None:
    graph = exported(name, "loop")
    tokens = questions(tiny.spec, 3)
    for limit in (1, 2, 6):
        expected = solve(tiny, torch.from_numpy(tokens), max_steps=limit, halt_threshold=math.inf)
        _, steps, _, logits = run(
            graph, tokens=tokens, max_steps=np.array(limit, np.int32), halt_threshold=np.array(np.inf, np.float32)
        )
        assert steps.tolist() == [limit] * 3
        np.testing.assert_allclose(logits, expected.logits.numpy(), atol=TOLERANCE)


@pytest.mark.parametrize("unroll_inner", [False, True])
def test_step_continues_from_the_state_and_resets_rows(name: str, tiny: RecursiveReasoner, unroll_inner: bool) -> None:
    graph = exported(name, "step", unroll_inner=unroll_inner)
    tokens = questions(tiny.spec, 2)
    garbage = np.full_like(tiny.initial_state(2)[0].numpy(), 7.0)
    first = run(graph, tokens=tokens, reset=np.array([True, True]), y=garbage, z=garbage)
    # The second row starts anew: its result is the first step's; the first row goes on.
    second = run(graph, tokens=tokens, reset=np.array([False, True]), y=first[0], z=first[1])
    for step, outputs in enumerate((first, second), start=1):
        expected = solve(tiny, torch.from_numpy(tokens), max_steps=step, halt_threshold=math.inf)
        np.testing.assert_allclose(outputs[4][0], expected.logits[0].numpy(), atol=TOLERANCE)
    np.testing.assert_allclose(second[4][1], first[4][1], atol=TOLERANCE)


@pytest.mark.parametrize("steps", [1, 4])
def test_unrolled_has_no_control_flow_and_freezes_halted_rows(name: str, tiny: RecursiveReasoner, steps: int) -> None:
    graph = exported(name, "unrolled", steps=steps)
    assert {node.op_type for node in graph.graph.node}.isdisjoint({"Loop", "If", "Scan"})
    assert not graph.functions
    tokens = questions(tiny.spec, 7)
    threshold = spread_threshold(tiny, tokens)
    expected = solve(tiny, torch.from_numpy(tokens), max_steps=steps, halt_threshold=threshold)
    answer, taken, _, logits = run(graph, tokens=tokens, halt_threshold=np.array(threshold, np.float32))
    np.testing.assert_array_equal(taken, expected.steps.numpy())
    np.testing.assert_array_equal(answer, expected.answer.numpy())
    np.testing.assert_allclose(logits, expected.logits.numpy(), atol=TOLERANCE)


@pytest.mark.parametrize("graph", GRAPHS)
def test_puzzle_ids_are_an_input_where_there_are_several(graph: Graph) -> None:
    model = random_model(tiny_spec("trm-mlp", identifiers=3))
    made = export_onnx(model, graph=graph, steps=2 if graph == "unrolled" else None)
    assert [value.name for value in made.graph.input][:2] == ["tokens", "puzzle_ids"]
    if graph == "loop":
        tokens = np.repeat(questions(model.spec, 1), 3, axis=0)
        ids = np.array([2, 0, 1], np.int32)
        expected = solve(
            model, torch.from_numpy(tokens), torch.from_numpy(ids), max_steps=2, halt_threshold=math.inf
        ).logits.numpy()
        logits = run(
            made,
            tokens=tokens,
            puzzle_ids=ids,
            max_steps=np.array(2, np.int32),
            halt_threshold=np.array(np.inf, np.float32),
        )[3]
        np.testing.assert_allclose(logits, expected, atol=TOLERANCE)
        assert np.abs(expected[0] - expected[1]).max() > 0.01


@pytest.mark.parametrize("graph", GRAPHS)
def test_the_file_keeps_the_contract(name: str, graph: Graph) -> None:
    made = exported(name, graph)
    names = {
        "loop": (["tokens", "max_steps", "halt_threshold"], ["answer", "steps", "halt_logit", "logits"]),
        "step": (["tokens", "reset", "y", "z"], ["y_next", "z_next", "answer", "halt_logit", "logits"]),
        "unrolled": (["tokens", "halt_threshold"], ["answer", "steps", "halt_logit", "logits"]),
    }[graph]
    assert ([v.name for v in made.graph.input], [v.name for v in made.graph.output]) == names
    assert made.ir_version == 10
    assert [(entry.domain, entry.version) for entry in made.opset_import] == [("", 20)]
    metadata = {entry.key: entry.value for entry in made.metadata_props}
    assert ModelSpec.from_json(metadata[METADATA_KEY]) == tiny_spec(name)
    # The batch is free, every other size is known.
    for value in (*made.graph.input, *made.graph.output):
        sizes = value.type.tensor_type.shape.dim
        if sizes:
            assert not sizes[0].HasField("dim_value")
            assert all(size.HasField("dim_value") for size in sizes[1:])


def test_no_trace_of_the_exporting_machine_remains(name: str) -> None:
    data = exported(name, "loop").SerializeToString()
    assert str(Path(__file__).parents[3]).encode() not in data
    assert b"site-packages" not in data


def test_an_opset_below_the_default_is_written_as_asked() -> None:
    made = export_onnx(random_model(tiny_spec("trm-mlp")), graph="loop", opset=18)
    assert made.opset_import[0].version == 18


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_model_with_the_answer_as_its_only_state_keeps_every_graph_form(graph: Graph) -> None:
    base = tiny_spec("hrm")
    spec = dataclasses.replace(base, architecture=dataclasses.replace(base.architecture, latents=0, layers=1))
    model = random_model(spec)
    made = export_onnx(model, graph=graph, steps=2 if graph == "unrolled" else None)
    tokens = questions(spec, 3)
    y, z = (state.numpy() for state in model.initial_state(3))
    feeds = {
        "loop": {"max_steps": np.array(2, np.int32), "halt_threshold": np.array(np.inf, np.float32)},
        "step": {"reset": np.zeros(3, bool), "y": y, "z": z + 1},
        "unrolled": {"halt_threshold": np.array(np.inf, np.float32)},
    }[graph]
    outputs = run(made, tokens=tokens, **feeds)
    expected = solve(model, torch.from_numpy(tokens), max_steps=1 if graph == "step" else 2, halt_threshold=math.inf)
    np.testing.assert_allclose(outputs[-1], expected.logits.numpy(), atol=TOLERANCE)
    if graph == "step":
        np.testing.assert_array_equal(outputs[1], z + 1)


def test_a_split_latent_is_refused() -> None:
    base = tiny_spec("trm-mlp")
    model = random_model(dataclasses.replace(base, architecture=dataclasses.replace(base.architecture, latents=2)))
    with pytest.raises(InputError, match=r"architecture.latents = 2, expected 0 or 1.*train with"):
        export_onnx(model)


def test_contradictory_settings_are_refused(tiny: RecursiveReasoner) -> None:
    with pytest.raises(InputError, match="--graph unrolled"):
        export_onnx(tiny, graph="loop", steps=4)
    with pytest.raises(InputError, match="at least 1"):
        export_onnx(tiny, graph="unrolled", steps=0)
    with pytest.raises(InputError, match="--opset is 21"):
        export_onnx(tiny, opset=21)
