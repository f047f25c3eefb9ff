"""int8 matrix products: a pass over a composed graph, loop bodies included.

What is quantised is a product of an activation with a weight. Weights are initialisers of the top graph, each there
once however many bodies use it, and so are their int8 forms: one scale for each column (output channel), symmetric.
All else stays in the graph's own precision. Activations come in two ways, neither of which lets a sample's answer
depend on what shares its batch, as one scale over the batch would:

    by row      one scale for each row, computed when the graph runs, for ONNX Runtime on CPUs. Needs no calibration.
    statically  one scale for each weight, calibrated (`trm_deploy.export.graph.calibration`), as QuantizeLinear and
                DequantizeLinear nodes, for TensorRT, whose int8 products take no others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from trm_deploy.artefacts.onnx_file import INT8_BY_ROW
from trm_deploy.errors import TrmDeployError
from trm_deploy.export.graph.nested import graphs
from trm_deploy.models.recursive import RecursiveReasoner

# Layer groups by the names of their weights in a checkpoint. What is in none, the halting head, is always float32.
GROUPS = {
    "token gate_up": r"mixer\.mlp\.gate_up\.weight$",
    "token down": r"mixer\.mlp\.down\.weight$",
    "attention qkv": r"mixer\.qkv\.weight$",
    "attention out": r"mixer\.out\.weight$",
    "channel gate_up": r"blocks\.\d+\.mlp\.gate_up\.weight$",
    "channel down": r"blocks\.\d+\.mlp\.down\.weight$",
    "answer head": r"^answer_head\.weight$",
}

# The largest magnitude of an int8 value; -128 is not used, so that the range is symmetric.
LARGEST = 127
CONTRIB = "com.microsoft"

# Groups that stay in floating point, as `make sensitivity` measured them one by one (docs/precision.md). The answer
# head is a thousandth of the work. With a scale for each row, no other group moves a step by a logit. With one static
# scale, the input of SwiGLU's second product is the hard one, the product of two activations: it moves a step by two or
# three logits, five to seven times as far as the first product, and with both in int8 ten puzzles of a hundred were
# lost, four won.
FLOAT_BY_ROW = frozenset({"answer head"})
FLOAT_STATIC = frozenset({"answer head", "token down", "channel down"})

Nodes = list[onnx.NodeProto]
Groups = Mapping[str, str]


def weight_groups(model: RecursiveReasoner, graph: onnx.GraphProto) -> dict[str, str]:
    """Which layer group each weight of a graph belongs to: initialiser -> key of `GROUPS`.

    The exporter names weights as it likes and stores them transposed, so they are told by their values.

    Args:
        model: what was traced, in the graph's precision.
        graph: composed of the trace.
    """
    known = {}
    for name, weight in model.named_parameters():
        for group, pattern in GROUPS.items():
            if re.search(pattern, name):
                whole = weight.detach().t().contiguous().numpy()
                known[_key(whole)] = group
                if name.endswith("gate_up.weight"):  # which `split_products` may have divided
                    known |= {_key(half): group for half in np.split(whole, 2, axis=1)}
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer if len(tensor.dims) == 2}
    found = {name: known[_key(array)] for name, array in arrays.items() if _key(array) in known}
    return {name: group for name, group in found.items() if name in set(_multiplied(graph))}


def chosen(groups: Groups, kept: Collection[str]) -> list[str]:
    """The weights to quantise: those in no group that is kept in floating point."""
    return [weight for weight, group in groups.items() if group not in kept]


def _key(array: NDArray[np.generic]) -> tuple[tuple[int, ...], bytes]:
    return array.shape, array.tobytes()


def _multiplied(graph: onnx.GraphProto) -> Iterator[str]:
    """Second operands of matrix products, those inside loops included."""
    for inner in graphs(graph):
        yield from (node.input[1] for node in inner.node if node.op_type == "MatMul")


def quantize_by_row(graph: onnx.GraphProto, weights: Collection[str]) -> None:
    """Compute the products with some weights in int8, each row of the activation with a scale of its own.

    Requires: float32 products; the weights are initialisers of the top graph with no use but as second operands of
        MatMul.
    Ensures: rows stay independent of each other; the weights leave the graph, their int8 forms come into it once each.
        The model has to import the operators of `CONTRIB`.

    Raises:
        TrmDeployError: a weight has another use.
    """
    constants: dict[str, NDArray[Any]] = {
        "int8/last_axis": np.array([-1], np.int64),
        "int8/one": np.array(1, np.float32),
        # The operator wants unsigned activations: 128 means zero.
        "int8/zero_point": np.array(128, np.uint8),
        "int8/smallest": np.array(np.finfo(np.float32).tiny, np.float32),  # for a row of zeros
        "int8/step": np.array(1 / LARGEST, np.float32),
    }

    def product(x: str, weight: str, output: str) -> Nodes:
        def name(stem: str) -> str:
            return f"{output}/{stem}"

        make = helper.make_node
        return [
            make("Abs", [x], [name("magnitude")]),
            make("ReduceMax", [name("magnitude"), "int8/last_axis"], [name("largest")], keepdims=1),
            make("Max", [name("largest"), "int8/smallest"], [name("positive")]),
            make("Mul", [name("positive"), "int8/step"], [name("scale")]),
            make("Div", [x, name("scale")], [name("scaled")]),
            make("QuantizeLinear", [name("scaled"), "int8/one", "int8/zero_point"], [name("int8")]),
            make(
                INT8_BY_ROW,
                [name("int8"), f"{weight}/int8", "int8/one", f"{weight}/scale", "int8/zero_point"],
                [name("product")],
                domain=CONTRIB,
            ),
            make("Mul", [name("product"), name("scale")], [output]),
        ]

    _replace(graph, weights, product)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())


def quantize_statically(graph: onnx.GraphProto, scales: Mapping[str, float]) -> None:
    """Put QuantizeLinear and DequantizeLinear around the products with some weights.

    Requires: float32 or float16 products; the weights are initialisers of the top graph with no use but as second
        operands of MatMul.
    Ensures: each of these products has a dequantised weight and a dequantised activation; standard operators alone.

    Args:
        graph: changed in place.
        scales: weight -> the activation's largest magnitude that int8 is to hold, beyond which it saturates.

    Raises:
        TrmDeployError: a weight has another use.
    """
    kinds = {tensor.name: numpy_helper.to_array(tensor).dtype for tensor in graph.initializer if tensor.name in scales}

    def product(x: str, weight: str, output: str) -> Nodes:
        def name(stem: str) -> str:
            return f"{output}/{stem}"

        make = helper.make_node
        return [
            make("QuantizeLinear", [x, f"{weight}/input_scale", "int8/zero"], [name("int8")]),
            make("DequantizeLinear", [name("int8"), f"{weight}/input_scale", "int8/zero"], [name("restored")]),
            make("DequantizeLinear", [f"{weight}/int8", f"{weight}/scale"], [name("weight")], axis=1),
            make("MatMul", [name("restored"), name("weight")], [output]),
        ]

    _replace(graph, scales, product)
    graph.initializer.append(numpy_helper.from_array(np.array(0, np.int8), "int8/zero"))
    graph.initializer.extend(
        numpy_helper.from_array(np.array(largest / LARGEST, kinds[weight]), f"{weight}/input_scale")
        for weight, largest in scales.items()
    )


def _replace(graph: onnx.GraphProto, weights: Collection[str], product: Callable[[str, str, str], Nodes]) -> None:
    """Put other nodes in place of the products with some weights, and int8 in place of the weights."""
    kept = [tensor for tensor in graph.initializer if tensor.name not in weights]
    for tensor in graph.initializer:
        if tensor.name in weights:
            values, scale = quantized(numpy_helper.to_array(tensor))
            kept.append(numpy_helper.from_array(values, f"{tensor.name}/int8"))
            kept.append(numpy_helper.from_array(scale, f"{tensor.name}/scale"))
    for inner in graphs(graph):
        nodes: Nodes = []
        for node in inner.node:
            if node.op_type == "MatMul" and node.input[1] in weights:
                nodes += product(node.input[0], node.input[1], node.output[0])
            elif set(node.input) & set(weights):
                raise TrmDeployError(f"the weight {node.input[1]} has another use than products ({node.op_type})")
            else:
                nodes.append(node)
        del inner.node[:]
        inner.node.extend(nodes)
    del graph.initializer[:]
    graph.initializer.extend(kept)


def quantized(weight: NDArray[np.floating]) -> tuple[NDArray[np.int8], NDArray[np.floating]]:
    """A weight [K, N] as int8 and its scales [N], in the weight's precision."""
    wide = weight.astype(np.float32)
    largest = np.maximum(np.abs(wide).max(0), LARGEST * np.finfo(np.float16).tiny)  # no scale is zero
    scale = (largest / LARGEST).astype(weight.dtype)
    values = np.clip(np.rint(wide / scale.astype(np.float32)), -LARGEST, LARGEST).astype(np.int8)
    return values, scale
