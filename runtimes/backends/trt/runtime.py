"""Runs a TensorRT or TensorRT for RTX plan. Memory and streams come from cuda-python; torch is not needed.

The loop and unrolled forms are one enqueue a batch. The step form keeps y and z on the device; its step is captured as
a CUDA graph, and the host reads only the B halting logits a step, and the batch's answers when one of its rows halts.
Batches smaller than the engine's profile are filled up.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trm_deploy.errors import InputError, TrmDeployError
from trm_deploy.runtimes.backends.trt import preflight
from trm_deploy.runtimes.backends.trt.cuda import Cuda, bfloat16_bits, from_bfloat16_bits, load_cudart
from trm_deploy.runtimes.backends.trt.engine import Engine
from trm_deploy.runtimes.base import LoadOptions
from trm_deploy.runtimes.graph_runtime import GraphRuntime, LoadedGraph, open_graph
from trm_deploy.signature import (
    HALT_LOGIT,
    HALT_THRESHOLD,
    MAX_STEPS,
    RESET,
    TOKENS,
    Y_NEXT,
    Z_NEXT,
    BakedLimits,
    Graph,
    Y,
    Z,
)
from trm_deploy.spec import ModelSpec
from trm_deploy.support import machine
from trm_deploy.trt import flavours
from trm_deploy.trt import plan_file as plans

log = logging.getLogger(__name__)


def load(path: Path, options: LoadOptions) -> GraphRuntime:
    """Load a plan with the package that built it.

    Raises:
        ArtefactError: not a plan of ours, truncated, altered; or the file with its puzzle embeddings is missing.
        CannotRunHere: TensorRT, cuda-python or a GPU is missing, or the plan is for another version or device.
    """
    return load_with(None, path, options)


def load_with(flavour: flavours.Flavour | None, path: Path, options: LoadOptions) -> GraphRuntime:
    """`load` with a package that did not build the plan; the one that did where None."""
    plan = plans.read(path)
    flavour = flavour or plan.flavour
    trt = flavours.load(flavour, purpose=f"to run {path}")
    built = preflight.check(
        path,
        plan,
        installed=trt.__version__,
        gpu=machine.gpu(),
        allow_host_code=options.allow_host_code,
        lean=flavour.lean,
    )
    cuda = Cuda(load_cudart(purpose=f"to run {path}"))
    engine = Engine(trt, cuda, path, flavour=flavour, host_code=built is not None and built.version_compatible)
    graph = _graph_of(engine)
    precision = built.precision if built else engine.precision()
    return open_graph(
        StepSession(engine) if graph == "step" else PlanSession(engine),
        LoadedGraph(
            path,
            plan.spec,
            graph,
            None,
            precision,
            backend=flavour.module.replace("_", "-"),  # its row in `trm_deploy.runtimes.registry`
            title=f"{flavour.title} {trt.__version__}",
            arithmetic=precision,  # the network is strongly typed
            baked=_baked_limits(engine, plan.spec),
            format=flavour.format,
        ),
    )


def _graph_of(engine: Engine) -> Graph:
    names = {tensor.name for tensor in engine.inputs}
    if RESET in names:
        return "step"
    return "unrolled" if HALT_THRESHOLD in names and MAX_STEPS not in names else "loop"


def _baked_limits(engine: Engine, spec: ModelSpec) -> BakedLimits | None:
    """The model's own limits where an engine takes none, as one for Triton."""
    if {tensor.name for tensor in engine.inputs} & {RESET, MAX_STEPS, HALT_THRESHOLD}:
        return None
    return BakedLimits(spec.halting.max_steps, spec.halting.threshold)


class PlanSession:
    """A plan of the loop or unrolled form: a `trm_deploy.runtimes.graph_runtime.Session`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.inputs, self.outputs = engine.inputs, engine.outputs
        self.smallest_batch, self.largest_batch = engine.smallest, engine.largest

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """See `Session.run`; one enqueue."""
        engine, count = self.engine, len(feeds[TOKENS])
        batch = max(count, engine.smallest)
        engine.set_batch(batch)
        for name, value in feeds.items():
            self.upload(name, value)
        engine.enqueue()
        for tensor in self.outputs:
            engine.buffers[tensor.name].download(batch)
        engine.cuda.synchronize()
        return {tensor.name: self.on_host(tensor.name, count) for tensor in self.outputs}

    def upload(self, name: str, value: NDArray[Any]) -> None:
        """Put an input on the device, filled up to the profile's smallest batch where it has one."""
        buffer = self.engine.buffers[name]
        if buffer.dtype == np.uint16:
            value = bfloat16_bits(value)
        buffer.upload(self.engine.filled(value) if value.ndim else value)

    def on_host(self, name: str, count: int) -> NDArray[Any]:
        """What was downloaded of the first `count` samples of a tensor."""
        buffer = self.engine.buffers[name]
        values: NDArray[Any] = buffer.array[:count].copy()
        return from_bfloat16_bits(values) if buffer.dtype == np.uint16 else values


@dataclass(frozen=True)
class DeviceArray:
    """A result on the device after a step; `numpy.asarray` brings it to the host. The next step overwrites it."""

    session: StepSession
    name: str
    step: int
    batch: int

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        array = self.session.read(self)
        return array.astype(dtype) if dtype is not None else array


class StepSession(PlanSession):
    """The step form: a run leaves its results on the device, y and z where the next one takes them from."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._graph_batch = 0  # the batch size that the context is set up for
        self._cuda_graph: Any = None  # the captured step at that size
        self._may_capture = True
        self._steps = 0  # done since the session was made: tells which results are still there

    def do_not_capture(self) -> None:
        """Enqueue each step from now on: a profiler sees nothing of what a CUDA graph runs."""
        self._may_capture = False

    @property
    def captured(self) -> bool:
        """Whether the last batch size's step is a CUDA graph by now."""
        return self._cuda_graph is not None

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """See `Session.run`; one step.

        Raises:
            InputError: a state that a later step has overwritten.
        """
        engine, count = self.engine, len(feeds[TOKENS])
        batch = max(count, engine.smallest)
        engine.set_batch(batch)
        values = {name: value for name, value in feeds.items() if name not in (Y, Z)}
        if not feeds[RESET].all():
            # Both are read before either is written: a state may come in the other's place.
            values |= {name: self._incoming(name, feeds[name], count) for name in (Y, Z)}
        for name, value in values.items():
            if value is not None:
                self.upload(name, value)
        self._advance(batch)
        engine.cuda.synchronize()
        results: dict[str, Any] = {
            tensor.name: DeviceArray(self, tensor.name, self._steps, count) for tensor in self.outputs
        }
        return results | {HALT_LOGIT: self.on_host(HALT_LOGIT, count)}

    def _incoming(self, name: str, value: Any, count: int) -> NDArray[Any] | None:
        """A state's values on the host; None where they are in their place on the device."""
        if isinstance(value, DeviceArray) and (value.name, value.batch) == (PLACES[name], count):
            self._check_current(value)
            return None
        return np.asarray(value)

    def read(self, result: DeviceArray) -> NDArray[Any]:
        """A result's values; raises `InputError` where a later step has overwritten them."""
        self._check_current(result)
        self.engine.buffers[result.name].download(result.batch)
        self.engine.cuda.synchronize()
        return self.on_host(result.name, result.batch)

    def _check_current(self, result: DeviceArray) -> None:
        if result.step != self._steps:
            raise InputError(f"{result.name} of step {result.step} is gone: this runtime keeps the last step's only")

    def _advance(self, batch: int) -> None:
        """Put a step on the stream: the engine, its state back to the inputs, the halting logits to the host."""
        self._steps += 1
        cuda = self.engine.cuda
        if batch != self._graph_batch:
            # TensorRT sets itself up in the first call of a shape: that call cannot be captured, and a graph that was
            # captured at another shape is no longer to be trusted.
            if self._cuda_graph is not None:
                cuda.call("cudaGraphExecDestroy", self._cuda_graph)
                self._cuda_graph = None
            self._graph_batch = batch
            self._enqueue_step(batch)
            return
        if self._cuda_graph is None and self._may_capture:
            self._cuda_graph = self._capture(batch)
        if self._cuda_graph is None:
            self._enqueue_step(batch)
        else:
            cuda.call("cudaGraphLaunch", self._cuda_graph, cuda.stream)

    def _enqueue_step(self, batch: int) -> None:
        engine, buffers = self.engine, self.engine.buffers
        engine.enqueue()
        for before, after in PLACES.items():
            engine.cuda.copy(buffers[before].device, buffers[after].device, buffers[after].bytes(batch))
        buffers[HALT_LOGIT].download(batch)

    def _capture(self, batch: int) -> Any:
        """The step as an executable CUDA graph; None, with a message, where it cannot be captured."""
        cuda, api = self.engine.cuda, self.engine.cuda.api
        cuda.synchronize()
        try:
            self.engine.check_capturable()
            cuda.call("cudaStreamBeginCapture", cuda.stream, api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
            try:
                self._enqueue_step(batch)
            finally:
                graph = cuda.call("cudaStreamEndCapture", cuda.stream)
            executable = cuda.call("cudaGraphInstantiate", graph, 0)
            cuda.call("cudaGraphDestroy", graph)
            return executable
        except TrmDeployError as error:
            log.warning("the step cannot be captured as a CUDA graph (%s); each step is enqueued instead", error)
            cuda.api.cudaGetLastError()  # so that no later call reports this error as its own
            self._may_capture = False
            return None


# Input of a state -> the output that holds it after a step; on the device it is copied there.
PLACES = {Y: Y_NEXT, Z: Z_NEXT}
