"""The precision that a finished engine computes in, as its inspector tells it."""

from __future__ import annotations

import json
import re
from typing import Any

PRODUCTS = re.compile(r"gemm|matmul|matrix|fullyconnected", re.IGNORECASE)
# What the inspector calls the narrow types; the narrowest that a product has is the engine's precision.
NARROW = {"int8": {"int8"}, "bf16": {"bfloat16", "bf16"}, "fp16": {"half", "fp16"}}


def engine_precision(trt: Any, engine: Any) -> str | None:
    """The precision that an engine computes in, as the engine says; None where it does not tell.

    It tells where it was built with detailed profiling verbosity and its products are layers of their own; in layers
    that are fused beyond recognition only a narrow type is evidence.
    """
    names = {engine.get_tensor_name(index) for index in range(engine.num_io_tensors)}
    return precision_of(_information(trt, engine), names)


def layers_of(trt: Any, engine: Any) -> list[dict[str, Any]]:
    """The layers as the engine's inspector tells them; none where it does not."""
    return _layers(_information(trt, engine))


def _information(trt: Any, engine: Any) -> str | None:
    """The inspector's JSON."""
    try:
        inspector = engine.create_engine_inspector()
    except TypeError:  # the lean runtime has the method, and no class for its result
        return None
    text: str | None = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    return text


def _layers(text: str | None) -> list[dict[str, Any]]:
    try:
        document = json.loads(text or "")
    except ValueError:
        return []
    layers = document.get("Layers", []) if isinstance(document, dict) else []
    return [layer for layer in layers if isinstance(layer, dict)]


def precision_of(text: str | None, io_tensors: set[str]) -> str | None:
    """The precision by the inspector's JSON, without the engine's own inputs and outputs, whose types say nothing.

    TensorRT 10 writes a tensor's type into "Format/Datatype", TensorRT 11 into "DataType".
    """
    products: set[str] = set()
    others: set[str] = set()
    for layer in _layers(text):
        is_product = PRODUCTS.search(f"{layer.get('LayerType', '')} {layer.get('Name', '')}")
        (products if is_product else others).update(_types(layer, io_tensors))
    for precision, names in NARROW.items():
        if products & names or (not products and others & names):
            return precision
    return "fp32" if products else None


def _types(layer: dict[str, Any], io_tensors: set[str]) -> set[str]:
    """Floating-point types of a layer's tensors, in lower case."""
    found: set[str] = set()
    for tensor in (*layer.get("Inputs", ()), *layer.get("Outputs", ())):
        if isinstance(tensor, dict) and tensor.get("Name") not in io_tensors:
            for key in ("Format/Datatype", "DataType"):
                found.update(re.findall(r"bfloat16|bf16|int8|half|float|fp16|fp32", str(tensor.get(key, "")).lower()))
    return found
