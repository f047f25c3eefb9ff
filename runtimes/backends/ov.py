"""Runs an exported ONNX file with OpenVINO on the processor, in each of its three graph forms.

Needs neither torch nor onnx nor a C++ compiler, and computes in bfloat16 where the processor does: the file stays what
it is, its products are rounded. By itself OpenVINO does so wherever it can; here it does only where the flag or the
artefact's build record says that it may (`arithmetic`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from trm_deploy.artefacts import onnx_file, record
from trm_deploy.errors import ArtefactError, CannotRunHere, InputError, require
from trm_deploy.runtimes import registry
from trm_deploy.runtimes.base import LoadOptions
from trm_deploy.runtimes.dividing import parts_of
from trm_deploy.runtimes.graph_runtime import NUMPY, GraphRuntime, LoadedGraph, open_graph
from trm_deploy.signature import BATCH, DType, Precision, TensorSpec, signature
from trm_deploy.support import machine

NAME = "openvino"
TITLE = "OpenVINO"
# OpenVINO's words for the arithmetic, and the capability that the processor needs for it.
ARITHMETIC: dict[Precision, tuple[str, str]] = {"fp32": ("f32", "FP32"), "bf16": ("bf16", "BF16")}
DTYPES: dict[str, DType] = {
    "boolean": "bool",
    "i32": "int32",
    "f32": "float32",
    "f16": "float16",
    "bf16": "bfloat16",
}


def load(path: Path, options: LoadOptions, *, counters: bool = False) -> GraphRuntime:
    """Load an ONNX file.

    Args:
        path: the file.
        options: `precision` is that of the arithmetic; None: bfloat16 where the build record accepts it and the
            processor computes it, else the file's.
        counters: keep performance counters.

    Raises:
        ArtefactError: truncated, not an ONNX file, not one that `trm-deploy export` made, or one that OpenVINO cannot
            load.
        CannotRunHere: OpenVINO is missing, or it does not compute this precision here.
        InputError: another device than the processor.
    """
    openvino = require("openvino", extra="openvino", purpose=f"to run {path}")
    if options.device != "cpu":
        raise InputError("--device cuda: OpenVINO runs on the processor", hint="leave out --device, or --runtime")
    described = onnx_file.read(path)
    if not registry.get(NAME).computes(described):
        found, other = described.precision, "--precision fp32 and run it with --precision bf16"
        if found == "int8":
            found, other = "int8 with a scale for each row", "--static-scales"
        raise CannotRunHere(
            f"{path}: is in {found}, of which OpenVINO has no kernels for our graphs",
            hint=f"leave out --runtime openvino, or export it with {other}",
        )
    core = openvino.Core()
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    arithmetic: Precision = "int8"
    if described.precision == "int8":
        refuse_other_than_int8(path, options.precision, capabilities)
        # Of what is not int8, float16 in the file; the whole is held to int8's bounds.
        products: Precision = "bf16" if "BF16" in capabilities else "fp32"
    else:
        arithmetic = products = choose_arithmetic(path, options.precision, capabilities)
    names = signature(described.spec, described.graph, baked=described.baked).tensors
    session = OpenVinoSession(openvino, core, path, products, names, counters=counters)
    return open_graph(
        session,
        LoadedGraph(
            path,
            described.spec,
            described.graph,
            described.steps,
            described.precision,
            NAME,
            f"{TITLE} {arithmetic}" if arithmetic != described.precision else TITLE,
            arithmetic,
            described.baked,
        ),
    )


def refuse_other_than_int8(path: Path, asked: Precision | None, capabilities: list[str]) -> None:
    """Raises `CannotRunHere` where an int8 file is to be computed in something else, or the processor has no int8."""
    if asked not in (None, "int8"):
        raise CannotRunHere(f"--precision {asked}: {path} is in int8, and computed so", hint="leave out --precision")
    if "INT8" not in capabilities:
        raise CannotRunHere(
            f"{path}: is in int8, which OpenVINO does not compute on this processor",
            hint="leave out --runtime openvino, or export it with --precision fp32",
        )


def choose_arithmetic(path: Path, asked: Precision | None, capabilities: list[str]) -> Precision:
    """What the products of a float file are computed in.

    Args:
        path: the artefact, with its build record beside it.
        asked: by flag.
        capabilities: the processor's, by OpenVINO.

    Raises:
        CannotRunHere: the processor does not compute what the flag says.
    """
    if asked is not None:
        if asked not in ARITHMETIC or ARITHMETIC[asked][1] not in capabilities:
            able = [name for name, (_, capability) in ARITHMETIC.items() if capability in capabilities]
            raise CannotRunHere(
                f"--precision {asked}: OpenVINO does not compute it on this processor, expected {' or '.join(able)}",
                hint=f"type: trm-deploy run --runtime openvino --precision {able[-1]} ...",
            )
        return asked
    built = record.read(path)
    accepts_bf16 = built is not None and built.arithmetic == "bf16"
    return "bf16" if accepts_bf16 and "BF16" in capabilities else "fp32"


class OpenVinoSession:
    """An ONNX file in OpenVINO: a `trm_deploy.runtimes.graph_runtime.Session`."""

    smallest_batch = 1
    largest_batch = None

    def __init__(
        self,
        openvino: Any,
        core: Any,
        path: Path,
        arithmetic: Precision,
        names: Collection[str],
        *,
        counters: bool = False,
    ) -> None:
        self._openvino, self._path = openvino, path
        self._core = core
        self._threads = machine.threads()
        self._config = {
            "INFERENCE_PRECISION_HINT": ARITHMETIC[arithmetic][0],
            "INFERENCE_NUM_THREADS": self._threads,
            # Pinned threads would stay on cores that a quota or another process has taken.
            "ENABLE_CPU_PINNING": False,
            "PERF_COUNT": counters,
        }
        try:
            self.model = core.read_model(path)
            self.compiled = compiled = self.compile(self.model)
        except RuntimeError as error:
            raise ArtefactError(
                f"{path}: OpenVINO cannot load it ({_reason(error)})",
                hint="add --runtime onnxruntime",
            ) from error
        self.request = compiled.create_infer_request()
        self.runs = 0  # done so far
        self.inputs = tuple(_tensor(port, names) for port in compiled.inputs)
        self.outputs = tuple(_tensor(port, names) for port in compiled.outputs)
        # One request has its counters, and a graph of one batch size is not divided.
        self._divides = not counters and all(tensor.shape[0] == BATCH for tensor in self.inputs if tensor.shape)
        self._requests = {1: [self.request]}  # by their number
        # The arrays of the run that is on: they stay even where a second Ctrl-C ends the wait for it. Set last, so that
        # they go last.
        self._in_use: tuple[dict[str, Any], dict[str, Any]] = {}, {}

    def compile(self, model: Any, streams: int = 1) -> Any:
        """A graph as OpenVINO executes it, with the settings of this session."""
        return self._core.compile_model(model, "CPU", {**self._config, "NUM_STREAMS": streams})

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """See `Session.run`; outputs are arrays of their own, which the next run does not overwrite."""
        batch = next(len(value) for value in feeds.values() if value.ndim)
        # OpenVINO reads and writes them in place.
        arrays = {name: np.ascontiguousarray(value) if value.ndim else value for name, value in feeds.items()}
        results = {}
        for tensor in self.outputs:
            # Memory of its own for each run: a state that comes out is the next run's input, without a copy.
            shape = tuple(batch if size == BATCH else size for size in tensor.shape)
            results[tensor.name] = np.empty(cast("tuple[int, ...]", shape), NUMPY[tensor.dtype])
        parts = parts_of(batch, self._threads) if self._divides else [slice(None)]
        requests = self._requests_of(len(parts))
        for rows, request in zip(parts, requests):
            for name, value in (*arrays.items(), *results.items()):
                request.set_tensor(name, self._tensor_of(value[rows] if value.ndim else value))
        self._in_use = arrays, results
        try:
            for request in requests:
                request.start_async()
            failures = [error for request in requests if (error := _wait(request)) is not None]
        except BaseException:
            # After a Ctrl-C between two waits, the others still write to our arrays.
            for request in requests:
                _wait(request)
            raise
        if failures:
            raise ArtefactError(
                f"{self._path}: OpenVINO cannot run it ({_reason(failures[0])})",
                hint="add --runtime onnxruntime",
            ) from failures[0]
        self.runs += 1
        return results

    def _requests_of(self, count: int) -> list[Any]:
        """So many requests that run side by side, each with its part of the threads."""
        if count not in self._requests:
            compiled = self.compile(self.model, count)
            self._requests[count] = [compiled.create_infer_request() for _ in range(count)]
        return self._requests[count]

    def _tensor_of(self, array: Any) -> Any:
        return self._openvino.Tensor(array, shared_memory=True)


def _tensor(port: Any, names: Collection[str]) -> TensorSpec:
    """What OpenVINO says of an input or output; a free size is the batch.

    What an operator hands on unchanged is one tensor with several names for OpenVINO: the graph's own is wanted.
    """
    name = next((name for name in sorted(port.get_names()) if name in names), port.get_any_name())
    kind = port.get_element_type().get_type_name()
    sizes = (size.get_length() if size.is_static else BATCH for size in port.get_partial_shape())
    return TensorSpec(name, DTYPES.get(kind, cast(DType, kind)), tuple(sizes))


def _wait(request: Any) -> RuntimeError | None:
    """Wait for a request that was started; what went wrong."""
    try:
        request.wait()
    except RuntimeError as error:
        return error
    return None


def _reason(error: Exception) -> str:
    """The last line of what OpenVINO says, which has the reason; the others are places in its sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:160]
