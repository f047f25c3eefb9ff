"""Makes `reset` of the step form a column, as Triton's sequence batcher gives the start of a sequence."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from trm_deploy.signature import RESET

ROW, AXIS = "reset.row", "reset.axis"


def take_column(graph: onnx.GraphProto) -> None:
    """Take `reset` as bool [B, 1] and squeeze it; the graph is changed.

    Requires: a step form, with `reset` bool [B].
    Ensures: the same outputs for the same values of `reset`.
    """
    for node in graph.node:
        node.input[:] = [ROW if name == RESET else name for name in node.input]
    (reset,) = (tensor for tensor in graph.input if tensor.name == RESET)
    reset.type.tensor_type.shape.dim.add().dim_value = 1
    graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), AXIS))
    graph.node.insert(0, helper.make_node("Squeeze", [RESET, AXIS], [ROW], name=f"{ROW}/squeeze"))
