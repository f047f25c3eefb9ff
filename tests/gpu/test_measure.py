"""The measuring itself, on the CPU; and that a machine without a GPU does not pass."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.conftest import exported, load_tool
from trm_deploy.runtimes import load
from trm_deploy.support import machine

ROOT = Path(__file__).parents[2]
measuring = load_tool("gpu_kit").measure


def test_latency_and_tables(tmp_path: Path) -> None:
    onnx.save(exported("trm-mlp", "loop"), tmp_path / "tiny.onnx")
    runtime, tokens = load(tmp_path / "tiny.onnx"), np.ones((512, 16), np.int32)
    times = measuring.latency(runtime, tokens, repeats=1)
    assert list(times) == list(measuring.BATCHES)
    assert list(measuring.latency(runtime, tokens[:9], repeats=1)) == [1, 8], "what the puzzles fill"
    assert 0 < times[1] < times[64]
    parity = {"passed": True, "solved": 0.5, "mean_steps": 4.25}
    row = measuring.Row("loop fp16", parity, times, verify=[], verified_per_second=12.34)
    found = measuring.Measurements("A GPU", "9.0", {"torch": "2"}, 1000, rows=[row], skipped={"TensorRT": "absent"})
    found.write(tmp_path)
    assert json.loads((tmp_path / "gpu.json").read_text())["rows"][0]["runtime"] == "loop fp16"
    assert "| loop fp16 | holds | holds | 50.0% | 4.25 |" in (tmp_path / "gpu.md").read_text()
    assert "| 12.3 | - |" in (tmp_path / "gpu.md").read_text()
    assert "Not tested: TensorRT: absent" in (tmp_path / "gpu.md").read_text()


@pytest.mark.skipif(machine.gpu() is not None, reason="this machine has a GPU: make test-gpu tests something here")
def test_without_a_gpu_nothing_passes() -> None:
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-n", "0", "tests/gpu", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 5, done.stdout
    assert "nothing tested: every GPU test was skipped" in done.stdout
    assert "no NVIDIA GPU is found" in done.stdout
