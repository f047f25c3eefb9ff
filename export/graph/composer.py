"""Traced pieces, and what composes them: nodes with new names, repetitions written out or as Loops."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from trm_deploy.export.graph.pieces import PIECES
from trm_deploy.signature import TOKENS, DType, Graph, Signature, TensorSpec, Y, signature
from trm_deploy.spec import ModelSpec

ELEMENT_TYPES: dict[DType, int] = {
    "bool": TensorProto.BOOL,
    "int32": TensorProto.INT32,
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
}
DTYPES = {element: dtype for dtype, element in ELEMENT_TYPES.items()}


def value_info(tensor: TensorSpec, name: str = "") -> onnx.ValueInfoProto:
    """A tensor of a signature as ONNX declares it, under its own name or another."""
    return helper.make_tensor_value_info(name or tensor.name, ELEMENT_TYPES[tensor.dtype], list(tensor.shape))


# A name in the graph that is being composed, and the type and shape of what it names.
Value = tuple[str, TensorSpec]
Body = Callable[..., list[str]]
ConditionalBody = Callable[..., "tuple[str, list[str]]"]


@dataclass(frozen=True)
class Traced:
    """A traced graph, taken apart into its pieces.

    Attributes:
        spec: of the model.
        state: type of y and z.
        nodes: piece -> its nodes, in order.
        weights: name -> initializer, of all pieces.
    """

    spec: ModelSpec
    state: DType
    nodes: dict[str, list[onnx.NodeProto]]
    weights: dict[str, onnx.TensorProto]

    @classmethod
    def of(cls, model: onnx.ModelProto, spec: ModelSpec) -> Traced:
        """Take a trace of `Pieces` apart.

        Requires: no control flow; the question's tensors have their names in the signature.
        Ensures: no name or type is changed.
        """
        graph = model.graph
        inputs = {value.name: value for value in graph.input}
        for node in graph.node:
            # The batch size is that of every input alike, and only the tokens are there wherever a piece is used.
            if node.op_type == "Shape" and node.input[0] in inputs:
                node.input[0] = TOKENS
        return cls(
            spec,
            DTYPES[inputs[Y].type.tensor_type.elem_type],
            {piece: _needed(graph.node, results) for piece, results in PIECES.items()},
            {weight.name: weight for weight in graph.initializer},
        )

    def signature(self, form: Graph) -> Signature:
        """What goes into a graph form and comes out of it."""
        return signature(self.spec, form, state=self.state)


def _needed(nodes: Sequence[onnx.NodeProto], results: Sequence[str]) -> list[onnx.NodeProto]:
    """The nodes that lead to results, in order."""
    wanted = set(results)
    found = []
    for node in reversed(nodes):
        if wanted & set(node.output):
            wanted |= set(node.input)
            found.append(node)
    return found[::-1]


class Composer:
    """Adds nodes to a graph, or to the body of a loop inside it; every name that it gives is new."""

    def __init__(self, traced: Traced, *, numbers: Iterator[int] | None = None) -> None:
        self.traced = traced
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._numbers = numbers or itertools.count(1)

    def _name(self, stem: str) -> str:
        return f"{stem}/{next(self._numbers)}"  # traced names have no slash

    def constant(self, value: float | Sequence[int], dtype: type[np.generic]) -> str:
        """A constant's name."""
        name = self._name("constant")
        self.constants.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: int) -> str:
        """Add an operator; the name of its result."""
        output = output or self._name(operator.lower())
        node = helper.make_node(operator, inputs, [output])
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)
        return output

    def piece(self, piece: str, **inputs: str) -> list[str]:
        """Add a piece; the names of its results. What is not named in `inputs` keeps its name: weights, tokens."""
        names = dict(inputs)
        suffix = self._name("")
        for node in self.traced.nodes[piece]:
            names |= {name: f"{name}{suffix}" for name in node.output}
            copy = helper.make_node(
                node.op_type,
                [names.get(name, name) for name in node.input],
                [names[name] for name in node.output],
                domain=node.domain,
            )
            copy.attribute.extend(node.attribute)
            self.nodes.append(copy)
        return [names[result] for result in PIECES[piece]]

    def repeat(self, turns: int, values: Sequence[Value], body: Body, *, write_out: bool) -> list[str]:
        """Apply a body a number of times to values that it carries on; the names of the last ones.

        Args:
            turns: number of times.
            values: where it starts, with types and shapes, which stay.
            body: adds one turn: names in, names out.
            write_out: add the body once for each turn, instead of a Loop.
        """
        names = [name for name, _ in values]
        if write_out:
            for _ in range(turns):
                names = body(self, *names)
            return names
        limit = self.constant(turns, np.int64)
        return self.loop(values, lambda inner, *carried: ("", body(inner, *carried)), turns=limit)

    def loop(self, values: Sequence[Value], body: ConditionalBody, *, turns: str, condition: str = "") -> list[str]:
        """Add a Loop over values that it carries on; the names of the last ones.

        Every Loop has a trip count, and only one that may end before it a condition beside it: TensorRT's parser makes
        a second, data-dependent trip limit of a condition, a constant one included.

        Args:
            values: where it starts, with types and shapes, which stay.
            body: adds one turn: names in; out the name of the condition to go on ("": always), and names.
            turns: name of the maximum number of turns, int64 [].
            condition: name of the condition to begin at all; "" where the turns alone decide.
        """
        inner = Composer(self.traced, numbers=self._numbers)
        number, go_on, *carried = (self._name(stem) for stem in ("turn", "go_on", *("carried" for _ in values)))
        goes_on, results = body(inner, *carried)
        kinds = [tensor for _, tensor in values]
        graph = helper.make_graph(
            inner.nodes,
            self._name("body"),
            [
                helper.make_tensor_value_info(number, TensorProto.INT64, []),
                helper.make_tensor_value_info(go_on, TensorProto.BOOL, []),
                *(value_info(tensor, name) for tensor, name in zip(kinds, carried)),
            ],
            [],
        )
        # A body has to give a condition, also where none is asked for.
        goes_on = goes_on or self.constant(True, np.bool_)
        proceed, *results = (self._identity(graph, name) for name in (goes_on, *results))
        graph.output.append(helper.make_tensor_value_info(proceed, TensorProto.BOOL, []))
        graph.output.extend(value_info(tensor, name) for tensor, name in zip(kinds, results))
        self.constants += inner.constants
        finals = [self._name("looped") for _ in values]
        self.nodes.append(
            helper.make_node("Loop", [turns, condition, *(name for name, _ in values)], finals, body=graph)
        )
        return finals

    def _identity(self, graph: onnx.GraphProto, name: str) -> str:
        """A result of a body: its own name where the body computes it, else that of a copy."""
        if any(name in node.output for node in graph.node):
            return name
        copy = self._name("kept")
        graph.node.append(helper.make_node("Identity", [name], [copy]))
        return copy

    def graph(self, name: Graph, results: Mapping[str, str]) -> onnx.GraphProto:
        """The finished graph of a form, with the weights that it uses.

        Args:
            name: the form; its signature says what goes in and comes out.
            results: output -> the name that it has been computed under.
        """
        contract = self.traced.signature(name)
        for tensor in contract.outputs:
            if results[tensor.name] != tensor.name:
                self.add("Identity", results[tensor.name], output=tensor.name)
        used = set(_inputs(self.nodes))
        return helper.make_graph(
            self.nodes,
            name,
            [value_info(tensor) for tensor in contract.inputs],
            [value_info(tensor) for tensor in contract.outputs],
            [*(weight for key, weight in self.traced.weights.items() if key in used), *self.constants],
        )


def _inputs(nodes: Sequence[onnx.NodeProto]) -> Iterator[str]:
    """Names that nodes take, those inside loops included."""
    for node in nodes:
        yield from node.input
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _inputs(attribute.g.node)
