"""Which layer group each node of an exported graph belongs to, told by the graph's structure alone.

Names are not looked at, so a file whose tensors were renamed is read alike, as is one of an earlier release. What is
known of every graph that `export` makes, whatever its form, mixer and precision:

    A block is  x -> norm(x + mix(x)) -> norm(x + mlp(x)), and a network is a chain of blocks.
    An RMSNorm is a mean of squares, and a product of its input with a function of that mean.

So each norm is found by its mean, the addition before it by the norm, and a mixer by the addition: all that lies
between its two operands, one of which leads to the other. Norms follow one another, and every second one closes a mixer
of tokens. Products that are in none of the mixers are the heads, and look-ups in a table the embedding.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from trm_deploy.artefacts.onnx_graph import Node, OnnxGraph

EMBEDDING, TOKENS, CHANNELS, NORMS, HEADS, RECURSION = GROUPS = (
    "embedding",
    "token mixing",
    "channel mixing",
    "norms",
    "heads",
    "recursion",  # sums of states, the loops themselves, halting
)

PRODUCTS = {"MatMul", "Gemm", "FusedMatMul", "MatMulInteger", "MatMulIntegerToFloat", "QLinearMatMul", "Conv"}
_MEANS = {"ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL2"}
_WHOLE_NORMS = {"RMSNormalization", "SimplifiedLayerNormalization"}
# Move values without computing with them.
_LAYOUT = {"Transpose", "Cast", "Reshape", "Identity"}
_AROUND_A_HEAD = {"Slice", "Gather", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Split"}
_AFTER_A_HEAD = {*_AROUND_A_HEAD, "Sub", "Add", "ArgMax", "Identity"}
_BEFORE_AN_EMBEDDING = {"Pad", "Reshape", "Cast", "Slice", "Unsqueeze", "Expand", "Gather"}
_AFTER_AN_EMBEDDING = {"Concat", "Mul", "Cast", "Reshape", "Pad", "Expand", "Add"}
# Between a mean and the product that ends its norm: add epsilon, root, reciprocal, and casts.
_LONGEST_NORM = 8


@dataclass(frozen=True)
class Place:
    """Where a tensor is computed.

    Attributes:
        group: one of `GROUPS`.
        weight: sizes of the weight that it is a product with; () where it is none.
    """

    group: str
    weight: tuple[int, ...] = ()


def places(graph: OnnxGraph) -> dict[str, Place]:
    """Where each tensor of an exported graph is computed, by its name and, as some runtimes call it, by its node's.

    Nothing where the graph has not the structure above.
    """
    return _Reader(graph).places()


@dataclass(frozen=True)
class _Norm:
    """An RMSNorm: its nodes, its input, and its result."""

    nodes: tuple[Node, ...]
    entry: str
    exit: str


class _Reader:
    def __init__(self, graph: OnnxGraph) -> None:
        self._weights = graph.all_weights()
        self._nodes = list(graph.everything())
        self._producer = {name: node for node in self._nodes for name in node.outputs}
        self._consumers: dict[str, list[Node]] = defaultdict(list)
        for node in self._nodes:
            for name in node.inputs:
                self._consumers[name].append(node)
        self._group: dict[int, str] = {}  # id of a node -> its group
        self._constant: set[str] = set(self._weights)  # tensors that follow from weights and sizes alone
        for node in self._nodes:
            if node.operator in ("Shape", "Constant") or (
                not node.bodies and all(name in self._constant for name in node.inputs if name)
            ):
                self._constant.update(node.outputs)

    def places(self) -> dict[str, Place]:
        if not self._blocks():
            return {}
        self._heads()
        self._embedding()
        self._constants()
        found: dict[str, Place] = {}
        for node in self._nodes:
            place = Place(self._group.get(id(node), RECURSION), self._weight_of(node))
            found |= dict.fromkeys(node.outputs, place)
            if node.name:
                found.setdefault(node.name, place)
        return found

    def _assign(self, nodes: Collection[Node], group: str) -> None:
        for node in nodes:
            self._group.setdefault(id(node), group)

    # Blocks

    def _blocks(self) -> bool:
        """Norms and mixers; whether there are any, as many of tokens as of channels."""
        norms = [norm for node in self._nodes if (norm := self._norm(node)) is not None]
        exits = {norm.exit: index for index, norm in enumerate(norms)}
        for norm in norms:
            self._assign(norm.nodes, NORMS)
        kinds: list[str] = []
        for norm in norms:
            found = self._residual(norm, exits)
            if found is None:
                return False
            skip, inside, addition = found
            source, layout = self._through_layout(skip)
            before = exits.get(source)
            if before is not None and before >= len(kinds):
                return False
            kinds.append(TOKENS if before is None or kinds[before] == CHANNELS else CHANNELS)
            self._assign([addition], NORMS)
            self._assign(inside, kinds[-1])
            # Whatever transposes a state does it for a mixer of tokens.
            self._assign([node for node in layout if node.operator == "Transpose"], TOKENS)
            if not any(self._weight_of(node) for node in inside):
                return False
        for norm in norms:
            self._assign([node for node in self._consumers[norm.exit] if node.operator == "Transpose"], TOKENS)
        return bool(kinds) and kinds.count(TOKENS) == kinds.count(CHANNELS)

    def _norm(self, mean: Node) -> _Norm | None:
        if mean.operator in _WHOLE_NORMS:
            return self._with_casts([mean], mean.inputs[0], mean.outputs[0])
        if mean.operator not in _MEANS:
            return None
        nodes, entry = [mean], mean.inputs[0]
        square = self._producer.get(entry)
        if square is not None and (square.operator == "Pow" or square.inputs == (square.inputs[0],) * 2):
            nodes, entry = [square, mean], square.inputs[0]
        elif mean.operator not in ("ReduceSumSquare", "ReduceL2"):
            return None
        end = mean.outputs[0]
        for _ in range(_LONGEST_NORM):
            following = self._consumers[end]
            if len(following) != 1:
                return None
            nodes.append(following[0])
            end = following[0].outputs[0]
            if entry in following[0].inputs:
                return self._with_casts(nodes, entry, end)
        return None

    def _with_casts(self, nodes: list[Node], entry: str, end: str) -> _Norm:
        """A norm with the casts around it, which make it float32."""
        before = self._producer.get(entry)
        if before is not None and before.operator == "Cast":
            nodes, entry = [before, *nodes], before.inputs[0]
        after = self._consumers[end]
        if len(after) == 1 and after[0].operator == "Cast":
            nodes, end = [*nodes, after[0]], after[0].outputs[0]
        return _Norm(tuple(nodes), entry, end)

    def _residual(self, norm: _Norm, exits: Collection[str]) -> tuple[str, list[Node], Node] | None:
        """Where the mixer before a norm starts, its nodes, and the addition that ends it."""
        addition = self._producer.get(norm.entry)
        if addition is None or addition.operator != "Add":
            return None
        for skip, mixed in (addition.inputs, addition.inputs[::-1]):
            inside = self._between(skip, mixed, exits)
            if inside is not None:
                return skip, inside, addition
        return None

    def _between(self, start: str, end: str, exits: Collection[str]) -> list[Node] | None:
        """The nodes that lead to a tensor, as far back as another and the last norms; None where it is not met."""
        met, seen, waiting, found = False, {end}, [end], []
        while waiting:
            name = waiting.pop()
            node = self._producer.get(name)
            met = met or name == start
            if node is None or name == start or name in exits or node.bodies:
                continue
            found.append(node)
            waiting += [source for source in node.inputs if source and source not in seen]
            seen.update(node.inputs)
        return found if met else None

    def _through_layout(self, name: str) -> tuple[str, list[Node]]:
        """The tensor that one is but for its layout and type, and the nodes between; not beyond a norm's result."""
        passed: list[Node] = []
        while (node := self._producer.get(name)) is not None and node.operator in _LAYOUT:
            if self._group.get(id(node)) == NORMS:
                break
            passed.append(node)
            name = node.inputs[0]
        return name, passed

    # What is around them

    def _heads(self) -> None:
        seeds = [node for node in self._nodes if id(node) not in self._group and self._weight_of(node)]
        self._assign(seeds, HEADS)
        self._forward(HEADS, _AFTER_A_HEAD)
        self._backward(HEADS, _AROUND_A_HEAD)
        # The loop form finds its answer from logits that the loop has carried.
        self._assign([node for node in self._nodes if node.operator in ("ArgMax", "TopK")], HEADS)
        self._forward(HEADS, {"Cast", "Reshape", "Squeeze"})

    def _embedding(self) -> None:
        def looks_up(node: Node) -> bool:
            table = node.inputs[0] if node.operator == "Gather" else ""
            return len(self._weights.get(table, ())) > 1 and not set(node.inputs) <= self._constant

        self._assign([node for node in self._nodes if looks_up(node)], EMBEDDING)
        self._forward(EMBEDDING, _AFTER_AN_EMBEDDING)
        self._backward(EMBEDDING, _BEFORE_AN_EMBEDDING)

    def _forward(self, group: str, operators: Collection[str]) -> None:
        """Give a group to the nodes that compute from it and from constants alone."""
        for node in self._nodes:
            if node.operator not in operators or id(node) in self._group:
                continue
            if node.operator == "Add" and not set(node.inputs) & self._weights.keys():
                continue  # a sum of states
            groups = {self._of(name) for name in node.inputs if name and name not in self._constant}
            # A prefix may come from outside, to be put before the look-ups.
            if groups == {group} or (node.operator == "Concat" and groups == {group, None}):
                self._assign([node], group)

    def _backward(self, group: str, operators: Collection[str]) -> None:
        """Give a group to the nodes whose results nothing outside it takes."""
        for node in reversed(self._nodes):
            if node.operator in operators and id(node) not in self._group and self._serves(node) == {group}:
                self._assign([node], group)

    def _constants(self) -> None:
        """What follows from sizes alone belongs to whom it serves, where that is one group."""
        for node in reversed(self._nodes):
            if id(node) not in self._group and set(node.outputs) <= self._constant:
                groups = self._serves(node)
                if len(groups) == 1:
                    self._assign([node], groups.pop())

    def _of(self, name: str) -> str | None:
        node = self._producer.get(name)
        return None if node is None else self._group.get(id(node))

    def _serves(self, node: Node) -> set[str]:
        takers: Iterator[Node] = (taker for name in node.outputs for taker in self._consumers[name])
        return {self._group.get(id(taker), RECURSION) for taker in takers}

    def _weight_of(self, node: Node) -> tuple[int, ...]:
        """Sizes of the weight that a product has; () where it has none, or is no product."""
        if node.operator not in PRODUCTS:
            return ()
        for name in node.inputs:
            while (source := self._producer.get(name)) is not None and source.operator in (
                *_LAYOUT,
                "DequantizeLinear",
            ):
                name = source.inputs[0]
            sizes = self._weights.get(name, ())
            if len(sizes) > 1:
                return sizes
        return ()
