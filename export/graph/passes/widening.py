"""A bfloat16 graph in float32, for the check after an export where no runtime computes bfloat16.

ONNX Runtime has no bfloat16 kernels for CPUs. The same graph with the same weights, those rounded to bfloat16, in
float32 arithmetic shows that operators, wiring and weights are right; what rounding each result to bfloat16 does, it
does not show.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from trm_deploy.export.graph.nested import graphs


def widened(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with float32 in place of bfloat16 throughout.

    Requires: every bfloat16 value is a weight, an input, an output, or the result of a Cast or an operator that keeps
        its input's type.
    Ensures: nothing in the copy is bfloat16; weights keep their values, names and metadata stay. The model that was
        given is not changed.
    """
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    for graph in graphs(wide.graph):
        for tensor in graph.initializer:
            _widen(tensor)
        for value in (*graph.input, *graph.output, *graph.value_info):
            if value.type.tensor_type.elem_type == TensorProto.BFLOAT16:
                value.type.tensor_type.elem_type = TensorProto.FLOAT
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.name == "to" and attribute.i == TensorProto.BFLOAT16:
                    attribute.i = TensorProto.FLOAT
                if attribute.HasField("t"):
                    _widen(attribute.t)
    return wide


def _widen(tensor: onnx.TensorProto) -> None:
    if tensor.data_type == TensorProto.BFLOAT16:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
