"""The profiler of TensorRT's lean runtime, which is TensorRT's own."""

from __future__ import annotations

from pathlib import Path

from trm_deploy.runtimes.backends.trt import lean
from trm_deploy.runtimes.base import LoadOptions
from trm_deploy.runtimes.profiling.trt import TrtProfiler


def load(path: Path, options: LoadOptions) -> TrtProfiler:
    """Load a version-compatible plan; raises what `trm_deploy.runtimes.backends.trt.lean.load` does."""
    return TrtProfiler(lean.load(path, options))
