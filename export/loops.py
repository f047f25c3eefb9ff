"""Graph passes: writes out loops whose number of turns is known, and tidies what tracing and writing out leave behind.

Tracing a recursion call by call takes PyTorch half a minute; writing out its traced loop takes a moment.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript import optimizer


def write_out_loops(graph: onnx.GraphProto, turns: Sequence[int | None]) -> None:
    """Replace each Loop of a graph by its body, as often as it turns.

    Requires: loops nest no deeper than `turns` is long, each turns as often as `turns` says for its depth, none
    collects scan outputs, and no name is given twice, bodies included (the tracer sees to that).
    Ensures: the same values, and no Loop but those kept; the arithmetic on loop counters is left for `tidy`.

    Args:
        graph: changed in place.
        turns: of the outermost loops, of those directly inside them, and so on; None keeps the loops of that depth.
    """
    nodes = _written_out(graph.node, turns)
    del graph.node[:]
    graph.node.extend(nodes)


def _written_out(nodes: Sequence[onnx.NodeProto], turns: Sequence[int | None]) -> list[onnx.NodeProto]:
    result: list[onnx.NodeProto] = []
    for node in nodes:
        if node.op_type != "Loop":
            result.append(node)
            continue
        (body,) = (attribute.g for attribute in node.attribute if attribute.name == "body")
        write_out_loops(body, turns[1:])
        if turns[0] is None:
            result.append(node)
            continue
        condition_and_carried = list(node.input[1:])
        for turn in range(turns[0]):
            names = dict(zip((value.name for value in body.input[1:]), condition_and_carried))
            for step in body.node:
                names |= {name: f"{name}__{turn}" for name in step.output}
                result.append(_renamed(step, names))
            condition_and_carried = [names.get(value.name, value.name) for value in body.output]
        for given, found in zip(node.output, condition_and_carried[1:]):
            result.append(onnx.helper.make_node("Identity", [found], [given]))
    return result


def _renamed(node: onnx.NodeProto, names: dict[str, str]) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.name = ""
    copy.input[:] = [names.get(name, name) for name in node.input]
    copy.output[:] = [names.get(name, name) for name in node.output]
    return copy


# Values up to this size are computed at the export where they are constant: every weight, none of them being larger.
FOLDED_ELEMENTS = 1 << 26


def tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """Compute what is constant, keep equal weights once, drop what nothing uses; the same values come out.

    The tracer leaves weights transposed inside loops, at every turn, or folds them into a copy for each loop.
    """
    found = ir.from_proto(model)
    optimizer.fold_constants(found, input_size_limit=FOLDED_ELEMENTS, output_size_limit=FOLDED_ELEMENTS)
    for step in (
        common.IdentityEliminationPass(),
        common.LiftSubgraphInitializersToMainGraphPass(),
        common.DeduplicateInitializersPass(size_limit=FOLDED_ELEMENTS),
        common.RemoveUnusedNodesPass(),
    ):
        step(found)
    return ir.to_proto(found)
