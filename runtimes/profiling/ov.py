"""OpenVINO's performance counters.

They count a Loop as one node, whatever is in it. So the body of each Loop is compiled once more by itself, with the
same settings, and its counters say how the Loop's time is divided: what its turns do not explain is the Loop's own
(copies of what it carries on).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from trm_deploy.runtimes.backends import ov
from trm_deploy.runtimes.backends.ov import OpenVinoSession
from trm_deploy.runtimes.base import LoadOptions
from trm_deploy.runtimes.profiling.base import Layer, ProfiledRun, timed
from trm_deploy.signature import MAX_STEPS, TOKENS

LOOP = "Loop"
# What a Loop is executed as.
EXECUTED_LOOPS = ("TensorIterator", LOOP)
# Turns of a body that are run by themselves, after some to warm up.
TURNS = 20
WARM_UP = 3
# Groups of runs or turns that are counted apart, so that the fastest can be kept.
ROUNDS = 4
# Seconds that the counters are cut off to; half of it is what a node took beyond what they say, in the mean.
RESOLUTION = 1e-6
# Largest magnitude of the integers that a body is fed with: tokens, indices, a turn's number.
SMALL = 1


def load(path: Path, options: LoadOptions) -> OpenVinoProfiler:
    """Load an ONNX file with performance counters; raises what `trm_deploy.runtimes.backends.ov.load` does."""
    return OpenVinoProfiler(path, options)


class OpenVinoProfiler:
    """See `trm_deploy.runtimes.profiling.base.Profiler`."""

    method = "OpenVINO's performance counters; bodies of loops by themselves"

    def __init__(self, path: Path, options: LoadOptions) -> None:
        self.runtime = ov.load(path, options, counters=True)

    def measure(self, run: Callable[[], None], count: int) -> list[ProfiledRun]:
        """See `Profiler.measure`."""
        session = self.runtime.session
        assert isinstance(session, OpenVinoSession)
        found = []
        size = max(count // ROUNDS, 1)
        for _ in range(count // size):
            counters = _Counters(session.compiled, session.request, done=session.runs)
            wall = sum(timed(run) for _ in range(size)) / size
            found.append(ProfiledRun(wall, counters.since(size), size))
        # The request still has what it was fed with.
        names = {tensor.name for tensor in session.inputs}
        turns = int(session.request.get_tensor(MAX_STEPS).data) if MAX_STEPS in names else None
        batch = int(session.request.get_tensor(TOKENS).shape[0])
        bodies = _bodies(session, session.model, batch, turns)
        return [replace(one, layers=_divided(one.layers, bodies)) for one in found]


def _layers(compiled: Any) -> dict[str, Layer]:
    """The nodes that OpenVINO executes, by name."""
    found = {}
    for node in compiled.get_runtime_model().get_ordered_ops():
        name = node.get_friendly_name()
        original = tuple(part for part in _text(node.get_rt_info(), "originalLayersNames").split(",") if part)
        inputs = tuple(value.get_node().get_friendly_name() for value in node.input_values())
        found[name] = Layer(name, _text(node.get_rt_info(), "layerType"), (*original, name), inputs)
    return found


def _text(info: Any, key: str) -> str:
    if key not in info:
        return ""
    value = info[key]
    return str(getattr(value, "value", value))


class _Counters:
    """The counters of a compiled graph: OpenVINO gives their means over all runs since it was compiled."""

    def __init__(self, compiled: Any, request: Any, *, done: int) -> None:
        """Note what they are after a number of runs."""
        self._layers = _layers(compiled)
        self._request, self._done = request, done
        self._before = self._totals(done)

    def since(self, count: int) -> dict[Layer, float]:
        """Milliseconds a run of each node, as the mean of the runs since then."""
        totals = self._totals(self._done + count)
        return {layer: max(total - self._before.get(layer, 0.0), 0.0) / count for layer, total in totals.items()}

    def _totals(self, runs: int) -> dict[Layer, float]:
        """Milliseconds of each node in all runs."""
        times = dict.fromkeys(self._layers.values(), 0.0)
        for entry in self._request.get_profiling_info() if runs else ():
            name = entry.node_name
            layer = self._layers.get(name) or Layer(name, entry.node_type, (name,))
            if entry.real_time:
                taken = entry.real_time.total_seconds() + RESOLUTION / 2
                times[layer] = times.get(layer, 0.0) + 1e3 * taken * runs
        return times


def _bodies(session: OpenVinoSession, model: Any, batch: int, turns: int | None) -> list[dict[Layer, float]]:
    """Milliseconds of the nodes in each Loop of a graph, those of all its turns together.

    Args:
        session: that runs the graph.
        model: the graph.
        batch: samples.
        turns: of a Loop whose number of turns is no constant.
    """
    found = []
    for node in model.get_ordered_ops():
        if node.get_type_name() != LOOP:
            continue
        limit = node.input_value(0).get_node()
        count = int(limit.data) if limit.get_type_name() == "Constant" else (turns or 1)
        body = node.get_function()
        turn = min((_turn(session.compile(body), batch) for _ in range(ROUNDS)), key=lambda times: sum(times.values()))
        divided = _divided(turn, _bodies(session, body, batch, turns))
        found.append({layer: milliseconds * count for layer, milliseconds in divided.items()})
    return found


def _turn(compiled: Any, batch: int) -> dict[Layer, float]:
    """Milliseconds of the nodes in one turn of a body that has just been compiled."""
    request = compiled.create_infer_request()
    feeds = [_values(port, batch) for port in compiled.inputs]
    for _ in range(WARM_UP):
        request.infer(feeds)
    counters = _Counters(compiled, request, done=WARM_UP)
    for _ in range(TURNS):
        request.infer(feeds)
    return counters.since(TURNS)


def _divided(times: dict[Layer, float], bodies: list[dict[Layer, float]]) -> dict[Layer, float]:
    """The same with the time of each Loop divided among what is in it; never more than the Loop took."""
    divided = dict(times)
    loops = [layer for layer in times if layer.operator in EXECUTED_LOOPS]
    for layer, body in zip(loops, bodies if len(bodies) == len(loops) else [{}] * len(loops)):
        taken = divided.pop(layer)
        inside = sum(body.values())
        share = min(1.0, taken / inside) if inside else 0.0
        for inner, milliseconds in body.items():
            divided[inner] = divided.get(inner, 0.0) + milliseconds * share
        # Where nothing is known of what is in it, neither is what it belongs to.
        rest = replace(layer, operator=LOOP) if inside else Layer(layer.name, LOOP)
        divided[rest] = taken - inside * share
    return divided


def _values(port: Any, batch: int) -> Any:
    """Values for an input of a body; no time depends on them."""
    shape = [size.get_length() if size.is_static else batch for size in port.get_partial_shape()]
    dtype = port.get_element_type().to_dtype()
    generator = np.random.default_rng(0)
    if np.issubdtype(dtype, np.floating):
        return generator.standard_normal(shape).astype(dtype)
    return generator.integers(0, SMALL, shape, endpoint=True).astype(dtype)
