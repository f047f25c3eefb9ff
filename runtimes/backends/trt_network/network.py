"""The network that TensorRT's ONNX parser makes of a file, as plain data.

`INetworkDefinition.get_layer` gives every layer as an `ILayer`, whatever it is; the settings of its kind are read after
the object is given the class of its `type`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trm_deploy.errors import ArtefactError, CannotRunHere, MissingPackage
from trm_deploy.runtimes.backends.trt.cuda import from_bfloat16_bits
from trm_deploy.trt import flavours
from trm_deploy.trt.flavours import FLAVOURS

# Kind of layer -> its class and the settings that its class has. A kind that is not here cannot be evaluated.
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "ACTIVATION": ("IActivationLayer", ("type",)),
    "CAST": ("ICastLayer", ("to_type",)),
    "CONCATENATION": ("IConcatenationLayer", ("axis",)),
    "CONSTANT": ("IConstantLayer", ("shape", "weights")),
    "DEQUANTIZE": ("IDequantizeLayer", ("axis",)),
    "ELEMENTWISE": ("IElementWiseLayer", ("op",)),
    "GATHER": ("IGatherLayer", ("axis", "mode", "num_elementwise_dims")),
    "IDENTITY": ("IIdentityLayer", ()),
    "ITERATOR": ("IIteratorLayer", ("loop", "axis", "reverse")),
    "LOOP_OUTPUT": ("ILoopOutputLayer", ("loop", "axis", "kind")),
    "MATRIX_MULTIPLY": ("IMatrixMultiplyLayer", ("op0", "op1")),
    "QUANTIZE": ("IQuantizeLayer", ("axis",)),
    "RECURRENCE": ("IRecurrenceLayer", ("loop",)),
    "REDUCE": ("IReduceLayer", ("axes", "keep_dims", "op")),
    "SELECT": ("ISelectLayer", ()),
    "SHAPE": ("IShapeLayer", ()),
    "SHUFFLE": ("IShuffleLayer", ("first_transpose", "reshape_dims", "second_transpose", "zero_is_placeholder")),
    "SLICE": ("ISliceLayer", ("start", "shape", "stride", "axes", "mode")),
    "SOFTMAX": ("ISoftMaxLayer", ("axes",)),
    "SQUEEZE": ("ISqueezeLayer", ()),
    "TOPK": ("ITopKLayer", ("axes", "k", "op")),
    "TRIP_LIMIT": ("ITripLimitLayer", ("loop", "kind")),
    "UNARY": ("IUnaryLayer", ("op",)),
    "UNSQUEEZE": ("IUnsqueezeLayer", ()),
}
# Layers through which values enter and leave a loop, and that say how often it turns.
BOUNDARIES = frozenset(kind for kind, (_, settings) in KINDS.items() if "loop" in settings)


@dataclass(eq=False)
class Layer:
    """A layer.

    Attributes:
        name: as the parser called it, after the ONNX node.
        kind: key of `KINDS`.
        inputs: names of tensors; None where an optional one is absent.
        outputs: names of tensors.
        settings: of its kind, as plain values: enum members by their names, dimensions as tuples, weights as arrays.
        loop: number of the loop that it bounds; None for others.
    """

    name: str
    kind: str
    inputs: list[str | None]
    outputs: list[str]
    settings: dict[str, Any] = field(default_factory=dict)
    loop: int | None = None

    def __str__(self) -> str:
        return f"{self.name} ({self.kind})"


@dataclass
class Network:
    """A parsed network. Tensors are told by their names, which are unique.

    Attributes:
        layers: in the network's order.
        inputs, outputs: names of tensors.
        dtypes: tensor -> `DataType`, by its name.
        shapes: input or output -> its sizes; -1 where a size is free.
        loops: their names, in the order of their first layers.
    """

    layers: list[Layer]
    inputs: list[str]
    outputs: list[str]
    dtypes: dict[str, str]
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    loops: list[str] = field(default_factory=list)

    def of_kind(self, kind: str) -> list[Layer]:
        """The layers of a kind."""
        return [layer for layer in self.layers if layer.kind == kind]


def load() -> Any:
    """The package whose parser reads: TensorRT for RTX, which needs no GPU, else TensorRT.

    Raises:
        MissingPackage: neither is installed.
    """
    purpose, rtx, trt = "to see what TensorRT reads", FLAVOURS["rtx"], FLAVOURS["trt"]
    try:
        return flavours.load(rtx, purpose=purpose)
    except MissingPackage as error:
        try:
            return flavours.load(trt, purpose=purpose)
        except CannotRunHere:
            raise error from None


def parse(path: Path) -> Network:
    """The network that TensorRT's parser makes of an ONNX file.

    Raises:
        ArtefactError: TensorRT cannot parse it.
        CannotRunHere: neither package is installed, TensorRT finds no GPU, or a layer is of an unknown kind.
    """
    trt = load()
    flavour = FLAVOURS["rtx" if trt.__name__ == FLAVOURS["rtx"].module else "trt"]
    logger = flavours.make_logger(trt)
    builder = flavours.make(trt.Builder, logger, flavour, help=FLAVOURS["rtx"].install)
    definition = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(definition, logger)
    if not parser.parse(path.read_bytes()):
        reasons = [" ".join(parser.get_error(index).desc().split()) for index in range(parser.num_errors)]
        raise ArtefactError(
            f"{path}: {flavour.title} {trt.__version__} cannot parse it ({'; '.join(reasons)[:300]})",
            hint="export again from the checkpoint with this trm-deploy",
        )
    return read(trt, definition, str(path))


def read(trt: Any, definition: Any, place: str) -> Network:
    """An `INetworkDefinition` as plain data, with copies of its weights.

    Args:
        trt: the package that it comes from.
        definition: the network.
        place: where it comes from, for messages.

    Raises:
        CannotRunHere: a layer is of an unknown kind.
    """
    loops: list[Any] = []  # kept alive: pybind11 gives one object a loop only as long as somebody holds it
    network = Network([], [], [], {})
    for tensor in _items(definition.num_inputs, definition.get_input):
        network.inputs.append(tensor.name)
        network.dtypes[tensor.name] = tensor.dtype.name
        network.shapes[tensor.name] = tuple(tensor.shape)
    for found in _items(definition.num_layers, definition.get_layer):
        layer = _layer(trt, found, loops, place)
        for tensor in _items(found.num_outputs, found.get_output):
            if tensor.name in network.dtypes:
                raise CannotRunHere(f"{place}: two tensors of the network are called {tensor.name}")
            layer.outputs.append(tensor.name)
            network.dtypes[tensor.name] = tensor.dtype.name
        network.layers.append(layer)
    network.loops = [loop.name or f"loop {number}" for number, loop in enumerate(loops)]
    for tensor in _items(definition.num_outputs, definition.get_output):
        network.outputs.append(tensor.name)
        network.shapes[tensor.name] = tuple(tensor.shape)
    return network


def _items(count: int, get: Any) -> Iterator[Any]:
    return (get(index) for index in range(count))


def _layer(trt: Any, found: Any, loops: list[Any], place: str) -> Layer:
    """A layer without its outputs; `found` has the class of its kind afterwards. A new loop is added to `loops`."""
    kind = found.type.name  # before the class changes: `IActivationLayer.type` is another thing
    layer = Layer(
        found.name, kind, [tensor and tensor.name for tensor in _items(found.num_inputs, found.get_input)], []
    )
    if kind not in KINDS:
        raise CannotRunHere(
            f"{place}: TensorRT reads {layer}, and trt-network knows no {kind} layers",
            hint="report this with the file: trm-deploy exports no graph with such a layer",
        )
    class_name, settings = KINDS[kind]
    found.__class__ = getattr(trt, class_name)
    values = {name: getattr(found, name) for name in settings}
    if kind in BOUNDARIES:
        layer.loop = _number(values.pop("loop"), loops)
    if kind == "CONSTANT":
        weights = _values(values.pop("weights"), place)
        layer.settings["weights"] = weights.reshape(tuple(values["shape"]))
    layer.settings.update((name, _plain(value)) for name, value in values.items())
    return layer


def _number(loop: Any, loops: list[Any]) -> int:
    """A loop's place among those that were met; a new one is added."""
    for number, known in enumerate(loops):
        if known is loop:
            return number
    loops.append(loop)
    return len(loops) - 1


def _plain(value: Any) -> Any:
    """A setting as a plain value."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if hasattr(value, "name"):  # a member of an enum
        return value.name
    return tuple(int(number) for number in value)  # Dims or Permutation


class _Weights(ctypes.Structure):
    """`nvinfer1::Weights`."""

    _fields_ = (("dtype", ctypes.c_int32), ("values", ctypes.c_void_p), ("count", ctypes.c_int64))


def _values(weights: Any, place: str) -> NDArray[Any]:
    """A constant's values, copied; 16-bit floats as float32."""
    if isinstance(weights, np.ndarray):
        return weights.astype(np.float32) if weights.dtype == np.float16 else weights.copy()
    # numpy has no bfloat16, and the bindings show such weights as an object without its values. They are behind the
    # pointer that every pybind11 object has after its header.
    inside = _Weights.from_address(ctypes.c_void_p.from_address(id(weights) + object.__basicsize__).value or 0)
    if weights.dtype.name != "BF16" or (inside.dtype, inside.count) != (int(weights.dtype), weights.size):
        raise CannotRunHere(f"{place}: the network has a constant of {weights.dtype.name}, which cannot be read")
    bits = np.ctypeslib.as_array((ctypes.c_uint16 * inside.count).from_address(inside.values))
    return from_bfloat16_bits(bits)
