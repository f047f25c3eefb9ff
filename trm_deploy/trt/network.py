"""An ONNX file as TensorRT's own parser reads it: a network definition, its name, and the types that it computes in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trm_deploy.artefacts.onnx_file import OnnxFile
from trm_deploy.errors import ArtefactError, TrmDeployError

# TensorRT keeps a longer network name out, with an error in its log and the old name in place.
NAME_LIMIT = 4095

# Data types that an engine of each precision may have at its matrix products. The halting head is float32 in all.
PRODUCT_TYPES = {"fp32": "FLOAT", "fp16": "HALF", "bf16": "BF16"}


def parse(trt: Any, network: Any, logger: Any, source: Path) -> None:
    """Read an ONNX file into a network.

    Raises:
        ArtefactError: TensorRT cannot parse it; names the node.
    """
    parser = trt.OnnxParser(network, logger)
    if parser.parse(source.read_bytes()):
        return
    reasons = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        # TensorRT 10.3 knows the node's number only, later ones its name and operator.
        name, operator = getattr(error, "node_name", None), getattr(error, "node_operator", None)
        node = f"node {name() or error.node()} ({operator()})" if name and operator else f"node {error.node()}"
        reasons.append(f"{node}: {' '.join(error.desc().split())}")
    reason = "; ".join(reasons[:2]) or (logger.errors[-1] if logger.errors else "it gives no reason")
    raise ArtefactError(
        f"{source}: TensorRT {trt.__version__} cannot parse it at {reason[:400]}",
        hint="export again from the checkpoint with this trm-deploy, or with a lower --opset",
    )


def set_name(network: Any, described: OnnxFile, source: Path) -> None:
    """The spec travels as the network's name, read back because TensorRT drops one that is too long.

    Raises:
        TrmDeployError: it is too long.
    """
    name = described.spec.to_json()
    network.name = name
    if network.name != name:
        raise TrmDeployError(
            f"{source}: the model spec has {len(name.encode())} bytes, which do not fit into the engine's name"
            f" (at most {NAME_LIMIT}): the vocabulary is too long"
        )


def check_types(trt: Any, network: Any, described: OnnxFile, source: Path) -> None:
    """A strongly typed network computes in the types that it declares: they must be what the file says.

    Raises:
        TrmDeployError: they are not.
    """
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        if tensor.dtype == trt.int64:
            raise TrmDeployError(f"{source}: the input {tensor.name} is int64, expected int32 throughout")
    for index in range(network.num_outputs):
        tensor = network.get_output(index)
        if any(size < 0 for size in list(tensor.shape)[1:]):
            # The runtime sizes its buffers by the batch alone.
            raise TrmDeployError(
                f"{source}: TensorRT sees the output {tensor.name} as {list(tensor.shape)}, expected no free size but"
                " the batch"
            )
    if described.precision == "int8":
        _check_int8(trt, network, source)
        return
    kinds = []
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type == trt.LayerType.MATRIX_MULTIPLY:
            kinds.append(layer.get_input(0).dtype.name)
    wanted = PRODUCT_TYPES[described.precision]
    others = [kind for kind in kinds if kind != wanted]
    # The halting head is float32 in every precision: once, or once a step where steps are written out.
    if not kinds or set(others) - {"FLOAT"} or len(others) > (described.steps or 1):
        raise TrmDeployError(
            f"{source}: says {described.precision}, but {len(others)} of its {len(kinds)} matrix products are"
            f" {', '.join(sorted(set(others))) or 'missing'}",
            hint=f"export again with --precision {described.precision}",
        )


def _check_int8(trt: Any, network: Any, source: Path) -> None:
    """An int8 graph's quantised products must have reached the network: a weight and an activation each."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    products = sum(layer.type == trt.LayerType.MATRIX_MULTIPLY for layer in layers)
    restored = sum(layer.type == trt.LayerType.DEQUANTIZE for layer in layers)
    if not products or restored < 2 or restored % 2:
        raise TrmDeployError(
            f"{source}: says int8, but TensorRT sees {restored} dequantised inputs of {products} matrix products",
            hint="export again with --precision int8",
        )
