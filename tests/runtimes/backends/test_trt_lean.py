"""TensorRT's lean runtime: with a stand-in from plan to answers, with the real library up to the first use of a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cuda.bindings
import numpy as np
import onnx
import pytest

from tests import stand_ins
from tests.conftest import ROOT, exported
from trm_deploy.artefacts import record
from trm_deploy.errors import CannotRunHere
from trm_deploy.export.engine.build import build_engine
from trm_deploy.export.engine.options import BatchProfile, BuilderOptions, EngineOptions
from trm_deploy.runtimes import load
from trm_deploy.support import machine
from trm_deploy.support.machine import Gpu
from trm_deploy.trt import flavours
from trm_deploy.trt.flavours import LEAN
from trm_deploy.trt.precision import engine_precision

WHEELS = [f"tensorrt-lean-cu13{part}==11.4.0.106" for part in ("", "-libs", "-bindings")]
FOLDER = ROOT / "build" / "tensorrt-lean"


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A version-compatible plan, on a machine that has the lean runtime alone."""
    api = stand_ins.Cuda()
    monkeypatch.setitem(sys.modules, "tensorrt", stand_ins.tensorrt("11", api))
    monkeypatch.setattr(cuda.bindings, "runtime", api, raising=False)
    monkeypatch.setattr(machine, "gpu", lambda: Gpu("Stand-in", "8.7"))
    onnx.save(exported("trm-mlp", "loop"), tmp_path / "s.onnx")
    options = EngineOptions(format="trt", batch=BatchProfile(1, 2, 4), builder=BuilderOptions(version_compatible=True))
    build_engine(tmp_path / "s.onnx", tmp_path / "s.plan", options)
    monkeypatch.setitem(sys.modules, "tensorrt_lean", sys.modules["tensorrt"])
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    return tmp_path / "s.plan"


def test_a_version_compatible_plan_gives_its_answers(plan: Path) -> None:
    runtime = load(plan, "tensorrt-lean", allow_host_code=True)
    assert runtime.backend == "tensorrt-lean"
    assert runtime.description == "TensorRT's lean runtime 11.0.0.114 loop fp32"
    tokens = np.random.default_rng(0).integers(6, size=(7, 16)).astype(np.int32)
    expected = load(plan.with_name("s.onnx")).solve(tokens, max_steps=6, halt_threshold=0.0)
    found = runtime.solve(tokens, max_steps=6, halt_threshold=0.0)
    np.testing.assert_array_equal(found.answer, expected.answer)
    np.testing.assert_array_equal(found.steps, expected.steps)


def test_its_host_code_has_to_be_allowed(plan: Path) -> None:
    with pytest.raises(CannotRunHere, match="add --allow-host-code"):
        load(plan, "tensorrt-lean")


@pytest.mark.parametrize("with_record", [True, False])
def test_another_plan_is_refused_with_the_export_that_makes_one(plan: Path, with_record: bool) -> None:
    beside = record.path_of(plan)
    beside.write_text(json.dumps({**json.loads(beside.read_text()), "version_compatible": False}))
    if not with_record:
        beside.unlink()
    with pytest.raises(CannotRunHere, match=r"s\.plan: TensorRT's lean runtime .* --format trt --version-compatible"):
        load(plan, "tensorrt-lean", allow_host_code=True)


def test_a_runtime_that_was_made_in_spite_of_an_error_is_not_used() -> None:
    """The real one is made without a GPU, logs that, and ends the program at its first plan, or when it is freed."""

    def runtime(logger: Any) -> object:
        logger.errors.append("CUDA initialization failure with error: 35")
        return object()

    logger = SimpleNamespace(errors=["an older one"])
    with pytest.raises(CannotRunHere, match=r"lean runtime cannot start here \(CUDA initialization failure"):
        flavours.make(runtime, logger, LEAN, help="type: trm-deploy doctor")


def test_it_has_no_inspector_to_tell_the_precision() -> None:
    def create_engine_inspector() -> object:
        raise TypeError("Unable to convert function return value to a Python type!")

    engine = SimpleNamespace(num_io_tensors=0, create_engine_inspector=create_engine_inspector)
    assert engine_precision(None, engine) is None


@pytest.fixture(scope="module")
def library() -> Path:
    """The real library, in a folder of its own."""
    if not FOLDER.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        made = FOLDER.with_name("tensorrt-lean.download")
        done = subprocess.run([*command, "--target", str(made), *WHEELS], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"pip cannot fetch the lean runtime: {done.stderr.strip().splitlines()[-1]}")
        made.rename(FOLDER)
    return FOLDER


def run_with(library: Path, code: str) -> str:
    """What a program prints that has the real library."""
    path = os.pathsep.join((str(library), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(machine.gpu() is not None, reason="there is a GPU here")
def test_the_real_library_starts_and_says_that_there_is_no_gpu(library: Path) -> None:
    printed = run_with(
        library,
        """
        from trm_deploy.errors import CannotRunHere
        from trm_deploy.inspection.doctor import doctor
        from trm_deploy.trt import flavours
        trt = flavours.load(flavours.LEAN, purpose="to test it")
        try:
            flavours.make(trt.Runtime, flavours.make_logger(trt), flavours.LEAN, help="type: trm-deploy doctor")
        except CannotRunHere as error:
            print(error)
        print(doctor()["tensorrt_lean"])
        """,
    )
    refused, version = printed.splitlines()
    assert refused.startswith("TensorRT's lean runtime cannot start here (")
    assert "CUDA" in refused
    assert version == "11.4.0.106"


def test_the_real_library_has_all_that_running_a_plan_uses(library: Path) -> None:
    printed = run_with(
        library,
        """
        import json
        from pathlib import Path
        import tensorrt_lean as trt
        from tools.check_tensorrt_api.reading import Reader, Uses
        uses = Uses()
        for path in (*Path("runtimes/backends/trt").glob("*.py"), Path("trm_deploy/trt/precision.py")):
            Reader(trt, uses, str(path)).read(path.read_text())
        print(json.dumps([uses.missing, uses.refused, len(uses.found)]))
        """,
    )
    missing, refused, found = json.loads(printed)
    assert (missing, refused) == ({}, [])
    assert found > 20
