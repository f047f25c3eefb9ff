"""Which layer group a layer of a profile belongs to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from trm_deploy.artefacts.layer_groups import GROUPS, Place
from trm_deploy.runtimes.profiling.base import Layer

UNKNOWN = "not attributed"
# Between the groups of what a runtime has fused across them.
AND = " + "


def groups_of(layers: Collection[Layer], places: Mapping[str, Place]) -> dict[Layer, str]:
    """The group of each layer: one of `GROUPS`, several joined by `AND` where it was fused across them, or `UNKNOWN`.

    A layer that computes nothing of the graph itself, as a change of layout or type that a runtime put in, belongs to
    what takes its result if that is of one group, else to what it takes its input from.
    """
    found = {layer: group for layer in layers if (group := _own(layer, places)) is not None}
    makers: dict[str, list[Layer]] = defaultdict(list)
    takers: dict[str, list[Layer]] = defaultdict(list)
    for layer in layers:
        for name in layer.tensors:
            makers[name].append(layer)
        for name in layer.inputs:
            takers[name].append(layer)
    missing = [layer for layer in layers if layer not in found]
    while missing:
        before = len(found)
        for layer in missing:
            for near in (
                [other for name in layer.tensors for other in takers[name]],
                [other for name in layer.inputs for other in makers[name]],
            ):
                groups = {found[other] for other in near if other in found}
                if len(groups) == 1:
                    found[layer] = groups.pop()
                    break
        missing = [layer for layer in missing if layer not in found]
        if len(found) == before:
            break
    return {layer: found.get(layer, UNKNOWN) for layer in layers}


def operator_of(layer: Layer, places: Mapping[str, Place]) -> str:
    """What a layer does: the runtime's own word, and of a product the sizes of its weight."""
    for name in layer.tensors:
        if name in places and places[name].weight:
            return f"{layer.operator} {'x'.join(map(str, places[name].weight))}"
    return layer.operator


def _own(layer: Layer, places: Mapping[str, Place]) -> str | None:
    if layer.group is not None:
        return layer.group
    # OpenVINO appends what it has made of a node to the node's name.
    found = (places.get(name) or places.get(name.rpartition("/")[0]) for name in layer.tensors)
    groups = {place.group for place in found if place is not None}
    return AND.join(group for group in GROUPS if group in groups) or None
