"""Everything that needs a GPU: parity on 1,000 puzzles, golden vectors, latency, verified puzzles a second and memory
of each runtime that the machine has.

Run by `make test-gpu`; writes build/gpu/gpu.json and gpu.md. The reference is PyTorch in float32 on the CPU.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.conftest import ASSETS, GRAPHS, load_tool
from trm_deploy import checkpoints, puzzles
from trm_deploy.artefacts import golden
from trm_deploy.errors import CannotRunHere
from trm_deploy.evaluation import parity
from trm_deploy.evaluation.parity import rendering
from trm_deploy.evaluation.parity.bounds import BOUNDS
from trm_deploy.evaluation.parity.compare import Known
from trm_deploy.evaluation.parity.pytorch import reference_and_controls
from trm_deploy.evaluation.verify import replay
from trm_deploy.export.engine.build import build_engine
from trm_deploy.export.engine.options import BatchProfile, EngineOptions
from trm_deploy.export.graph.assemble import export_onnx
from trm_deploy.runtimes import load, registry
from trm_deploy.runtimes.backends.pytorch import TorchRuntime
from trm_deploy.runtimes.base import Int32, Runtime
from trm_deploy.support import machine
from trm_deploy.train.data.generators.sudoku import generate
from trm_deploy.train.data.settings import GeneratedPuzzles
from trm_deploy.trt import flavours

kit = load_tool("gpu_kit")

pytestmark = pytest.mark.gpu

OUTPUT = Path(os.environ.get("TRM_DEPLOY_GPU_OUTPUT", "build/gpu"))
PUZZLES = 1000
BATCH = BatchProfile(1, 64, 512)


# What the reference and its control compute, shared by all comparisons.
known = Known()


@functools.cache
def questions() -> Int32:
    """int32 [1000, 81], the same on every machine."""
    sudoku = puzzles.get("sudoku-9x9")
    made = np.concatenate(list(generate(GeneratedPuzzles(puzzles=PUZZLES, hardness=3.0, seed=99))))
    return sudoku.from_digits(made[:, 0])  # type: ignore[attr-defined,no-any-return]


@pytest.fixture(scope="session")
def measurements() -> Iterator[Any]:
    gpu = machine.gpu()
    if gpu is None:
        pytest.skip("no NVIDIA GPU is found")
    found = kit.measure.Measurements(gpu.name, gpu.compute_capability, machine.versions(registry.packages()), PUZZLES)
    yield found
    OUTPUT.mkdir(parents=True, exist_ok=True)
    found.write(OUTPUT)


@pytest.fixture(scope="session")
def shipped() -> checkpoints.Checkpoint:
    return checkpoints.load(ASSETS / "sudoku.pt")


def _free_mib() -> float | None:
    """Free device memory, MiB; None without cuda-python."""
    try:
        from cuda.bindings import runtime as cudart
    except ImportError:
        return None
    status, free, _ = cudart.cudaMemGetInfo()
    return None if int(status) else free / 2**20


def measure(measurements: Any, shipped: checkpoints.Checkpoint, make: Any) -> list[str]:
    """Load a runtime, compare it with PyTorch on the CPU and with golden vectors, time it; what failed."""
    before = _free_mib()
    runtime: Runtime = make()
    tokens = questions()
    sudoku = puzzles.get("sudoku-9x9")
    report = parity.compare(
        *reference_and_controls(shipped.model(), 1),
        [(runtime.description, runtime)],
        tokens,
        solved=lambda answers: np.array([not sudoku.answer_faults(*pair) for pair in zip(tokens, answers)]),
        max_steps=shipped.spec.halting.max_steps,
        halt_threshold=shipped.spec.halting.threshold,
        known=known,
    )
    vectors = golden.require(ASSETS / ("sudoku-step.onnx" if runtime.graph == "step" else "sudoku.onnx"))
    verified = replay(runtime.description, runtime, vectors, BOUNDS[runtime.precision]).engines[0].failures
    row = kit.measure.Row(runtime.description, kit.measure.parity_of(report), verify=verified)
    row.milliseconds = kit.measure.latency(runtime, tokens)
    after = _free_mib()
    row.memory_mib = None if before is None or after is None else before - after
    if runtime.fixed_steps is None:
        row.verified_per_second = kit.measure.verified_per_second(runtime, sudoku, tokens)
    measurements.rows.append(row)
    print("\n" + rendering.table(report))
    return [*verified, *report.engines[0].failures]


def skip(measurements: Any, name: str, error: CannotRunHere) -> None:
    measurements.skipped[name] = str(error)
    pytest.skip(str(error))


@pytest.mark.parametrize(
    ("runtime", "how"),
    [
        (TorchRuntime, {"precision": "fp32"}),
        (TorchRuntime, {"precision": "bf16"}),
        (TorchRuntime, {"precision": "bf16", "compiled": True}),
        (kit.device.CapturedRuntime, {"precision": "bf16"}),
    ],
)
def test_torch_cuda(runtime: Any, how: dict[str, Any], measurements: Any, shipped: checkpoints.Checkpoint) -> None:
    try:
        TorchRuntime(shipped.model(), device="cuda")
    except CannotRunHere as error:
        skip(measurements, "PyTorch CUDA", error)
    assert measure(measurements, shipped, lambda: runtime(shipped.model(), device="cuda", **how)) == []


def _onnx(folder: Path, graph: Any, precision: Any, *, unroll_inner: bool = False) -> Path:
    path = folder / f"{graph}-{precision}.onnx"
    model = checkpoints.load(ASSETS / "sudoku.pt").model()
    onnx.save(export_onnx(model, graph=graph, precision=precision, unroll_inner=unroll_inner), path)
    return path


def _settings(format: str) -> EngineOptions:
    gpu = machine.gpu()
    here = (gpu.compute_capability,) if gpu and flavours.FLAVOURS[format].ahead_of_time else ()
    return EngineOptions(format, BATCH, compute_capabilities=here)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("graph", ["loop", "step"])
def test_onnxruntime_cuda(
    graph: str, precision: str, measurements: Any, shipped: checkpoints.Checkpoint, tmp_path: Path
) -> None:
    path = _onnx(tmp_path, graph, precision)
    try:
        load(path, device="cuda")
    except CannotRunHere as error:
        skip(measurements, "ONNX Runtime CUDA", error)
    assert measure(measurements, shipped, lambda: load(path, device="cuda")) == []


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("format", list(flavours.FLAVOURS))
def test_engines(
    format: str,
    graph: str,
    precision: str,
    measurements: Any,
    shipped: checkpoints.Checkpoint,
    tmp_path: Path,
) -> None:
    flavour = flavours.FLAVOURS[format]
    plan = tmp_path / "s.plan"
    try:
        flavours.load(flavour, purpose="for this test")
        source = _onnx(tmp_path, graph, precision, unroll_inner=graph == "step")
        built = build_engine(source, plan, _settings(format))
        load(plan)
    except CannotRunHere as error:
        skip(measurements, flavour.title, error)
    assert built.precision == precision
    assert measure(measurements, shipped, lambda: load(plan)) == []


@pytest.mark.parametrize("format", list(flavours.FLAVOURS))
def test_the_step_is_captured(format: str, measurements: Any, tmp_path: Path) -> None:
    plan = tmp_path / "s.plan"
    try:
        source = _onnx(tmp_path, "step", "fp16", unroll_inner=True)
        build_engine(source, plan, _settings(format))
        runtime = load(plan)
    except CannotRunHere as error:
        skip(measurements, flavours.FLAVOURS[format].title, error)
    runtime.solve(questions()[:8], max_steps=4, halt_threshold=np.inf)
    assert runtime.session.captured  # type: ignore[attr-defined]
