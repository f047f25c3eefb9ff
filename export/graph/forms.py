"""The graph forms, composed of traced pieces: recursion, halting and freezing as ONNX operators.

    step      one supervision step, state in and out
    loop      all supervision steps, as one Loop that ends when every sample has halted
    unrolled  a number of supervision steps, no control flow

Shapes: B samples, L tokens, S = P + L positions, D hidden size, V vocabulary.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from trm_deploy.export.graph.pieces import PIECES
from trm_deploy.spec import ModelSpec

Shape = list[str | int]
Value = tuple[str, int, Shape]  # name, element type, shape

# What a question consists of: inputs that stay the same at every step. A graph has one of the last two at the most.
QUESTION = ("tokens", "puzzle_ids", "puzzle_embedding")


@dataclass(frozen=True)
class Traced:
    """A traced graph, taken apart into its pieces.

    Attributes:
        spec: of the model.
        question: the inputs that say which puzzle.
        state: element type of y and z.
        nodes: piece -> its nodes, in order.
        weights: name -> initializer, of all pieces.
    """

    spec: ModelSpec
    question: list[onnx.ValueInfoProto]
    state: int
    nodes: dict[str, list[onnx.NodeProto]]
    weights: dict[str, onnx.TensorProto]

    @classmethod
    def of(cls, model: onnx.ModelProto, spec: ModelSpec) -> Traced:
        """Take a trace of `Pieces` apart. Requires: no control flow. Ensures: no name or type is changed."""
        graph = model.graph
        inputs = {value.name: value for value in graph.input}
        for node in graph.node:
            # The batch size is that of every input alike, and only the tokens are there wherever a piece is used.
            if node.op_type == "Shape" and node.input[0] in inputs:
                node.input[0] = "tokens"
        return cls(
            spec,
            [_with_batch(inputs[name]) for name in QUESTION if name in inputs],
            inputs["y"].type.tensor_type.elem_type,
            {piece: _needed(graph.node, results) for piece, results in PIECES.items()},
            {weight.name: weight for weight in graph.initializer},
        )


def _with_batch(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    tensor = value.type.tensor_type
    sizes = [size.dim_value for size in tensor.shape.dim]
    return helper.make_tensor_value_info(value.name, tensor.elem_type, ["batch", *sizes[1:]])


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
        """Use a piece; the names of its results. What is not named in `inputs` keeps its name: weights, tokens."""
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
            turns: how often.
            values: where it starts, with types and shapes, which stay.
            body: adds one turn: names in, names out.
            write_out: add it so often, instead of a Loop.
        """
        names = [name for name, _, _ in values]
        if write_out:
            for _ in range(turns):
                names = body(self, *names)
            return names
        return self.loop(values, lambda inner, *carried: ("", body(inner, *carried)), turns=turns)

    def loop(
        self, values: Sequence[Value], body: ConditionalBody, *, turns: int | None = None, condition: str = ""
    ) -> list[str]:
        """Add a Loop over values that it carries on; the names of the last ones.

        Args:
            values: where it starts, with types and shapes, which stay.
            body: adds one turn: names in; out the name of the condition to go on ("": always), and names.
            turns: how often at the most; None sets no limit.
            condition: name of the condition to begin at all; "": begins.
        """
        # An absent condition is as good to ONNX, but TensorRT's parser then looks for its name in vain.
        condition = condition or self.constant(True, np.bool_)
        inner = Composer(self.traced, numbers=self._numbers)
        number, go_on, *carried = (self._name(stem) for stem in ("turn", "go_on", *("carried" for _ in values)))
        goes_on, results = body(inner, *carried)
        limit = "" if turns is None else self.constant(turns, np.int64)
        graph = helper.make_graph(
            inner.nodes,
            self._name("body"),
            [
                helper.make_tensor_value_info(number, TensorProto.INT64, []),
                helper.make_tensor_value_info(go_on, TensorProto.BOOL, []),
                *(helper.make_tensor_value_info(name, kind, shape) for name, (_, kind, shape) in zip(carried, values)),
            ],
            [],
        )
        outputs = [self._identity(graph, goes_on or condition), *(self._identity(graph, name) for name in results)]
        kinds = [(TensorProto.BOOL, []), *((kind, shape) for _, kind, shape in values)]
        graph.output.extend(
            helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in zip(outputs, kinds)
        )
        self.constants += inner.constants
        finals = [self._name("looped") for _ in values]
        self.nodes.append(
            helper.make_node("Loop", [limit, condition, *(name for name, _, _ in values)], finals, body=graph)
        )
        return finals

    def _identity(self, graph: onnx.GraphProto, name: str) -> str:
        """A result of a body: its own name where the body computes it, else that of a copy."""
        if any(name in node.output for node in graph.node):
            return name
        copy = self._name("kept")
        graph.node.append(helper.make_node("Identity", [name], [copy]))
        return copy


Body = Callable[..., list[str]]
ConditionalBody = Callable[..., "tuple[str, list[str]]"]


def _states(traced: Traced, **names: str) -> list[Value]:
    """States by their names, with type and shape [B, S, D]."""
    architecture, task = traced.spec.architecture, traced.spec.task
    shape: Shape = ["batch", architecture.prefix_length + task.sequence_length, architecture.hidden_size]
    return [(name, traced.state, shape) for name in names.values()]


def _deep_recursion(composer: Composer, x: str, y: str, z: str, *, write_out: bool) -> list[str]:
    """T latent recursions, each n updates and a closing; the names of y and z."""
    traced, recursion = composer.traced, composer.traced.spec.recursion

    def latent_recursion(outer: Composer, y: str, z: str) -> list[str]:
        (opened,) = outer.piece("open", y=y, z=z)
        (inner,) = outer.repeat(
            recursion.latent,
            _states(traced, inner=opened),
            lambda body, inner: body.piece("update", x=x, y=y, inner=inner),
            write_out=write_out,
        )
        return outer.piece("close", x=x, y=y, z=z, inner=inner)

    return composer.repeat(recursion.deep, _states(traced, y=y, z=z), latent_recursion, write_out=write_out)


def _answer(composer: Composer, logits: str, *, output: str) -> None:
    """The answer int32 [B, L]: the likeliest token."""
    likeliest = composer.add("ArgMax", logits, axis=-1, keepdims=0)
    composer.add("Cast", likeliest, output=output, to=TensorProto.INT32)


def _batch(composer: Composer) -> str:
    """The batch size, int64 [1]."""
    return composer.add("Shape", "tokens", start=0, end=1)


def step_graph(traced: Traced, *, write_out: bool) -> onnx.GraphProto:
    """One supervision step. A row with `reset` starts from the stored initial state, whatever came in.

    Args:
        traced: the pieces.
        write_out: write the inner recursions out.
    """
    composer = Composer(traced)
    fresh = composer.add("Unsqueeze", "reset", composer.constant([1, 2], np.int64))
    starts = composer.piece("start")
    y, z = (composer.add("Where", fresh, start, given) for start, given in zip(starts, ("y", "z")))
    (x,) = composer.piece("embed")
    y, z = _deep_recursion(composer, x, y, z, write_out=write_out)
    logits, halt_logit = composer.piece("heads", y=y)
    _answer(composer, logits, output="answer")
    for name, result in (("y_next", y), ("z_next", z), ("halt_logit", halt_logit), ("logits", logits)):
        composer.add("Identity", result, output=name)
    states = {name: value for name, value in zip(("y", "z"), _states(traced, y="y", z="z"))}
    return _graph(
        composer,
        "step",
        [("reset", TensorProto.BOOL, ["batch"]), states["y"], states["z"]],
        [*_states(traced, y="y_next", z="z_next"), *_outputs(traced, "answer", "halt_logit", "logits")],
    )


def loop_graph(traced: Traced, *, write_out: bool) -> onnx.GraphProto:
    """All supervision steps, ending when every sample has halted or `max_steps` are done.

    A halted sample is frozen: its outputs stay as they stood when it halted, whatever shares its batch.

    Args:
        traced: the pieces.
        write_out: write the inner recursions out; the supervision steps remain a Loop.
    """
    composer = Composer(traced)
    (x,) = composer.piece("embed")
    y, z = composer.piece("start")
    batch = _batch(composer)
    (_, _, logits_shape) = _outputs(traced, "logits")[0]
    sizes = composer.add("Concat", batch, composer.constant(logits_shape[1:], np.int64), axis=0)  # type: ignore[arg-type]

    def filled(value: float, dtype: type[np.generic], shape: str = batch) -> str:
        return composer.add("Expand", composer.constant(value, dtype), shape)

    start = composer.constant(0, np.int32)
    values: list[Value] = [
        (start, TensorProto.INT32, []),
        (filled(False, np.bool_), TensorProto.BOOL, ["batch"]),
        (filled(0, np.int32), TensorProto.INT32, ["batch"]),
        (filled(0, np.float32), TensorProto.FLOAT, ["batch"]),
        (filled(0, np.float32, sizes), TensorProto.FLOAT, logits_shape),
        *_states(traced, y=y, z=z),
    ]

    def step(
        body: Composer, index: str, halted: str, steps: str, halt_logit: str, logits: str, y: str, z: str
    ) -> tuple[str, list[str]]:
        y, z = _deep_recursion(body, x, y, z, write_out=write_out)
        new_logits, new_halt_logit = body.piece("heads", y=y)
        index = body.add("Add", index, body.constant(1, np.int32))
        frozen = body.add("Unsqueeze", halted, body.constant([1, 2], np.int64))
        steps = body.add("Where", halted, steps, index)
        halt_logit = body.add("Where", halted, halt_logit, new_halt_logit)
        logits = body.add("Where", frozen, logits, new_logits)
        halted = body.add("Or", halted, body.add("Greater", halt_logit, "halt_threshold"))
        all_halted = body.add("ReduceMin", body.add("Cast", halted, to=TensorProto.INT32), keepdims=0)
        some_go_on = body.add("Less", all_halted, body.constant(1, np.int32))
        go_on = body.add("And", body.add("Less", index, "max_steps"), some_go_on)
        return go_on, [index, halted, steps, halt_logit, logits, y, z]

    _, _, steps, halt_logit, logits, _, _ = composer.loop(
        values, step, condition=composer.add("Less", start, "max_steps")
    )
    # The answer follows from the frozen logits, so it need not be carried.
    _answer(composer, logits, output="answer")
    for name, result in (("steps", steps), ("halt_logit", halt_logit), ("logits", logits)):
        composer.add("Identity", result, output=name)
    return _graph(
        composer,
        "loop",
        [("max_steps", TensorProto.INT32, []), ("halt_threshold", TensorProto.FLOAT, [])],
        _outputs(traced, "answer", "steps", "halt_logit", "logits"),
    )


def unrolled_graph(traced: Traced, steps: int) -> onnx.GraphProto:
    """A number of supervision steps without control flow; a halted row keeps its outputs.

    Args:
        traced: the pieces.
        steps: at least 1.
    """
    composer = Composer(traced)
    (x,) = composer.piece("embed")
    y, z = composer.piece("start")
    batch = _batch(composer)
    axes = composer.constant([1, 2], np.int64)
    kept: list[str] = []
    for number in range(1, steps + 1):
        y, z = _deep_recursion(composer, x, y, z, write_out=True)
        logits, halt_logit = composer.piece("heads", y=y)
        taken = composer.add("Expand", composer.constant(number, np.int32), batch)
        new = [taken, halt_logit, logits]
        if number > 1:
            # A frozen row's halting logit is over the threshold for good, so this alone says who has halted.
            halted = composer.add("Greater", kept[1], "halt_threshold")
            masks = (halted, halted, composer.add("Unsqueeze", halted, axes))
            new = [composer.add("Where", mask, old, value) for mask, old, value in zip(masks, kept, new)]
        kept = new
    _answer(composer, kept[2], output="answer")
    for name, result in zip(("steps", "halt_logit", "logits"), kept):
        composer.add("Identity", result, output=name)
    return _graph(
        composer,
        "unrolled",
        [("halt_threshold", TensorProto.FLOAT, [])],
        _outputs(traced, "answer", "steps", "halt_logit", "logits"),
    )


def _outputs(traced: Traced, *names: str) -> list[Value]:
    task = traced.spec.task
    length, vocabulary = task.sequence_length, len(task.vocabulary)
    values: dict[str, Value] = {
        "answer": ("answer", TensorProto.INT32, ["batch", length]),
        "steps": ("steps", TensorProto.INT32, ["batch"]),
        "halt_logit": ("halt_logit", TensorProto.FLOAT, ["batch"]),
        "logits": ("logits", TensorProto.FLOAT, ["batch", length, vocabulary]),
    }
    return [values[name] for name in names]


def _graph(composer: Composer, name: str, inputs: Sequence[Value], outputs: Sequence[Value]) -> onnx.GraphProto:
    """The finished graph, with the weights that it uses."""
    traced = composer.traced
    used = set(_inputs(composer.nodes))
    return helper.make_graph(
        composer.nodes,
        name,
        [*traced.question, *(helper.make_tensor_value_info(*value) for value in inputs)],
        [helper.make_tensor_value_info(*value) for value in outputs],
        [*(weight for name, weight in traced.weights.items() if name in used), *composer.constants],
    )


def _inputs(nodes: Sequence[onnx.NodeProto]) -> Iterator[str]:
    """Names that nodes take, those inside loops included."""
    for node in nodes:
        yield from node.input
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _inputs(attribute.g.node)
