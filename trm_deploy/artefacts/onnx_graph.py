"""The nodes of an ONNX file and what connects them, read without the onnx package.

Beside the fields that `trm_deploy.artefacts.onnx_file` reads:

    GraphProto      5 initializer
    NodeProto       1 input        2 output    3 name
    TensorProto     1 dims         8 name
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from trm_deploy.artefacts.onnx_file import MAX_DEPTH, MAX_FIELDS, fields, text, varint
from trm_deploy.errors import ArtefactError


@dataclass(frozen=True)
class Node:
    """An operator.

    Attributes:
        operator: as ONNX calls it.
        inputs: names of tensors; "" where an optional one is absent.
        outputs: names of tensors.
        bodies: graphs inside it, as the body of a Loop.
        name: its own; most of ours have none.
    """

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    bodies: tuple[OnnxGraph, ...] = ()
    name: str = ""


@dataclass(frozen=True)
class OnnxGraph:
    """A graph.

    Attributes:
        nodes: in the order in which they are computed.
        weights: name of an initializer -> its sizes.
    """

    nodes: tuple[Node, ...]
    weights: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def everything(self) -> Iterator[Node]:
        """All nodes, those inside a node before it."""
        for node in self.nodes:
            for body in node.bodies:
                yield from body.everything()
            yield node

    def all_weights(self) -> dict[str, tuple[int, ...]]:
        """Initializers of this graph and of those inside its nodes."""
        found = dict(self.weights)
        for node in self.nodes:
            for body in node.bodies:
                found |= body.all_weights()
        return found


def read(path: Path) -> OnnxGraph:
    """The graph of an ONNX file.

    Raises:
        ArtefactError: not an ONNX file, or truncated.
    """
    budget = [MAX_FIELDS]
    try:
        for number, value in fields(memoryview(path.read_bytes()), budget):
            if number == 7 and not isinstance(value, int):
                return _graph(value, budget, 0)
    except ValueError as error:
        raise ArtefactError(
            f"{path}: is not an ONNX file, or is truncated ({error})",
            hint="type: trm-deploy export CHECKPOINT --format onnx",
        ) from error
    raise ArtefactError(f"{path}: is an ONNX file without a graph")


def _graph(view: memoryview, budget: list[int], depth: int) -> OnnxGraph:
    if depth > MAX_DEPTH:
        raise ValueError(f"graphs inside graphs, {depth} deep")
    nodes, weights = [], {}
    for number, value in fields(view, budget):
        if number == 1 and not isinstance(value, int):
            nodes.append(_node(value, budget, depth))
        elif number == 5 and not isinstance(value, int):
            name, sizes = _weight(value, budget)
            weights[name] = sizes
    return OnnxGraph(tuple(nodes), weights)


def _node(view: memoryview, budget: list[int], depth: int) -> Node:
    operator, name, inputs, outputs, bodies = "", "", [], [], []
    for number, value in fields(view, budget):
        if number == 1:
            inputs.append(text(value))
        elif number == 2:
            outputs.append(text(value))
        elif number == 3:
            name = text(value)
        elif number == 4:
            operator = text(value)
        elif number == 5 and not isinstance(value, int):
            bodies += [
                _graph(inner, budget, depth + 1)
                for kind, inner in fields(value, budget)
                if kind == 6 and not isinstance(inner, int)
            ]
    return Node(operator, tuple(inputs), tuple(outputs), tuple(bodies), name)


def _weight(view: memoryview, budget: list[int]) -> tuple[str, tuple[int, ...]]:
    name, sizes = "", []
    for number, value in fields(view, budget):
        if number == 8:
            name = text(value)
        elif number == 1 and isinstance(value, int):
            sizes.append(value)
        elif number == 1 and not isinstance(value, int):  # packed, as some writers do
            place = 0
            while place < len(value):
                size, place = varint(value, place)
                sizes.append(size)
    return name, tuple(sizes)
