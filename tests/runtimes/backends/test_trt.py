"""The TensorRT runtime with stand-ins: buffers, profiles, splitting, graph capture. They say nothing of a GPU."""

from __future__ import annotations

import dataclasses
import gc
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import cuda.bindings
import numpy as np
import onnx
import pytest

from tests import stand_ins
from tests.conftest import GRAPHS, Graph, exported, tiny_spec
from trm_deploy.artefacts import record
from trm_deploy.errors import ArtefactError, CannotRunHere, InputError
from trm_deploy.export.engine.build import build_engine
from trm_deploy.export.engine.options import BatchProfile, EngineOptions
from trm_deploy.runtimes import load
from trm_deploy.runtimes.base import Int32, Runtime, initial_numpy_state
from trm_deploy.runtimes.graph_runtime import GraphRuntime, GraphStepRuntime
from trm_deploy.signature import Precision
from trm_deploy.support import machine
from trm_deploy.support.machine import Gpu

Make = Callable[..., tuple[GraphRuntime, Runtime, stand_ins.Cuda]]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Builds a plan with a stand-in; gives its runtime, ONNX Runtime on the same graph, and the CUDA stand-in."""

    def build(
        graph: Graph,
        *,
        version: str = "10.3",
        precision: Precision = "fp32",
        batch: str = "1:2:4",
        capture_fails: bool = False,
        with_record: bool = True,
    ) -> tuple[GraphRuntime, Runtime, stand_ins.Cuda]:
        api = stand_ins.Cuda(capture_fails=capture_fails)
        monkeypatch.setitem(sys.modules, "tensorrt", stand_ins.tensorrt(version, api))
        monkeypatch.setattr(cuda.bindings, "runtime", api, raising=False)
        monkeypatch.setattr(machine, "gpu", lambda: Gpu("Stand-in", "8.7"))
        source, output = tmp_path / "s.onnx", tmp_path / "s.plan"
        onnx.save(exported("trm-mlp", graph, steps=3 if graph == "unrolled" else None, precision=precision), source)
        build_engine(source, output, EngineOptions(format="trt", batch=BatchProfile.parse(batch)))
        if not with_record:
            record.path_of(output).unlink()
        runtime = load(output)
        assert isinstance(runtime, GraphRuntime)
        return runtime, load(source), api

    return build


def questions(count: int) -> Int32:
    spec = tiny_spec("trm-mlp")
    generator = np.random.default_rng(1)
    return generator.integers(len(spec.task.vocabulary), size=(count, spec.task.sequence_length)).astype(np.int32)


@pytest.mark.parametrize("version", ["10.3", "11"])
@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("batch", ["1:2:4", "3:3:4"])
def test_any_number_of_puzzles_through_any_profile(make: Make, graph: Graph, version: str, batch: str) -> None:
    runtime, reference, _ = make(graph, version=version, batch=batch)
    steps = runtime.fixed_steps or 5
    for count in (1, 2, 4, 11):
        tokens = questions(count)
        for threshold in (0.0, np.inf, -np.inf):
            actual = runtime.solve(tokens, max_steps=steps, halt_threshold=threshold)
            expected = reference.solve(tokens, max_steps=steps, halt_threshold=threshold)
            for field in dataclasses.fields(expected):
                np.testing.assert_allclose(
                    getattr(actual, field.name), getattr(expected, field.name), rtol=1e-4, atol=1e-4
                )
            assert actual.answer.dtype == actual.steps.dtype == np.int32


def test_what_it_says_of_itself(make: Make) -> None:
    runtime, _, _ = make("unrolled", precision="fp16")
    assert runtime.fixed_steps == 3
    assert runtime.precision == "fp16"
    assert runtime.description == "TensorRT 10.3.0.30 unrolled fp16"
    assert runtime.largest_batch == 4
    with pytest.raises(InputError, match="unrolled to 3 steps"):
        runtime.solve(questions(1), max_steps=4, halt_threshold=0.0)


@pytest.mark.parametrize("version", ["10.3", "11"])
def test_without_its_record_the_engine_is_asked(make: Make, version: str) -> None:
    runtime, reference, _ = make("unrolled", precision="fp16", with_record=False, version=version)
    assert (runtime.precision, runtime.fixed_steps) == ("fp16", 3)
    tokens = questions(2)
    np.testing.assert_array_equal(
        runtime.solve(tokens, max_steps=3, halt_threshold=0.0).answer,
        reference.solve(tokens, max_steps=3, halt_threshold=0.0).answer,
    )


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_single_steps_keep_their_state_on_the_device(make: Make, precision: Precision) -> None:
    runtime, reference, _ = make("step", precision=precision)
    assert isinstance(runtime, GraphStepRuntime)
    tokens = questions(3)
    y, z = initial_numpy_state(runtime.spec, 3)
    ours, theirs = (y, z), (y, z)
    for step in range(5):
        reset = np.array([step == 0, step == 0, step in (0, 3)])
        actual = runtime.step(tokens, reset, *ours)
        expected = reference.step(tokens, reset, *theirs)  # type: ignore[attr-defined]
        assert np.asarray(actual.y).dtype == (np.float16 if precision == "fp16" else np.float32)
        for name in ("y", "z", "answer", "halt_logit", "logits"):
            np.testing.assert_allclose(np.asarray(getattr(actual, name)), getattr(expected, name), rtol=1e-3, atol=1e-3)
        ours, theirs = (actual.y, actual.z), (expected.y, expected.z)
    with pytest.raises(InputError, match="takes up to 4 a step"):
        runtime.step(questions(5), np.ones(5, bool), *initial_numpy_state(runtime.spec, 5))
    stale = actual.y
    runtime.step(tokens, reset, *ours)
    with pytest.raises(InputError, match="is gone"):
        np.asarray(stale)


def test_the_step_is_captured_once_a_batch_size(make: Make) -> None:
    runtime, _, api = make("step")
    runtime.solve(questions(2), max_steps=5, halt_threshold=np.inf)
    assert api.launches == 4  # the first step of a batch size sets TensorRT up
    runtime.solve(questions(2), max_steps=5, halt_threshold=np.inf)
    assert api.launches == 9
    runtime.solve(questions(3), max_steps=5, halt_threshold=np.inf)
    assert api.launches == 13


def test_the_host_reads_halting_logits_only(make: Make) -> None:
    runtime, _, api = make("step", batch="4:4:4")
    tokens = questions(4)
    runtime.solve(tokens, max_steps=2, halt_threshold=np.inf)
    api.bytes_copied = 0
    runtime.solve(tokens, max_steps=2, halt_threshold=np.inf)
    two = api.bytes_copied
    api.bytes_copied = 0
    runtime.solve(tokens, max_steps=6, halt_threshold=np.inf)
    state = 2 * initial_numpy_state(runtime.spec, 4)[0].nbytes  # y and z from the engine's outputs to its inputs
    questions_bytes = tokens.nbytes + 4  # and the four resets
    assert api.bytes_copied - two == 4 * (4 * 4 + state + questions_bytes)


def test_a_failed_capture_is_said_and_does_no_harm(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    runtime, reference, api = make("step", capture_fails=True)
    tokens = questions(3)
    with caplog.at_level(logging.WARNING):
        actual = runtime.solve(tokens, max_steps=6, halt_threshold=0.0)
        runtime.solve(tokens, max_steps=6, halt_threshold=0.0)
    assert [entry.message.split(" (")[0] for entry in caplog.records] == ["the step cannot be captured as a CUDA graph"]
    assert api.launches == 0
    np.testing.assert_array_equal(actual.answer, reference.solve(tokens, max_steps=6, halt_threshold=0.0).answer)


def test_memory_goes_with_the_runtime(make: Make) -> None:
    runtime, _, api = make("step")
    runtime.solve(questions(2), max_steps=3, halt_threshold=np.inf)
    assert len(api.memory) == 2 * 9  # the step's tensors, on the device and on the host
    del runtime
    gc.collect()
    assert not api.memory


def test_a_state_in_another_place_is_brought_there(make: Make) -> None:
    runtime, reference, _ = make("step")
    assert isinstance(runtime, GraphStepRuntime)
    tokens, fresh, later = questions(2), np.ones(2, bool), np.zeros(2, bool)
    start = initial_numpy_state(runtime.spec, 2)
    ours, theirs = runtime.step(tokens, fresh, *start), reference.step(tokens, fresh, *start)  # type: ignore[attr-defined]
    swapped = runtime.step(tokens, later, ours.z, ours.y)
    expected = reference.step(tokens, later, theirs.z, theirs.y)  # type: ignore[attr-defined]
    np.testing.assert_allclose(swapped.logits, expected.logits, atol=1e-4)


class TestPreflight:
    """Refused before TensorRT sees the bytes."""

    @pytest.fixture
    def plan(self, make: Make, tmp_path: Path) -> Path:
        make("loop")
        return tmp_path / "s.plan"

    def edit(self, plan: Path, **changes: object) -> None:
        path = record.path_of(plan)
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    def test_altered(self, plan: Path) -> None:
        data = bytearray(plan.read_bytes())
        data[-5] ^= 1
        plan.write_bytes(data)
        with pytest.raises(ArtefactError, match="altered or truncated"):
            load(plan)

    def test_truncated(self, plan: Path) -> None:
        plan.write_bytes(plan.read_bytes()[:-1000])
        with pytest.raises(ArtefactError, match="altered or truncated"):
            load(plan)

    def test_truncated_without_record(self, plan: Path) -> None:
        record.path_of(plan).unlink()
        plan.write_bytes(plan.read_bytes()[:-1000])
        with pytest.raises(ArtefactError, match=r"does not take this plan"):
            load(plan)

    def test_another_version(self, plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "tensorrt", stand_ins.tensorrt("11", stand_ins.Cuda()))
        with pytest.raises(CannotRunHere) as raised:
            load(plan)
        assert "built by TensorRT 10.3.0.30, here is 11.0.0.114" in str(raised.value)
        command = "trm-deploy export s.onnx --format trt --batch 1:2:4 -o s.plan"
        assert f"type in the folder {plan.parent}: {command}" in str(raised.value)
        record.path_of(plan).unlink()
        with pytest.raises(CannotRunHere, match=rf"trm-deploy export CHECKPOINT --format trt -o {plan}"):
            load(plan)

    def test_another_gpu(self, plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(machine, "gpu", lambda: Gpu("Other", "9.0"))
        with pytest.raises(CannotRunHere, match=r"built for compute capability 8\.7, this GPU has 9\.0"):
            load(plan)
        self.edit(plan, hardware_compatible=True)
        load(plan)
        monkeypatch.setattr(machine, "gpu", lambda: Gpu("Old", "7.5"))
        with pytest.raises(CannotRunHere, match=r"this GPU has 7\.5"):
            load(plan)

    def test_another_platform(self, plan: Path) -> None:
        self.edit(plan, platform="linux-riscv64")
        with pytest.raises(CannotRunHere, match="built on linux-riscv64"):
            load(plan)

    def test_no_gpu(self, plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(machine, "gpu", lambda: None)
        source = plan.with_name("s.onnx")
        with pytest.raises(CannotRunHere, match=rf"needs an NVIDIA GPU.*trm-deploy run --engine {source} PUZZLES"):
            load(plan)
        # `export CHECKPOINT --format trt` leaves it under this name.
        source.rename(plan.with_name("s.plan.onnx"))
        with pytest.raises(CannotRunHere, match=rf"trm-deploy run --engine {plan}\.onnx PUZZLES"):
            load(plan)
        plan.with_name("s.plan.onnx").write_bytes(b"of another export")
        with pytest.raises(CannotRunHere, match=r"trm-deploy run --engine FILE\.onnx PUZZLES"):
            load(plan)

    def test_host_code_needs_a_flag(self, plan: Path) -> None:
        self.edit(plan, version_compatible=True)
        with pytest.raises(CannotRunHere, match="add --allow-host-code"):
            load(plan)
        load(plan, allow_host_code=True)

    def test_a_version_compatible_plan_runs_under_newer_versions_only(self, plan: Path) -> None:
        module = sys.modules["tensorrt"]
        self.edit(plan, version_compatible=True)
        module.__version__ = "10.4.0.1"  # type: ignore[attr-defined]
        load(plan, allow_host_code=True)
        module.__version__ = "10.3.0.1"  # type: ignore[attr-defined]
        with pytest.raises(CannotRunHere, match=r"here is 10\.3\.0\.1"):
            load(plan, allow_host_code=True)

    def test_no_tensorrt(self, plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "tensorrt", None)
        with pytest.raises(CannotRunHere, match=r"tensorrt.* is needed to run"):
            load(plan)

    def test_a_plan_that_is_not_ours(self, plan: Path) -> None:
        plan.write_bytes(b"ftrt" + bytes(500))
        with pytest.raises(ArtefactError, match="without a model spec in its name"):
            load(plan)
