"""TensorRT's IProfiler.

An engine's layers have names that TensorRT's parser and builder make of ONNX names; with the builder's detailed
verbosity the engine also tells which ONNX nodes a fused layer came from. Both are searched for names of tensors.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from trm_deploy.runtimes.backends.trt import runtime as plan
from trm_deploy.runtimes.backends.trt.runtime import PlanSession, StepSession
from trm_deploy.runtimes.base import LoadOptions
from trm_deploy.runtimes.graph_runtime import GraphRuntime
from trm_deploy.runtimes.profiling.base import Layer, ProfiledRun, timed

# TensorRT calls a node that has no name after its first result. Names in our graphs end in a number behind a slash, but
# for the graph's own results; what TensorRT appends to tell its layers apart is left.
NAMES = re.compile(r"(?:node_of_)?([A-Za-z_][\w.]*/\d+)|node_of_([a-z_]+)\b(?!/)")


def load(path: Path, options: LoadOptions) -> TrtProfiler:
    """Load a plan; raises what `trm_deploy.runtimes.backends.trt.runtime.load` does."""
    return TrtProfiler(plan.load(path, options))


class TrtProfiler:
    """See `trm_deploy.runtimes.profiling.base.Profiler`.

    Raises:
        CannotRunHere: the flavour has no profiler.
    """

    method = "TensorRT's IProfiler"

    def __init__(self, runtime: GraphRuntime) -> None:
        self.runtime = runtime
        session = runtime.session
        assert isinstance(session, PlanSession)
        if isinstance(session, StepSession):
            session.do_not_capture()
        self._told = {str(layer.get("Name", "")): layer for layer in session.engine.layers()}
        self._times: dict[str, float] = defaultdict(float)
        session.engine.profile(self._report)

    def measure(self, run: Callable[[], None], count: int) -> list[ProfiledRun]:
        """See `Profiler.measure`."""
        found = []
        for _ in range(count):
            self._times.clear()
            wall = timed(run)
            found.append(ProfiledRun(wall, {self._layer(name): spent for name, spent in self._times.items()}))
        return found

    def _report(self, name: str, milliseconds: float) -> None:
        self._times[name] += milliseconds

    def _layer(self, name: str) -> Layer:
        told = self._told.get(name, {})
        text = f"{name} {told.get('Metadata', '')}"
        tensors = dict.fromkeys(inner or result for inner, result in NAMES.findall(text))
        return Layer(name, str(told.get("LayerType", "layer")), tuple(tensors))
