"""What each kind of layer computes, by NVIDIA's description of its operator.

Floating-point tensors are held as float32, whatever their type: the numbers of narrower types are among float32's. A
layer computes in float32, and its result is rounded to its tensor's type by `rounded`. Products are so accumulated in
float32, as tensor cores do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trm_deploy.errors import CannotRunHere
from trm_deploy.runtimes.backends.trt.cuda import bfloat16_bits, from_bfloat16_bits
from trm_deploy.runtimes.backends.trt_network.network import Layer

Array = NDArray[Any]
Inputs = Sequence[Any]  # arrays; None where an optional one is absent

WHOLE = {"BOOL": np.bool_, "INT8": np.int8, "UINT8": np.uint8, "INT32": np.int32, "INT64": np.int64}


def rounded(value: Array, dtype: str, layer: Layer) -> Array:
    """A value as a tensor of a type holds it: to the nearest, ties to even.

    Raises:
        CannotRunHere: an unknown type.
    """
    if dtype in WHOLE:
        return value.astype(WHOLE[dtype], copy=False)
    if dtype == "FLOAT":
        return value.astype(np.float32, copy=False)
    with np.errstate(over="ignore"):
        if dtype == "HALF":
            return value.astype(np.float16).astype(np.float32)
        if dtype == "BF16":
            return from_bfloat16_bits(bfloat16_bits(value))
    raise CannotRunHere(f"the layer {layer} gives {dtype}, which trt-network does not know")


def evaluate(layer: Layer, inputs: Inputs) -> tuple[Array, ...]:
    """The results of a layer that bounds no loop, not yet rounded.

    Raises:
        CannotRunHere: a setting of its kind that no graph of ours uses.
    """
    with np.errstate(all="ignore"):  # what overflows here overflows in an engine too, and shows in the result
        results = EVALUATED[layer.kind](layer, inputs)
    return tuple(np.asarray(result) for result in (results if isinstance(results, tuple) else (results,)))


def _unknown(layer: Layer, *settings: str) -> CannotRunHere:
    shown = ", ".join(f"{name} {layer.settings[name]}" for name in settings)
    return CannotRunHere(
        f"the layer {layer} has {shown}, which trt-network does not know",
        hint="report this with the file: trm-deploy exports no graph with such a layer",
    )


def _activation(layer: Layer, inputs: Inputs) -> Any:
    (x,) = inputs
    kind = layer.settings["type"]
    if kind == "SIGMOID":
        return 1 / (1 + np.exp(-x))
    if kind == "RELU":
        return np.maximum(x, 0)
    if kind == "TANH":
        return np.tanh(x)
    raise _unknown(layer, "type")


def _cast(layer: Layer, inputs: Inputs) -> Any:
    (x,) = inputs  # numpy's conversion to whole numbers cuts off, as TensorRT's does; `rounded` does it
    return x


def _concatenation(layer: Layer, inputs: Inputs) -> Any:
    return np.concatenate(inputs, axis=layer.settings["axis"])


def _constant(layer: Layer, inputs: Inputs) -> Any:
    return layer.settings["weights"]


def _truncated_quotient(a: Array, b: Array) -> Any:
    if a.dtype == np.float32:
        return a / b
    return np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))  # as in C


ELEMENTWISE: dict[str, Callable[[Array, Array], Any]] = {
    "SUM": np.add,
    "PROD": np.multiply,
    "MAX": np.maximum,
    "MIN": np.minimum,
    "SUB": np.subtract,
    "DIV": _truncated_quotient,
    "POW": np.power,
    "FLOOR_DIV": np.floor_divide,
    "AND": np.logical_and,
    "OR": np.logical_or,
    "XOR": np.logical_xor,
    "EQUAL": np.equal,
    "GREATER": np.greater,
    "LESS": np.less,
}


def _elementwise(layer: Layer, inputs: Inputs) -> Any:
    a, b = inputs
    if layer.settings["op"] not in ELEMENTWISE:
        raise _unknown(layer, "op")
    return ELEMENTWISE[layer.settings["op"]](a, b)


def _gather(layer: Layer, inputs: Inputs) -> Any:
    data, indices = inputs
    if layer.settings["mode"] != "DEFAULT" or layer.settings["num_elementwise_dims"]:
        raise _unknown(layer, "mode", "num_elementwise_dims")
    return np.take(data, indices, axis=layer.settings["axis"])


def _identity(layer: Layer, inputs: Inputs) -> Any:
    (x,) = inputs
    return x


def _matrix_multiply(layer: Layer, inputs: Inputs) -> Any:
    operands = []
    for x, setting in zip(inputs, ("op0", "op1")):
        if layer.settings[setting] == "TRANSPOSE":
            x = np.swapaxes(x, -1, -2)
        elif layer.settings[setting] != "NONE":
            raise _unknown(layer, setting)
        operands.append(x)
    return np.matmul(*operands)


def _along(values: Array, axis: int, rank: int) -> Array:
    """A scale as it is: one number, or one a slice of an axis."""
    return values.reshape([-1 if values.size > 1 and place == axis else 1 for place in range(rank)])


def _quantize(layer: Layer, inputs: Inputs) -> Any:
    x, scale, *_ = inputs  # zero points are zero: TensorRT knows symmetric scales alone
    return np.clip(np.rint(x / _along(scale, layer.settings["axis"], x.ndim)), -128, 127)


def _dequantize(layer: Layer, inputs: Inputs) -> Any:
    x, scale, *_ = inputs
    return x.astype(np.float32) * _along(scale, layer.settings["axis"], x.ndim)


REDUCE: dict[str, Callable[..., Any]] = {"SUM": np.sum, "PROD": np.prod, "MAX": np.max, "MIN": np.min, "AVG": np.mean}


def _axes(mask: int, rank: int) -> tuple[int, ...]:
    """The axes of a bit mask."""
    return tuple(axis for axis in range(rank) if mask >> axis & 1)


def _reduce(layer: Layer, inputs: Inputs) -> Any:
    (x,) = inputs
    if layer.settings["op"] not in REDUCE:
        raise _unknown(layer, "op")
    reduce = REDUCE[layer.settings["op"]]
    return reduce(x, axis=_axes(layer.settings["axes"], x.ndim), keepdims=layer.settings["keep_dims"])


def _select(layer: Layer, inputs: Inputs) -> Any:
    condition, chosen, other = inputs
    return np.where(condition, chosen, other)


def _shape(layer: Layer, inputs: Inputs) -> Any:
    (x,) = inputs
    return np.array(x.shape, np.int64)


def _shuffle(layer: Layer, inputs: Inputs) -> Any:
    x, *more = inputs
    settings = layer.settings
    x = x.transpose(settings["first_transpose"][: x.ndim])
    sizes = more[0] if more else settings["reshape_dims"]
    if sizes is not None:
        # With `zero_is_placeholder`, 0 takes the size over.
        kept = settings["zero_is_placeholder"]
        x = x.reshape([x.shape[place] if kept and not size else int(size) for place, size in enumerate(sizes)])
    return x.transpose(settings["second_transpose"][: x.ndim])


def _slice(layer: Layer, inputs: Inputs) -> Any:
    x, *dynamic = inputs
    if layer.settings["mode"] != "STRICT_BOUNDS" or len(dynamic) > 3:
        raise _unknown(layer, "mode")
    dynamic += [None] * (3 - len(dynamic))
    axes = layer.settings["axes"] or range(x.ndim)
    named = [
        layer.settings[name] if given is None else given.tolist()
        for name, given in zip(("start", "shape", "stride"), dynamic)
    ]
    sliced = {axis % x.ndim: part for axis, part in zip(axes, zip(*named))}
    index, sizes = [], []
    for axis, held in enumerate(x.shape):
        start, size, stride = sliced.get(axis, (0, held, 1))
        if start < 0 or stride < 0 or start + stride * max(size - 1, 0) >= max(held, 1):
            raise CannotRunHere(f"the layer {layer} reads {start}+{stride}*{size} of {held} elements on axis {axis}")
        # A stride of 0 repeats one slice.
        index.append(slice(start, start + stride * size, stride) if stride else slice(start, start + 1))
        sizes.append(size)
    return np.broadcast_to(x[tuple(index)], sizes)


def _softmax(layer: Layer, inputs: Inputs) -> Any:
    (x,) = inputs
    axes = _axes(layer.settings["axes"], x.ndim)
    powers = np.exp(x - x.max(axis=axes, keepdims=True))
    return powers / powers.sum(axis=axes, keepdims=True)


def _squeeze(layer: Layer, inputs: Inputs) -> Any:
    x, axes = inputs
    return np.squeeze(x, tuple(axes.ravel().tolist()))


def _topk(layer: Layer, inputs: Inputs) -> Any:
    x, *more = inputs
    count = int(more[0]) if more else layer.settings["k"]
    (axis,) = _axes(layer.settings["axes"], x.ndim)
    order = np.argsort(-x if layer.settings["op"] == "MAX" else x, axis=axis, kind="stable")
    indices = np.take(order, np.arange(count), axis=axis)
    return np.take_along_axis(x, indices, axis), indices


UNARY: dict[str, Callable[[Array], Any]] = {
    "EXP": np.exp,
    "LOG": np.log,
    "SQRT": np.sqrt,
    "RECIP": np.reciprocal,
    "ABS": np.abs,
    "NEG": np.negative,
    "SIN": np.sin,
    "COS": np.cos,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "NOT": np.logical_not,
    "SIGN": np.sign,
    "ROUND": np.rint,
}


def _unary(layer: Layer, inputs: Inputs) -> Any:
    (x,) = inputs
    if layer.settings["op"] not in UNARY:
        raise _unknown(layer, "op")
    return UNARY[layer.settings["op"]](x)


def _unsqueeze(layer: Layer, inputs: Inputs) -> Any:
    x, axes = inputs
    return np.expand_dims(x, tuple(axes.ravel().tolist()))


# Each gives an array, or a tuple of them where a layer has several outputs.
EVALUATED: dict[str, Callable[[Layer, Inputs], Any]] = {
    "ACTIVATION": _activation,
    "CAST": _cast,
    "CONCATENATION": _concatenation,
    "CONSTANT": _constant,
    "DEQUANTIZE": _dequantize,
    "ELEMENTWISE": _elementwise,
    "GATHER": _gather,
    "IDENTITY": _identity,
    "MATRIX_MULTIPLY": _matrix_multiply,
    "QUANTIZE": _quantize,
    "REDUCE": _reduce,
    "SELECT": _select,
    "SHAPE": _shape,
    "SHUFFLE": _shuffle,
    "SLICE": _slice,
    "SOFTMAX": _softmax,
    "SQUEEZE": _squeeze,
    "TOPK": _topk,
    "UNARY": _unary,
    "UNSQUEEZE": _unsqueeze,
}
