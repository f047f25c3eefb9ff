"""Runs a TensorRT or TensorRT for RTX plan. Memory and streams come from cuda-python; torch is not needed.

The loop and unrolled forms are one enqueue a batch. The step form keeps y and z on the device; its step is captured as
a CUDA graph, and the host reads only the B halting logits a step, and the batch's answers when one of its rows halts.
Batches larger than the engine's profile are split, smaller ones filled up.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trm_deploy.artefacts import embeddings
from trm_deploy.errors import ArtefactError, CannotRunHere, InputError, TrmDeployError
from trm_deploy.runtimes.backends.trt import preflight
from trm_deploy.runtimes.backends.trt.cuda import Buffer, Cuda, bfloat16_bits, from_bfloat16_bits, load_cudart
from trm_deploy.runtimes.base import Float32, Int32, Solution, StepResult, check_inputs, check_step_limit
from trm_deploy.runtimes.host_loop import solve_by_steps, solve_in_batches
from trm_deploy.spec import ModelSpec
from trm_deploy.support import machine
from trm_deploy.trt import flavours
from trm_deploy.trt import plan_file as plans

log = logging.getLogger(__name__)

# numpy has no bfloat16: its bits are carried as integers, see `cuda_memory.bfloat16_bits`.
DTYPES = {"FLOAT": np.float32, "HALF": np.float16, "BF16": np.uint16, "INT32": np.int32, "BOOL": np.bool_}
OUTPUTS = ("answer", "steps", "halt_logit", "logits")


class Engine:
    """A deserialised plan with an execution context and a buffer a tensor; its memory goes with it.

    A call takes `smallest` to `largest` samples, as the engine's batch profile says.

    Raises:
        ArtefactError: TensorRT does not take the bytes.
    """

    def __init__(self, trt: Any, cuda: Cuda, path: Path, *, flavour: flavours.Flavour, host_code: bool) -> None:
        self._trt = trt
        self.cuda = cuda
        logger = flavours.make_logger(trt)
        runtime = flavours.make(trt.Runtime, logger, flavour, help="type: trm-deploy doctor")
        if host_code:
            runtime.engine_host_code_allowed = True
        engine = runtime.deserialize_cuda_engine(path.read_bytes())
        if engine is None:
            reason = "; ".join(logger.errors[-2:]) or "it gives no reason"
            raise ArtefactError(
                f"{path}: {flavour.title} {trt.__version__} does not take this plan ({reason[:300]})",
                hint="build it again: trm-deploy export CHECKPOINT --format " + flavour.format,
            )
        self._engine = engine
        self._context = engine.create_execution_context()
        if self._context is None:
            reason = logger.errors[-1][:300] if logger.errors else "out of memory?"
            raise CannotRunHere(f"{path}: no execution context can be made ({reason})", hint="close what uses the GPU")
        self._logger = logger
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        self.inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        self.outputs = [name for name in names if name not in self.inputs]
        shapes = engine.get_tensor_profile_shape("tokens", 0)
        self.smallest, self.largest = int(shapes[0][0]), int(shapes[2][0])
        self.buffers = {name: self._buffer(name) for name in names}
        self._batch = 0

    def _buffer(self, name: str) -> Buffer:
        """Memory of a tensor for the largest batch, made known to the context."""
        kind = self._engine.get_tensor_dtype(name).name
        if kind not in DTYPES:
            raise ArtefactError(f"the engine's tensor {name} is {kind}, expected one of {', '.join(DTYPES)}")
        # The batch is the one free size of our graphs.
        shape = tuple(self.largest if size < 0 else int(size) for size in self._engine.get_tensor_shape(name))
        on_host = self._engine.get_tensor_location(name) == self._trt.TensorLocation.HOST
        buffer = Buffer(self.cuda, shape, DTYPES[kind], on_host=on_host)
        if not self._context.set_tensor_address(name, buffer.device):
            raise TrmDeployError(f"TensorRT refuses memory for the tensor {name}: {self._reason()}")
        return buffer

    def set_batch(self, batch: int) -> None:
        """Tell the context the batch size of what comes."""
        if batch == self._batch:
            return
        for name in self.inputs:
            if self.buffers[name].shape and not self._context.set_input_shape(
                name, (batch, *self.buffers[name].shape[1:])
            ):
                raise TrmDeployError(f"TensorRT refuses a batch of {batch} at the input {name}: {self._reason()}")
        self._batch = batch

    def enqueue(self) -> None:
        """Put the engine's work on the stream."""
        if not self._context.execute_async_v3(int(self.cuda.stream)):
            raise TrmDeployError(f"TensorRT cannot run the engine: {self._reason()}", hint="type: trm-deploy doctor")

    def check_capturable(self) -> None:
        """Raises `TrmDeployError` where the engine says that it cannot be captured; only newer ones can be asked."""
        ask = getattr(self._context, "is_stream_capturable", None)
        if ask is not None and not ask(int(self.cuda.stream)):
            raise TrmDeployError("the engine says so")

    def _reason(self) -> str:
        return str(self._logger.errors[-1][:300]) if self._logger.errors else "it gives no reason"

    def filled(self, array: NDArray[Any]) -> NDArray[Any]:
        """The array with its last row repeated up to the profile's smallest batch."""
        lacking = self.smallest - len(array)
        return array if lacking <= 0 else np.concatenate([array, np.repeat(array[-1:], lacking, axis=0)])

    def precision(self) -> str:
        """As the layers say; "unknown" where they do not."""
        return flavours.engine_precision(self._trt, self._engine) or "unknown"


class TrtRuntime:
    """A plan of the loop or unrolled form; `from_file` gives a `TrtStepRuntime` where it holds the step form."""

    def __init__(
        self,
        engine: Engine,
        spec: ModelSpec,
        *,
        title: str,
        graph: str,
        precision: str,
        table: Float32 | None = None,
    ) -> None:
        self._engine = engine
        self._table = table  # of puzzle embeddings, where it is not in the engine
        self.spec = spec
        self.precision = precision
        self.arithmetic = precision  # the network is strongly typed
        self.description = f"{title} {graph} {precision}"
        self.largest_batch = engine.largest
        self.fixed_steps = self._count_steps() if graph == "unrolled" else None

    @staticmethod
    def from_file(path: Path, *, allow_host_code: bool = False) -> TrtRuntime:
        """Load a plan.

        Args:
            path: the plan.
            allow_host_code: load a version-compatible plan, whose host code TensorRT executes.

        Raises:
            ArtefactError: no plan of ours, truncated, altered; or the file with its puzzle embeddings is missing.
            CannotRunHere: TensorRT, cuda-python or a GPU is missing, or the plan is for another version or device.
        """
        plan = plans.read(path)
        trt = flavours.load(plan.flavour, purpose=f"to run {path}")
        built = preflight.check(
            path, plan, installed=trt.__version__, gpu=machine.gpu(), allow_host_code=allow_host_code
        )
        table = embeddings.open_table(path, plan.spec)
        cuda = Cuda(load_cudart(purpose=f"to run {path}"))
        host_code = built is not None and built.version_compatible
        engine = Engine(trt, cuda, path, flavour=plan.flavour, host_code=host_code)
        graph = "step" if "reset" in engine.inputs else "loop" if "max_steps" in engine.inputs else "unrolled"
        kind = TrtStepRuntime if graph == "step" else TrtRuntime
        return kind(
            engine,
            plan.spec,
            title=f"{plan.flavour.title} {trt.__version__}",
            graph=graph,
            precision=built.precision if built else engine.precision(),
            table=table,
        )

    def _count_steps(self) -> int:
        """Steps of the unrolled form: with halting off, every sample takes them all."""
        tokens = np.zeros((1, self.spec.task.sequence_length), np.int32)
        return int(self._solve_batch(tokens, max_steps=1, halt_threshold=np.inf).steps[0])

    def solve(
        self, tokens: Int32, puzzle_ids: Int32 | None = None, *, max_steps: int, halt_threshold: float
    ) -> Solution:
        """See `Runtime.solve`; a batch beyond the engine's profile is split."""
        check_inputs(self.spec, tokens, puzzle_ids, max_steps)
        check_step_limit(self.fixed_steps, max_steps)
        return solve_in_batches(
            self._solve_batch,
            tokens,
            puzzle_ids,
            batch_size=self.largest_batch,
            max_steps=max_steps,
            halt_threshold=halt_threshold,
        )

    def _solve_batch(
        self, tokens: Int32, puzzle_ids: Int32 | None = None, *, max_steps: int, halt_threshold: float
    ) -> Solution:
        """One enqueue of at most the largest batch."""
        engine, buffers, count = self._engine, self._engine.buffers, len(tokens)
        batch = self._upload_question(tokens, puzzle_ids)
        buffers["halt_threshold"].upload(np.array(halt_threshold, np.float32))
        if "max_steps" in buffers:
            buffers["max_steps"].upload(np.array(max_steps, np.int32))
        engine.enqueue()
        for name in OUTPUTS:
            buffers[name].download(batch)
        engine.cuda.synchronize()
        return Solution(*(buffers[name].array[:count].copy() for name in OUTPUTS))

    def _upload_question(self, tokens: Int32, puzzle_ids: Int32 | None) -> int:
        """Put the question on the device; the batch size, filled up to the profile's smallest."""
        engine, buffers = self._engine, self._engine.buffers
        filled = engine.filled(tokens)
        engine.set_batch(len(filled))
        buffers["tokens"].upload(filled)
        if "puzzle_ids" in buffers:
            ids = np.zeros(len(tokens), np.int32) if puzzle_ids is None else puzzle_ids
            buffers["puzzle_ids"].upload(engine.filled(ids))
        if self._table is not None:
            buffers["puzzle_embedding"].upload(engine.filled(embeddings.rows(self._table, puzzle_ids, len(tokens))))
        return len(filled)


@dataclass(frozen=True)
class DeviceArray:
    """A result on the device after a step; numpy.asarray brings it to the host. The next step overwrites it."""

    runtime: TrtStepRuntime
    name: str
    step: int
    batch: int

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        array = self.runtime.read(self)
        return array.astype(dtype) if dtype is not None else array


class TrtStepRuntime(TrtRuntime):
    """The step form: single steps with their results on the device, and `solve` by a loop on the host."""

    def __init__(self, engine: Engine, spec: ModelSpec, **described: Any) -> None:
        super().__init__(engine, spec, **described)
        self._graph_batch = 0  # the batch size that the context is set up for
        self._cuda_graph: Any = None  # the captured step at that size
        self._may_capture = True
        self._steps = 0  # done since the runtime was made: tells which results are still there

    @property
    def captured(self) -> bool:
        """Whether the last batch size's step is a CUDA graph by now."""
        return self._cuda_graph is not None

    def _solve_batch(
        self, tokens: Int32, puzzle_ids: Int32 | None = None, *, max_steps: int, halt_threshold: float
    ) -> Solution:
        return solve_by_steps(self, tokens, puzzle_ids, max_steps=max_steps, halt_threshold=halt_threshold)

    def step(
        self, tokens: Int32, reset: NDArray[np.bool_], y: Any, z: Any, puzzle_ids: Int32 | None = None
    ) -> StepResult:
        """See `StepRuntime.step`; at most the engine's largest batch.

        Raises:
            InputError: a larger batch, or a state that a later step has overwritten.
        """
        check_inputs(self.spec, tokens, puzzle_ids, 1)
        engine, buffers, count = self._engine, self._engine.buffers, len(tokens)
        if count > engine.largest:
            raise InputError(f"the batch has {count} samples, this engine takes up to {engine.largest} a step")
        batch = self._upload_question(tokens, puzzle_ids)
        if not reset.all():
            # Both are read before either is written: a state may come in the other's place.
            for name, value in [(name, self._incoming(name, value, count)) for name, value in (("y", y), ("z", z))]:
                if value is not None:
                    buffers[name].upload(engine.filled(value))
        buffers["reset"].upload(engine.filled(reset))
        self._advance(batch)
        engine.cuda.synchronize()
        on_device = (DeviceArray(self, name, self._steps, count) for name in ("y", "z", "answer", "logits"))
        new_y, new_z, answer, logits = on_device
        return StepResult(new_y, new_z, answer, buffers["halt_logit"].array[:count].copy(), logits)

    def _incoming(self, name: str, value: Any, count: int) -> NDArray[Any] | None:
        """A state's values on the host; None where they are in their place on the device."""
        if isinstance(value, DeviceArray) and (value.runtime, value.name, value.batch) == (self, name, count):
            self._check_current(value)
            return None
        values = np.asarray(value)
        return bfloat16_bits(values) if self._engine.buffers[name].dtype == np.uint16 else values

    def read(self, result: DeviceArray) -> NDArray[Any]:
        """A result's values; raises `InputError` where a later step has overwritten them."""
        self._check_current(result)
        buffer = self._engine.buffers[result.name]
        buffer.download(result.batch)
        self._engine.cuda.synchronize()
        values: NDArray[Any] = buffer.array[: result.batch].copy()
        if buffer.dtype == np.uint16:
            return from_bfloat16_bits(values)
        return values

    def _check_current(self, result: DeviceArray) -> None:
        if result.step != self._steps:
            raise InputError(f"{result.name} of step {result.step} is gone: this runtime keeps the last step's only")

    def _advance(self, batch: int) -> None:
        """Put a step on the stream: the engine, its state back to the inputs, the halting logits to the host."""
        self._steps += 1
        cuda = self._engine.cuda
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
        engine, buffers = self._engine, self._engine.buffers
        engine.enqueue()
        for name in ("y", "z"):
            after, before = buffers[f"{name}_next"], buffers[name]
            engine.cuda.copy(before.device, after.device, after.bytes(batch))
        buffers["halt_logit"].download(batch)

    def _capture(self, batch: int) -> Any:
        """The step as an executable CUDA graph; None, with a message, where it cannot be captured."""
        cuda, api = self._engine.cuda, self._engine.cuda.api
        cuda.synchronize()
        try:
            self._engine.check_capturable()
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
