"""ONNX Runtime's session profiling.

The profile names a node by its operator and a number; which tensors it computes, the optimised graph tells, which ONNX
Runtime writes down on demand: nodes are executed and recorded in the order in which they stand there.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from trm_deploy.artefacts import onnx_graph
from trm_deploy.artefacts.onnx_graph import Node, OnnxGraph
from trm_deploy.errors import CannotRunHere
from trm_deploy.runtimes.backends import ort
from trm_deploy.runtimes.base import LoadOptions
from trm_deploy.runtimes.profiling.base import Layer, ProfiledRun, timed

KERNEL = "_kernel_time"
# Before the name of a tensor whose type ONNX Runtime has changed.
INSERTED = re.compile(r"^Inserted\w*?Cast_")


def load(path: Path, options: LoadOptions) -> OrtProfiler:
    """Load an ONNX file with profiling on; raises what `trm_deploy.runtimes.backends.ort.load` does.

    Raises:
        CannotRunHere: a GPU, of which ONNX Runtime's profiler times the launches of kernels, not the kernels.
    """
    if options.device != "cpu":
        raise CannotRunHere(
            f"{path}: ONNX Runtime's profiler times how long kernels take to launch on a GPU, not how long they run",
            hint="leave out --device cuda, or profile the checkpoint",
        )
    return OrtProfiler(path, options)


class OrtProfiler:
    """See `trm_deploy.runtimes.profiling.base.Profiler`. It can measure once: then the profile is closed."""

    method = "ONNX Runtime's session profiling"

    def __init__(self, path: Path, options: LoadOptions) -> None:
        folder = tempfile.mkdtemp(prefix="trm-deploy-profile-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._prefix = Path(folder) / "profile"
        self.runtime = ort.load(path, options, profile=self._prefix)

    def measure(self, run: Callable[[], None], count: int) -> list[ProfiledRun]:
        """See `Profiler.measure`."""
        walls = [timed(run) for _ in range(count)]
        session: Any = self.runtime.session
        events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
        graph = onnx_graph.read(optimised_at(self._prefix))
        runs = list(runs_of(events, graph))
        # What ran before is in the profile too.
        return [ProfiledRun(wall, layers) for wall, layers in zip(walls, runs[len(runs) - count :])]


def optimised_at(prefix: Path) -> Path:
    """Where the optimised graph of a profiled session is written."""
    return prefix.with_suffix(".onnx")


def runs_of(events: list[dict[str, Any]], graph: OnnxGraph) -> Iterator[dict[Layer, float]]:
    """Milliseconds of each layer in each run.

    Args:
        events: the profile, in the order in which things ended.
        graph: as ONNX Runtime executes it.
    """
    pending: list[dict[str, Any]] = []
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(KERNEL):
            pending.append(event)
        elif event.get("name") == "model_run":
            yield _layers(pending, graph)
            pending = []


def _layers(events: list[dict[str, Any]], graph: OnnxGraph) -> dict[Layer, float]:
    reader = _Run(events)
    if reader.graph(graph) is not None and reader.place == len(events):
        return {layer: spent / 1e3 for layer, spent in reader.microseconds.items()}
    # Another order than the graph's: the operators are known, what they compute is not.
    times: dict[Layer, float] = defaultdict(float)
    for event in events:
        operator = event["args"]["op_name"]
        if operator not in ("Loop", "If", "Scan"):  # what is inside is there by itself
            times[Layer(operator, operator)] += event["dur"] / 1e3
    return dict(times)


def _layer(node: Node) -> Layer:
    """A node of the optimised graph. What float32 computes in place of float16 is that node of the exported graph all
    the same; a cast that was put in is none of it, and belongs to what it serves.
    """
    computed = () if node.operator == "Cast" else tuple(INSERTED.sub("", name) for name in node.outputs)
    return Layer(node.outputs[0], node.operator, tuple(dict.fromkeys((*node.outputs, *computed))), node.inputs)


class _Run:
    """Reads the events of one run along the graph."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        self._events = events
        self.place = 0
        self.microseconds: dict[Layer, float] = defaultdict(float)

    def graph(self, graph: OnnxGraph) -> float | None:
        """Microseconds of a graph's nodes from this place on; None where other nodes follow."""
        total = 0.0
        for node in graph.nodes:
            inside = 0.0
            # A body's nodes end before the node that it is the body of.
            while node.bodies and self._next() != node.operator:
                spent = self.graph(node.bodies[0])
                if spent is None:
                    return None
                inside += spent
            if self._next() != node.operator:
                return None
            taken = float(self._events[self.place]["dur"])
            self.place += 1
            self.microseconds[_layer(node)] += max(taken - inside, 0.0)
            total += taken
        return total

    def _next(self) -> str:
        """The operator of the next event; "" at the end."""
        return str(self._events[self.place]["args"]["op_name"]) if self.place < len(self._events) else ""
