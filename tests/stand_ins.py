"""A stand-in for the `tensorrt` module, for machines without a GPU. Imports nothing of what it is used to test.

It has the attributes of the real one that this project may use, in the shape of TensorRT 10.3 or 11: what a version
lacks raises AttributeError, so that a call to a removed API fails here and not on a device. Its plans hold the ONNX
file, and executing one runs ONNX Runtime on the CPU. That drives our builder and runtime; what it returns says
nothing about TensorRT, and no parity result may come from it. `Cuda` is the stand-in for `cuda.bindings.runtime`.
"""

from __future__ import annotations

import ctypes
import enum
import importlib.machinery
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto

from tests.cuda_stand_in import Cuda

__all__ = ["VERSIONS", "Cuda", "tensorrt", "types_of"]

VERSIONS = {"10.3": "10.3.0.30", "11": "11.0.0.114"}


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3
    BOOL = 4
    INT64 = 8


TYPES: dict[int, DataType] = {
    TensorProto.FLOAT: DataType.FLOAT,
    TensorProto.FLOAT16: DataType.HALF,
    TensorProto.INT32: DataType.INT32,
    TensorProto.BOOL: DataType.BOOL,
    TensorProto.INT64: DataType.INT64,
}
NUMPY = {DataType.FLOAT: np.float32, DataType.HALF: np.float16, DataType.INT32: np.int32, DataType.BOOL: np.bool_}


class _Tensor:
    def __init__(self, value: Any, *, trip_count_on_host: bool = False) -> None:
        # Which of the two a trip count is, the network decides: both must work.
        self.is_shape_tensor = trip_count_on_host and value.name == "max_steps"
        kind = value.type.tensor_type
        self.name = value.name
        self.dtype = TYPES[kind.elem_type]
        self.shape = tuple(size.dim_value if size.HasField("dim_value") else -1 for size in kind.shape.dim)


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and those inside its nodes, at any depth."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs(attribute.g)


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    """Element type of every tensor whose type the model tells, those inside loops included."""
    kinds: dict[str, int] = {}
    for graph in graphs(model.graph):
        kinds |= {weight.name: weight.data_type for weight in graph.initializer}
        for value in (*graph.value_info, *graph.input, *graph.output):
            kinds[value.name] = value.type.tensor_type.elem_type
    return kinds


# Milliseconds that a profiled context reports of each layer.
LAYER_MS = 0.001


def layer_names(model: onnx.ModelProto) -> list[str]:
    """As TensorRT's parser names the layers of nodes without names; its builder fuses some and puts others in."""
    names = [f"node_of_{node.output[0]}" for graph in graphs(model.graph) for node in graph.node]
    fused = " + ".join(name for name in names if name.startswith(("node_of_pow", "node_of_mean", "node_of_silu")))
    return [*names, fused, "Reformatting CopyNode for Output Tensor 0"]


class _LayerType(enum.Enum):
    MATRIX_MULTIPLY = 1


def tensorrt(version: str, cuda: Cuda, *, gpu: bool = True, downgrades: bool = False) -> Any:
    """The module in the shape of TensorRT "10.3" or "11".

    Without `gpu` its builder and runtime cannot be made; one that `downgrades` builds fp32 engines in silence.
    """
    new = version == "11"

    class Severity(enum.Enum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    class ILogger:
        pass

    ILogger.Severity = Severity  # type: ignore[attr-defined]

    creation = {"STRONGLY_TYPED": 0} if new else {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1}
    creation_flag = enum.IntEnum("NetworkDefinitionCreationFlag", creation)  # type: ignore[misc]

    flags = ["VERSION_COMPATIBLE", "TF32"] + ([] if new else ["FP16", "INT8"])
    builder_flag = enum.Enum("BuilderFlag", flags)  # type: ignore[misc]

    class Network:
        def __init__(self, flags: int) -> None:
            assert flags == 1 << int(creation_flag["STRONGLY_TYPED"]), "not strongly typed"
            self._name = ""
            self.model: Any = None

        @property
        def name(self) -> str:
            return self._name

        @name.setter
        def name(self, value: str) -> None:
            if len(value.encode()) <= 4095:
                self._name = value

        @property
        def num_inputs(self) -> int:
            return len(self.model.graph.input)

        @property
        def num_outputs(self) -> int:
            return len(self.model.graph.output)

        def get_output(self, index: int) -> _Tensor:
            return _Tensor(self.model.graph.output[index])

        def get_input(self, index: int) -> _Tensor:
            return _Tensor(self.model.graph.input[index], trip_count_on_host=not new)

        @property
        def _products(self) -> list[DataType]:
            kinds, found = types_of(self.model), []
            for graph in graphs(self.model.graph):
                for node in graph.node:
                    if node.op_type in ("MatMul", "Gemm"):
                        found.append(TYPES[next(kinds[name] for name in node.input if name in kinds)])
            return found

        @property
        def num_layers(self) -> int:
            return len(self._products)

        def get_layer(self, index: int) -> Any:
            kind = self._products[index]
            return SimpleNamespace(
                type=_LayerType.MATRIX_MULTIPLY, get_input=lambda number: SimpleNamespace(dtype=kind)
            )

    class OnnxParser:
        def __init__(self, network: Network, logger: Any) -> None:
            self._network = network
            self._errors: list[Any] = []

        @property
        def num_errors(self) -> int:
            return len(self._errors)

        def get_error(self, index: int) -> Any:
            return self._errors[index]

        def parse(self, data: bytes) -> bool:
            model = onnx.load_from_string(data)
            operators = {node.op_type for graph in graphs(model.graph) for node in graph.node}
            if "NoSuchOperator" in operators:
                self._errors.append(
                    SimpleNamespace(
                        node=lambda: 3,
                        node_name=lambda: "odd_one",
                        node_operator=lambda: "NoSuchOperator",
                        desc=lambda: "no importer for it",
                    )
                )
                return False
            self._network.model = onnx.shape_inference.infer_shapes(model)  # the types inside
            return True

    class Profile:
        def __init__(self) -> None:
            self.shapes: dict[str, Any] = {}

            self.values: dict[str, Any] = {}

        def set_shape(self, name: str, least: Any, best: Any, most: Any) -> None:
            self.shapes[name] = (tuple(least), tuple(best), tuple(most))

        def set_shape_input(self, name: str, least: Any, best: Any, most: Any) -> None:
            assert not new, "no shape tensor in this one"
            self.values[name] = (tuple(least), tuple(best), tuple(most))

    class TimingCache:
        def __init__(self, data: bytes) -> None:
            self.data = data

        def serialize(self) -> bytes:
            return self.data or b"timings"

    class Config:
        __slots__ = (
            "builder_optimization_level",
            "cache",
            "flags",
            "hardware_compatibility_level",
            "max_aux_streams",
            "pools",
            "profile",
            "profiling_verbosity",
            "progress_monitor",
        )

        progress_monitor: Any

        def __init__(self) -> None:
            self.flags: set[Any] = {builder_flag["TF32"]}  # as in TensorRT, on by default
            self.pools: dict[Any, int] = {}

        def set_memory_pool_limit(self, pool: Any, size: int) -> None:
            self.pools[pool] = size

        def set_flag(self, flag: Any) -> None:
            self.flags.add(flag)

        def clear_flag(self, flag: Any) -> None:
            self.flags.discard(flag)

        def add_optimization_profile(self, profile: Profile) -> int:
            self.profile = profile
            return 0

        def create_timing_cache(self, data: bytes) -> TimingCache:
            if data and data != b"timings":
                raise TypeError("factory function returned nullptr")
            return TimingCache(data)

        def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
            self.cache = cache
            return True

        def get_timing_cache(self) -> TimingCache:
            return self.cache

    class Builder:
        def __init__(self, logger: Any) -> None:
            if not gpu:
                logger.log(Severity.ERROR, "CUDA initialization failure with error: 35")
                raise TypeError("pybind11::init(): factory function returned nullptr")

        def create_network(self, flags: int) -> Network:
            return Network(flags)

        def create_builder_config(self) -> Config:
            return Config()

        def create_optimization_profile(self) -> Profile:
            return Profile()

        def build_serialized_network(self, network: Network, config: Config) -> bytes:
            monitor = config.progress_monitor
            monitor.phase_start("Building Engine", None, 2)
            assert monitor.step_complete("Building Engine", 0)
            monitor.phase_finish("Building Engine")
            head = bytearray(b"ftrt" + bytes(24))
            head[24:28] = bytes(int(part) for part in VERSIONS[version].split("."))
            header = json.dumps({"profile": config.profile.shapes}).encode()
            del network.model.metadata_props[:]  # a plan holds nothing of the ONNX file's
            # As in a real plan, the name is plain text.
            return b"".join(
                (
                    bytes(head),
                    network.name.encode() + b"\0",
                    len(header).to_bytes(4, "little"),
                    header,
                    network.model.SerializeToString(),
                )
            )

    class Inspector:
        def __init__(self, model: Any) -> None:
            half = any(weight.data_type == TensorProto.FLOAT16 for weight in model.graph.initializer)
            self._half = half and not downgrades

        def get_engine_information(self, form: Any) -> str:
            if new:
                kind: dict[str, str] = {"DataType": "Half" if self._half else "Float", "Format": "kLINEAR"}
            else:
                kind = {"Format/Datatype": f"Row major linear {'FP16' if self._half else 'FP32'} format"}
            layer = {"Name": "/matmul_3", "LayerType": "gemm", "Inputs": [{"Name": "inner", **kind}]}
            return json.dumps({"Layers": [layer]})

    class Context:
        def __init__(self, engine: Engine) -> None:
            self._engine = engine
            self._addresses: dict[str, int] = {}
            self._shapes: dict[str, tuple[int, ...]] = {}
            self.profiler: Any = None

        def set_tensor_address(self, name: str, address: int) -> bool:
            self._addresses[name] = address
            return True

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            least, _, most = self._engine.profile[name]
            self._shapes[name] = tuple(shape)
            return all(low <= size <= high for low, size, high in zip(least, shape, most))

        def execute_async_v3(self, stream: int) -> bool:
            shapes = dict(self._shapes)
            cuda.run(lambda: self._execute(shapes))
            return True

        def _execute(self, shapes: dict[str, tuple[int, ...]]) -> None:
            feeds = {
                tensor.name: self._view(tensor, shapes.get(tensor.name, tensor.shape)).copy()
                for tensor in self._engine.inputs
            }
            results = self._engine.session.run([tensor.name for tensor in self._engine.outputs], feeds)
            for tensor, result in zip(self._engine.outputs, results):
                self._view(tensor, result.shape)[...] = result
            if self.profiler is not None:
                for name in layer_names(self._engine.model):
                    self.profiler.report_layer_time(name, LAYER_MS)

        def _view(self, tensor: _Tensor, shape: tuple[int, ...]) -> NDArray[Any]:
            dtype = np.dtype(NUMPY[tensor.dtype])
            count = int(np.prod(shape))
            raw = (ctypes.c_byte * (count * dtype.itemsize)).from_address(self._addresses[tensor.name])
            view: NDArray[Any] = np.frombuffer(memoryview(raw), dtype).reshape(shape)
            return view

    class Engine:
        def __init__(self, data: bytes) -> None:
            start = data.index(b"\0", 28) + 1
            self.name = data[28 : start - 1].decode()
            size = int.from_bytes(data[start : start + 4], "little")
            header = json.loads(data[start + 4 : start + 4 + size])
            self.profile = header["profile"]
            self.model = onnx.load_from_string(data[start + 4 + size :])
            options = ort.SessionOptions()
            options.log_severity_level = 4
            self.session = ort.InferenceSession(
                self.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
            self.inputs = [_Tensor(value) for value in self.model.graph.input]
            self.outputs = [_Tensor(value) for value in self.model.graph.output]

        @property
        def num_io_tensors(self) -> int:
            return len(self.inputs) + len(self.outputs)

        def get_tensor_name(self, index: int) -> str:
            return str([*self.inputs, *self.outputs][index].name)

        def _tensor(self, name: str) -> _Tensor:
            return next(tensor for tensor in (*self.inputs, *self.outputs) if tensor.name == name)

        def get_tensor_mode(self, name: str) -> Any:
            is_input = any(tensor.name == name for tensor in self.inputs)
            return module.TensorIOMode.INPUT if is_input else module.TensorIOMode.OUTPUT

        def get_tensor_dtype(self, name: str) -> DataType:
            return self._tensor(name).dtype

        def get_tensor_location(self, name: str) -> Any:
            on_host = name == "max_steps" and not new
            return module.TensorLocation.HOST if on_host else module.TensorLocation.DEVICE

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return self._tensor(name).shape

        def get_tensor_profile_shape(self, name: str, profile: int) -> Any:
            return self.profile[name]

        def create_execution_context(self) -> Context:
            return Context(self)

        def create_engine_inspector(self) -> Inspector:
            return Inspector(self.model)

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self._logger = logger
            self.engine_host_code_allowed = False
            if not gpu:
                raise TypeError("pybind11::init(): factory function returned nullptr")

        def deserialize_cuda_engine(self, data: bytes) -> Engine | None:
            try:
                return Engine(bytes(data))
            except Exception as error:
                self._logger.log(Severity.ERROR, f"IRuntime::deserializeCudaEngine: {error}")
                return None

    module = SimpleNamespace(
        __version__=VERSIONS[version],
        # torch's tracer looks for the package by its spec.
        __spec__=importlib.machinery.ModuleSpec("tensorrt", None),
        ILogger=ILogger,
        IProgressMonitor=type("IProgressMonitor", (), {}),
        IProfiler=type("IProfiler", (), {}),
        NetworkDefinitionCreationFlag=creation_flag,
        BuilderFlag=builder_flag,
        LayerType=_LayerType,
        int64=DataType.INT64,
        MemoryPoolType=SimpleNamespace(WORKSPACE="workspace"),
        HardwareCompatibilityLevel=SimpleNamespace(AMPERE_PLUS="ampere+"),
        ProfilingVerbosity=SimpleNamespace(DETAILED="detailed"),
        LayerInformationFormat=SimpleNamespace(JSON="json"),
        TensorIOMode=SimpleNamespace(INPUT="input", OUTPUT="output"),
        TensorLocation=SimpleNamespace(HOST="host", DEVICE="device"),
        Builder=Builder,
        OnnxParser=OnnxParser,
        Runtime=Runtime,
    )
    return module
