"""A plan that TensorRT has loaded: its execution context, and a buffer for each of its tensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from trm_deploy.errors import ArtefactError, CannotRunHere, TrmDeployError
from trm_deploy.runtimes.backends.trt.cuda import Buffer, Cuda
from trm_deploy.signature import BATCH, TOKENS, DType, TensorSpec
from trm_deploy.trt import flavours
from trm_deploy.trt.precision import engine_precision, layers_of

# TensorRT's name of a type -> ours, and the numpy type of a buffer.
# numpy has no bfloat16: its bits are carried as integers, see `cuda.bfloat16_bits`.
DTYPES: dict[str, tuple[DType, DTypeLike]] = {
    "FLOAT": ("float32", np.float32),
    "HALF": ("float16", np.float16),
    "BF16": ("bfloat16", np.uint16),
    "INT32": ("int32", np.int32),
    "BOOL": ("bool", np.bool_),
}


class Engine:
    """A deserialised plan with an execution context and a buffer a tensor; its memory is freed with it.

    A call takes `smallest` to `largest` samples, as the engine's batch profile says.

    Raises:
        ArtefactError: TensorRT does not take the bytes, or a tensor has a type that none of our graphs has.
        CannotRunHere: TensorRT cannot start, or there is no memory for an execution context.
    """

    def __init__(self, trt: Any, cuda: Cuda, path: Path, *, flavour: flavours.Flavour, host_code: bool) -> None:
        self._trt = trt
        self.path = path
        self.cuda = cuda
        self._logger = logger = flavours.make_logger(trt)
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
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        self.inputs = tuple(self._tensor(name) for name in inputs)
        self.outputs = tuple(self._tensor(name) for name in names if name not in inputs)
        shapes = engine.get_tensor_profile_shape(TOKENS, 0)
        self.smallest, self.largest = int(shapes[0][0]), int(shapes[2][0])
        self.buffers = {tensor.name: self._buffer(tensor) for tensor in (*self.inputs, *self.outputs)}
        self._batch = 0

    def _tensor(self, name: str) -> TensorSpec:
        kind = self._engine.get_tensor_dtype(name).name
        if kind not in DTYPES:
            raise ArtefactError(
                f"{self.path}: the engine's tensor {name} is {kind}, expected one of {', '.join(DTYPES)}"
            )
        # The batch is the one free size of our graphs.
        shape = tuple(BATCH if size < 0 else int(size) for size in self._engine.get_tensor_shape(name))
        return TensorSpec(name, DTYPES[kind][0], shape)

    def _buffer(self, tensor: TensorSpec) -> Buffer:
        """Memory of a tensor for the largest batch, made known to the context."""
        shape = tuple(self.largest if size == BATCH else cast(int, size) for size in tensor.shape)
        kind = DTYPES[self._engine.get_tensor_dtype(tensor.name).name][1]
        on_host = self._engine.get_tensor_location(tensor.name) == self._trt.TensorLocation.HOST
        buffer = Buffer(self.cuda, shape, kind, on_host=on_host)
        if not self._context.set_tensor_address(tensor.name, buffer.device):
            raise TrmDeployError(f"{self.path}: TensorRT refuses memory for the tensor {tensor.name}: {self._reason()}")
        return buffer

    def profile(self, report: Callable[[str, float], None]) -> None:
        """Have each layer of every run reported from now on: its name, and milliseconds.

        Raises:
            CannotRunHere: this flavour has no profiler.
        """
        base = getattr(self._trt, "IProfiler", None)
        if base is None:
            raise CannotRunHere(
                f"{self.path}: {self._trt.__name__} {self._trt.__version__} has no profiler",
                hint="profile it with the whole package: --runtime tensorrt",
            )

        class Profiler(base):  # type: ignore[misc, valid-type]
            """Hands on what it is told."""

            def __init__(self) -> None:
                base.__init__(self)  # type: ignore[misc]

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                report(layer_name, ms)

        self._profiler = Profiler()  # TensorRT does not keep it alive
        self._context.profiler = self._profiler

    def layers(self) -> list[dict[str, Any]]:
        """What the engine tells of its layers: "Name", "LayerType", and "Metadata" with the ONNX nodes behind it."""
        return layers_of(self._trt, self._engine)

    def set_batch(self, batch: int) -> None:
        """Tell the context the batch size of what comes."""
        if batch == self._batch:
            return
        for name in (tensor.name for tensor in self.inputs if tensor.shape):
            if not self._context.set_input_shape(name, (batch, *self.buffers[name].shape[1:])):
                raise TrmDeployError(
                    f"{self.path}: TensorRT refuses a batch of {batch} at the input {name}: {self._reason()}"
                )
        self._batch = batch

    def enqueue(self) -> None:
        """Put the engine's work on the stream."""
        if not self._context.execute_async_v3(int(self.cuda.stream)):
            raise TrmDeployError(
                f"{self.path}: TensorRT cannot run the engine: {self._reason()}", hint="type: trm-deploy doctor"
            )

    def check_capturable(self) -> None:
        """Raises `TrmDeployError` where the engine says that it cannot be captured; only newer ones can say."""
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
        return engine_precision(self._trt, self._engine) or "unknown"
