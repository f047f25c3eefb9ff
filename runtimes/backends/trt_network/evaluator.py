"""Evaluates a parsed network: the order of its layers, and its loops.

Loops have the semantics of NVIDIA's developer guide ("Working with Loops", formal semantics). Each tensor inside a loop
is a sequence X0, X1, ..., one element a turn:

    recurrence (X, Y)       X, Y0, Y1, ...
    iterator (X)            X[0], X[1], ... along an axis; reversed from the last one
    trip limit COUNT (n)    n turns
    trip limit WHILE (X)    as many turns as n is, the smallest with Xn false; with both limits, the smaller number
    output LAST_VALUE (X)   Xn, of a recurrence
    output CONCATENATE      X0, ..., Xn-1 stacked, filled up to a length; REVERSE: the last one first

A loop lies inside another where it uses what is computed in there: nesting follows from the flow of data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trm_deploy.errors import CannotRunHere
from trm_deploy.runtimes.backends.trt_network.layers import evaluate, rounded
from trm_deploy.runtimes.backends.trt_network.network import BOUNDARIES, Layer, Network

Array = NDArray[Any]
Scope = int | None  # the innermost loop that something is computed in; None is outside all
Scopes = dict[str, frozenset[int]]  # tensor -> all loops that it is computed in


@dataclass(eq=False)
class Loop:
    """A loop, taken apart.

    Attributes:
        number: its place in `Network.loops`.
        name: for messages.
        parent: the loop that it lies in.
        recurrences, iterators, outputs: its boundaries.
        limits: the kind of a trip limit -> its tensor.
        head: what a turn computes before it is known whether it takes place: what WHILE depends on.
        body: what a turn computes then.
    """

    number: int
    name: str
    parent: Scope = None
    recurrences: list[Layer] = field(default_factory=list)
    iterators: list[Layer] = field(default_factory=list)
    outputs: list[Layer] = field(default_factory=list)
    limits: dict[str, str] = field(default_factory=dict)
    head: list[Item] = field(default_factory=list)
    body: list[Item] = field(default_factory=list)


Item = Layer | Loop


class Evaluator:
    """A network that can be run.

    Attributes:
        turns: loop -> the turns that it took in the last run, one number an execution.

    Raises:
        CannotRunHere: loops that are not nested in each other, or one without a trip limit.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.turns: dict[str, list[int]] = {}
        self._producers = {name: layer for layer in network.layers for name in layer.outputs}
        self._needed = self._reach(network.outputs)
        self._loops = self._take_apart()
        self._home: dict[str, Scope] = self._homes()
        self._constants: dict[str, Array] = {}
        self._unvarying = self._never_varying()
        self._top = self._ordered(None)
        for loop in self._loops:
            self._split(loop)
        # Values of tensors by the scope that they are computed in; a loop's are those of its present turn.
        self._values: dict[Scope, dict[str, Array]] = {}

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The network's outputs for its inputs; floats are float32, whatever their type in the network.

        Raises:
            CannotRunHere: a setting of a layer that is not known.
        """
        self.turns = {name: [] for name in self.network.loops}
        self._values = {None: dict(self._constants)}
        for name in self.network.inputs:
            value = np.asarray(feeds[name])
            self._values[None][name] = rounded(value, self.network.dtypes[name], Layer(name, "INPUT", [], []))
        self._compute(self._top)
        if not self._constants:
            values = self._values[None]
            self._constants = {name: values[name] for name in self._unvarying & values.keys()}
        return {name: self._get(name) for name in self.network.outputs}

    def _value(self, name: str | None) -> Array | None:
        return None if name is None else self._values[self._home[name]][name]

    def _compute(self, items: Iterable[Item]) -> None:
        for item in items:
            if isinstance(item, Loop):
                self._turn(item)
            elif item.outputs[0] not in self._constants:
                results = evaluate(item, [self._value(name) for name in item.inputs])
                values = self._values[self._home[item.outputs[0]]]
                for name, result in zip(item.outputs, results):
                    values[name] = rounded(result, self.network.dtypes[name], item)

    def _turn(self, loop: Loop) -> None:
        """Run a loop, and give its outputs to the scope that it lies in."""
        count = int(self._get(loop.limits["COUNT"])) if "COUNT" in loop.limits else None
        state = {layer.outputs[0]: self._get(layer.inputs[0]) for layer in loop.recurrences}
        stacked: dict[str, list[Array]] = {layer.outputs[0]: [] for layer in loop.outputs}
        turn = 0
        while True:
            self._values[loop.number] = dict(state)
            if turn == count:
                break
            for layer in loop.iterators:
                elements = self._get(layer.inputs[0])
                axis, last = layer.settings["axis"], (count or elements.shape[layer.settings["axis"]]) - 1
                place = last - turn if layer.settings["reverse"] else turn
                self._values[loop.number][layer.outputs[0]] = np.take(elements, place, axis, mode="clip")
            self._compute(loop.head)
            if "WHILE" in loop.limits and not self._get(loop.limits["WHILE"]):
                break
            self._compute(loop.body)
            for layer in loop.outputs:
                stacked[layer.outputs[0]].append(self._get(layer.inputs[0]))
            state = {layer.outputs[0]: self._get(layer.inputs[1]) for layer in loop.recurrences}
            turn += 1
        self.turns[loop.name].append(turn)
        for layer in loop.outputs:
            (name,) = layer.outputs
            self._values[loop.parent][name] = self._output(layer, stacked[name])

    def _get(self, name: str | None) -> Array:
        value = self._value(name)
        assert value is not None
        return value

    def _output(self, layer: Layer, stacked: list[Array]) -> Array:
        if layer.settings["kind"] == "LAST_VALUE":
            return self._get(layer.inputs[0])  # a recurrence's element after the last turn
        length = int(self._get(layer.inputs[1]))
        if len(stacked) > length:
            raise CannotRunHere(f"the layer {layer} has room for {length} turns, the loop took {len(stacked)}")
        if not stacked:
            raise CannotRunHere(f"the layer {layer} stacks the turns of a loop that took none")
        if layer.settings["kind"] == "REVERSE":
            stacked = stacked[::-1]
        # The rest may hold anything.
        stacked = stacked + [np.zeros_like(stacked[0])] * (length - len(stacked))
        return np.stack(stacked, axis=layer.settings["axis"])

    # What follows looks at the network once, before it runs.

    def _reach(self, names: Iterable[str]) -> set[str]:
        """The tensors that lead to some."""
        limits: dict[int | None, list[Layer]] = {}
        for layer in self.network.of_kind("TRIP_LIMIT"):
            limits.setdefault(layer.loop, []).append(layer)
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            found.add(name)
            if name in self._producers:
                layer = self._producers[name]
                for other in (layer, *(limits.get(layer.loop, []) if layer.kind == "LOOP_OUTPUT" else [])):
                    waiting += [given for given in other.inputs if given is not None]
        return found

    def _take_apart(self) -> list[Loop]:
        loops = [Loop(number, name) for number, name in enumerate(self.network.loops)]
        for layer in self.network.layers:
            if layer.loop is None:
                continue
            loop = loops[layer.loop]
            if layer.kind == "TRIP_LIMIT":
                loop.limits[layer.settings["kind"]] = str(layer.inputs[0])
            elif layer.outputs[0] in self._needed:
                {"RECURRENCE": loop.recurrences, "ITERATOR": loop.iterators, "LOOP_OUTPUT": loop.outputs}[
                    layer.kind
                ].append(layer)
        for loop in loops:
            if not loop.limits:
                raise CannotRunHere(f"the loop {loop.name} of the network has no trip limit")
            recurring = {layer.outputs[0] for layer in self.network.of_kind("RECURRENCE")}
            for layer in loop.outputs:
                if layer.settings["kind"] == "LAST_VALUE" and layer.inputs[0] not in recurring:
                    raise CannotRunHere(f"the layer {layer} gives the last value of what is not a recurrence")
        return loops

    def _homes(self) -> dict[str, Scope]:
        """The scope of every tensor; sets the parents of the loops."""
        scopes: Scopes = {name: frozenset() for name in self.network.dtypes}
        around: list[frozenset[int]] = [frozenset() for _ in self._loops]
        changed = True
        while changed:  # back edges need more than one pass
            changed = False
            for layer in self.network.layers:
                inside = frozenset[int]().union(*(scopes[name] for name in layer.inputs if name is not None))
                if layer.loop is not None:
                    outer = around[layer.loop] | (inside - {layer.loop})
                    changed |= outer != around[layer.loop]
                    around[layer.loop] = outer
                    inside = outer if layer.kind == "LOOP_OUTPUT" else outer | {layer.loop}
                for name in layer.outputs:
                    changed |= inside != scopes[name]
                    scopes[name] = inside

        def innermost(loops: frozenset[int], what: str) -> Scope:
            found = max(loops, key=lambda number: len(around[number]), default=None)
            if found is not None and around[found] | {found} != loops:
                names = ", ".join(self._loops[number].name for number in sorted(loops))
                raise CannotRunHere(f"{what} is in loops that are not nested in each other: {names}")
            return found

        for loop in self._loops:
            loop.parent = innermost(around[loop.number] - {loop.number}, f"the loop {loop.name}")
        return {name: innermost(loops, f"the tensor {name}") for name, loops in scopes.items()}

    def _never_varying(self) -> set[str]:
        """The tensors outside loops that depend on no input of the network."""
        varying = set(self.network.inputs)
        for layer in self.network.layers:
            if layer.kind in BOUNDARIES or varying.intersection(filter(None, layer.inputs)):
                varying.update(layer.outputs)
        return self.network.dtypes.keys() - varying

    def _chain(self, scope: Scope) -> Iterator[Scope]:
        """A scope and those around it."""
        while scope is not None:
            yield scope
            scope = self._loops[scope].parent
        yield None

    def _item(self, name: str, scope: Scope) -> Item | None:
        """What in a scope computes a tensor: a layer, or a loop that lies in it; None where it comes from elsewhere."""
        if name not in self._producers:
            return None
        layer = self._producers[name]
        if layer.kind == "LOOP_OUTPUT":
            item: Item | None = self._loops[layer.loop or 0]
        else:
            item = None if layer.kind in BOUNDARIES else layer
        for home in self._chain(self._home[name]):
            if home == scope:
                return item
            if home is not None:
                item = self._loops[home]
        return None

    def _ordered(self, scope: Scope) -> list[Item]:
        """What a scope computes, each thing after what it depends on."""
        needs: dict[int, set[int]] = {}
        items: dict[int, Item] = {}
        for layer in self.network.layers:
            if layer.kind != "TRIP_LIMIT" and not self._needed.intersection(layer.outputs):
                continue
            # A layer of a loop that lies in this scope counts as the loop.
            users = [self._item(name, scope) for name in layer.outputs]
            if layer.loop is not None and layer.kind != "LOOP_OUTPUT":
                homes = list(self._chain(layer.loop))
                users = [self._loops[homes[homes.index(scope) - 1] or 0]] if scope in homes[1:] else []
            for user in users:
                if user is None:
                    continue
                items[id(user)] = user
                given = (self._item(name, scope) for name in layer.inputs if name is not None)
                found = needs.setdefault(id(user), set())
                found.update(id(item) for item in given if item is not None and item is not user)
        try:
            return [items[key] for key in TopologicalSorter(needs).static_order()]
        except CycleError as error:
            raise CannotRunHere("the network has a cycle that no recurrence explains") from error

    def _split(self, loop: Loop) -> None:
        """Tell the head and the body of a loop."""
        ordered = self._ordered(loop.number)
        if "WHILE" not in loop.limits:
            loop.body = ordered
            return
        wanted = self._reach_in_turn(loop.limits["WHILE"], loop.number)
        loop.head = [item for item in ordered if id(item) in wanted]
        loop.body = [item for item in ordered if id(item) not in wanted]

    def _reach_in_turn(self, name: str, scope: Scope) -> set[int]:
        """Identities of the items of a loop that lead to a tensor within one turn."""
        found: set[int] = set()
        waiting = [name]
        while waiting:
            item = self._item(waiting.pop(), scope)
            if item is None or id(item) in found:
                continue
            found.add(id(item))
            if isinstance(item, Layer):
                waiting += [given for given in item.inputs if given is not None]
            else:
                waiting += self._given_to(item)
        return found

    def _given_to(self, loop: Loop) -> list[str]:
        """Every tensor that a layer in a loop takes, those of loops inside it included."""
        return [
            name
            for layer in self.network.layers
            if loop.number in self._chain(layer.loop if layer.loop is not None else self._home[layer.outputs[0]])
            for name in layer.inputs
            if name is not None
        ]
