"""Makes constants of what is free in a graph: its batch size, and the limits of its steps.

For consumers that take neither free sizes nor scalar inputs: NPUs, browsers, compilers ahead of time.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper
from onnx_ir.passes import common
from onnxscript import optimizer

from trm_deploy.signature import BATCH, HALT_THRESHOLD, MAX_STEPS, BakedLimits

# Constants that are computed may have as many bytes as a large matrix, but not as many as a table.
FOLDED = 1 << 28


def fix_batch(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """The model for `batch` samples at a time: no size of it is free, and what was computed of the size is a constant.

    Args:
        model: a graph form, dynamic in its batch. It is changed.
        batch: at least 1.
    """
    _fix(model.graph, batch)
    fixed = ir.from_proto(model)
    optimizer.fold_constants(
        fixed, onnx_shape_inference=True, input_size_limit=FOLDED, output_size_limit=_largest(model.graph)
    )
    common.RemoveUnusedNodesPass()(fixed)
    return ir.to_proto(fixed)


def bake_limits(model: onnx.ModelProto, limits: BakedLimits) -> None:
    """Make constants of the inputs that say when a loop or unrolled graph ends; the model is changed."""
    values = {
        MAX_STEPS: np.array(limits.max_steps, np.int32),
        HALT_THRESHOLD: np.array(limits.halt_threshold, np.float32),
    }
    graph = model.graph
    kept = [tensor for tensor in graph.input if tensor.name not in values]
    graph.initializer.extend(
        numpy_helper.from_array(values[tensor.name], tensor.name) for tensor in graph.input if tensor.name in values
    )
    del graph.input[:]
    graph.input.extend(kept)


def _fix(graph: onnx.GraphProto, batch: int) -> None:
    """Put a number where the batch is, also in the bodies of loops."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param == BATCH:
                size.dim_value = batch
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _fix(attribute.g, batch)


def _largest(graph: onnx.GraphProto) -> int:
    """Elements of the largest weight: what folding may make of the constants beside it."""
    return max((int(np.prod(tensor.dims)) for tensor in graph.initializer), default=1)
