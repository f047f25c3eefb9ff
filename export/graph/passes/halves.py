"""SwiGLU's first product as two, one for the gate and one for what it gates: a pass over a composed graph."""

from __future__ import annotations

from collections import Counter

import onnx
from onnx import numpy_helper

from trm_deploy.export.graph.nested import graphs


def split_products(graph: onnx.GraphProto) -> None:
    """Compute a matrix product whose halves part ways as two products with half the weight each.

    A product that is written as a whole and then split is copied once more: a tenth of a step in ONNX Runtime.

    Requires: weights are initialisers of the top graph.
    Ensures: no Split into two halves follows a product with a weight; of every such weight the graph has its two
        halves, once each, and no longer the whole unless it has another use. Each value is the same sum of the same
        products.
    """
    weights = {tensor.name: tensor for tensor in graph.initializer if len(tensor.dims) == 2}
    uses = Counter(name for inner in graphs(graph) for node in inner.node for name in node.input)
    halves: dict[str, tuple[str, str]] = {}
    for inner in graphs(graph):
        products = {
            node.output[0]: node for node in inner.node if node.op_type == "MatMul" and node.input[1] in weights
        }
        nodes = []
        taken = set()
        for node in inner.node:
            product = products.get(node.input[0]) if node.op_type == "Split" else None
            if product is None or uses[product.output[0]] > 1 or not _in_halves(node, weights[product.input[1]]):
                nodes.append(node)
                continue
            weight = product.input[1]
            halves.setdefault(weight, (f"{weight}/gate", f"{weight}/up"))
            taken.add(product.output[0])
            uses[weight] -= 1
            for half, output in zip(halves[weight], node.output):
                nodes.append(
                    onnx.helper.make_node("MatMul", [product.input[0], half], [output], name=f"{output}/product")
                )
        kept = [node for node in nodes if not taken.intersection(node.output)]
        del inner.node[:]
        inner.node.extend(kept)
    for weight, names in halves.items():
        array = numpy_helper.to_array(weights[weight])
        middle = array.shape[1] // 2
        for name, part in zip(names, (array[:, :middle], array[:, middle:])):
            graph.initializer.append(numpy_helper.from_array(part.copy(), name))
        if not uses[weight]:
            graph.initializer.remove(weights[weight])


def _in_halves(split: onnx.NodeProto, weight: onnx.TensorProto) -> bool:
    """Whether a node splits the last axis of a product [B, S, width] with this weight into two equal parts."""
    axis = next((attribute.i for attribute in split.attribute if attribute.name == "axis"), 0)
    # Without an input for the sizes of the parts they are equal.
    return len(split.output) == 2 and len(split.input) == 1 and axis in (-1, 2) and weight.dims[1] % 2 == 0
