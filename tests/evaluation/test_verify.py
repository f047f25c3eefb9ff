"""`verify` tells a sound engine from a damaged one, with nothing but the engine's own runtime."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import trm_deploy as trm
from tests.conftest import ASSETS, GRAPHS, Graph, Published, random_model, tiny_spec
from tests.fakes import FakeStepRuntime, around
from trm_deploy.artefacts import golden, onnx_file, record
from trm_deploy.errors import ArtefactError, InputError, ParityFailure
from trm_deploy.evaluation import verify as verification
from trm_deploy.evaluation.parity.bounds import BOUNDS
from trm_deploy.evaluation.parity.report import ParityReport
from trm_deploy.export.graph.nested import graphs
from trm_deploy.runtimes import load
from trm_deploy.runtimes.backends.pytorch import TorchRuntime
from trm_deploy.runtimes.base import Runtime


def verify(path: Path) -> ParityReport:
    return verification.verify(path)


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_sound_engine_passes(graph: Graph, published_bundle: Published, tmp_path: Path) -> None:
    report = verify(published_bundle(graph, tmp_path))
    report.raise_if_failed()
    (engine,) = report.engines
    steps = [(step.step, step.same_state) for step in engine.step_differences]
    expected = {
        "step": [(1, True), (2, True), (4, True), (6, True)],
        "loop": [(1, True), (2, False), (4, False), (6, False)],
        "unrolled": [(6, False)],
    }
    assert steps == expected[graph]
    assert engine.free.same_answer == engine.free.same_steps == 1.0
    # The state is compared where it is recorded.
    if graph == "step":
        assert [step.cosine_z is not None for step in engine.step_differences] == [True, False, False, True]
    assert "verified: it computes what PyTorch computed" in verification.table(report)


def test_a_float16_engine_is_held_to_its_own_bounds(published_bundle: Published, tmp_path: Path) -> None:
    report = verify(published_bundle("step", tmp_path, precision="fp16"))
    report.raise_if_failed()
    first = report.engines[0].step_differences[0]
    assert first.bound >= BOUNDS["fp16"].logits
    assert first.checked > BOUNDS["fp32"].logits, "float32's bound would not do"


def a_wrong_weight(model: onnx.ModelProto) -> None:
    """One number of the largest matrix, by much more than its last bit."""
    tensor = max((t for g in graphs(model.graph) for t in g.initializer), key=lambda t: int(np.prod(t.dims)))
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] += 0.05
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def one_turn_too_many(model: onnx.ModelProto) -> None:
    """The deep recursion once more: what a runtime does that takes a trip count for one less than it is."""
    values = {t.name: t for g in graphs(model.graph) for t in g.initializer}
    loops = [node for g in graphs(model.graph) for node in g.node if node.op_type == "Loop"]
    count = values[next(node.input[0] for node in loops if node.input[0] in values)]
    assert numpy_helper.to_array(count) == 2
    count.CopyFrom(numpy_helper.from_array(np.array(3, np.int64), count.name))


@pytest.mark.parametrize(
    ("graph", "damage"),
    [
        *((graph, a_wrong_weight) for graph in GRAPHS),
        # The unrolled form has its turns written out.
        ("loop", one_turn_too_many),
        ("step", one_turn_too_many),
    ],
)
def test_a_damaged_engine_fails(
    graph: Graph, damage: Callable[[onnx.ModelProto], None], published_bundle: Published, tmp_path: Path
) -> None:
    path = published_bundle(graph, tmp_path)
    model = onnx.load(path)
    damage(model)
    entries = [entry for entry in model.metadata_props if entry.key != onnx_file.SEAL_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(entries)
    onnx.save(model, path)
    record.path_of(path).unlink()  # the record would tell that these are other bytes
    report = verify(path)
    step = "step 6" if graph == "unrolled" else "step 1"
    with pytest.raises(ParityFailure, match=f"m.onnx: parity with PyTorch fails: {step}: differs by"):
        report.raise_if_failed()
    assert f"FAILED {step}: differs by" in verification.table(report)


def against_records(path: Path, engine: Runtime) -> list[str]:
    """What `replay` says of another runtime in the place of an artefact's."""
    vectors = golden.require(path)
    return verification.replay("engine", engine, vectors, BOUNDS["fp32"]).engines[0].failures


def test_wrong_steps_answers_and_states_fail_though_the_logits_are_right(
    published_bundle: Published, tmp_path: Path
) -> None:
    path = published_bundle("loop", tmp_path)
    sound = load(path)
    assert against_records(path, around(sound)) == []
    (failure,) = against_records(path, around(sound, after=lambda s: replace(s, steps=s.steps - 1)))
    assert "PyTorch's number of steps in" in failure
    (failure,) = against_records(path, around(sound, after=lambda s: replace(s, answer=np.roll(s.answer, 1, axis=1))))
    assert "PyTorch's answer in" in failure

    path = published_bundle("step", tmp_path)
    torch = TorchRuntime(random_model(tiny_spec("trm-mlp")))
    assert against_records(path, FakeStepRuntime(torch, lambda result: result)) == []
    (failure,) = against_records(path, FakeStepRuntime(torch, lambda result: replace(result, z=result.z * 1.01)))
    assert "state z" in failure


def test_an_engine_of_a_small_batch_is_given_as_many_puzzles_as_it_takes(
    published_bundle: Published, tmp_path: Path
) -> None:
    path = published_bundle("step", tmp_path)
    torch = TorchRuntime(random_model(tiny_spec("trm-mlp")))
    engine = FakeStepRuntime(torch, lambda result: result, largest_batch=2)
    report = verification.replay("engine", engine, golden.require(path), BOUNDS["fp32"])
    assert report.passed
    assert report.step_puzzles == 2


def test_what_cannot_be_verified_is_refused(tiny_checkpoint: Path, published_bundle: Published, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=f"tiny.pt: is a checkpoint, .* type: trm-deploy parity {tiny_checkpoint} FILE"
    ):
        trm.verify(tiny_checkpoint)
    path = published_bundle("loop", tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    published_bundle("step", other)
    golden.path_of(other / "m.onnx").replace(golden.path_of(path))
    with pytest.raises(
        ArtefactError, match=r"m\.onnx\.golden\.npz: is of a step graph in fp32, m\.onnx is loop in fp32"
    ):
        trm.verify(path)
    golden.path_of(path).unlink()
    with pytest.raises(ArtefactError, match=r"m\.onnx\.golden\.npz: there is no such file"):
        trm.verify(path)


def test_the_recorded_bounds_are_in_force(published_bundle: Published, tmp_path: Path) -> None:
    path = published_bundle("loop", tmp_path)
    vectors = golden.require(path)
    strict: dict[str, Any] = {**vectors.meta.bounds, "logits": 1e-12, "sensitivity": 0.0, "median": 0.0, "drift": 0.0}
    golden.write(path, replace(vectors, meta=replace(vectors.meta, bounds=strict)))
    assert not verify(path).passed
    golden.write(path, replace(vectors, meta=replace(vectors.meta, bounds={"logits": "much"})))
    with pytest.raises(ArtefactError, match=r"golden\.npz: meta\.bounds"):
        verify(path)


def test_numpy_and_the_engines_own_runtime_are_enough() -> None:
    code = f"""
import sys
for name in ("torch", "onnx", "onnxscript", "onnx_ir", "matplotlib"):
    sys.modules[name] = None
import trm_deploy
report = trm_deploy.verify({str(ASSETS / "sudoku-6x6-step.onnx")!r})
report.raise_if_failed()
print(report.engines[0].description, report.reference.solved)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ONNX Runtime step fp32 1.0\n"
