"""Runs the network that TensorRT's parser makes of an ONNX file, in numpy: no GPU, no engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from trm_deploy.artefacts import onnx_file
from trm_deploy.errors import ArtefactError, CannotRunHere
from trm_deploy.runtimes.backends.trt_network.evaluator import Evaluator
from trm_deploy.runtimes.backends.trt_network.network import Network, parse
from trm_deploy.runtimes.base import LoadOptions
from trm_deploy.runtimes.graph_runtime import NUMPY, GraphRuntime, LoadedGraph, open_graph
from trm_deploy.signature import BATCH, DType, TensorSpec

NAME = "trt-network"
TITLE = "TensorRT's network"
# `DataType` by its name -> ours.
DTYPES: dict[str, DType] = {
    "BOOL": "bool",
    "INT32": "int32",
    "FLOAT": "float32",
    "HALF": "float16",
    "BF16": "bfloat16",
}


def load(path: Path, options: LoadOptions) -> GraphRuntime:
    """Parse an ONNX file with TensorRT.

    Raises:
        ArtefactError: truncated, not one that `trm-deploy export` made, or TensorRT cannot parse it.
        CannotRunHere: TensorRT for RTX is not installed, a device other than the CPU was asked for, or the network has
            a layer that is not known.
    """
    if options.device != "cpu":
        raise CannotRunHere(f"{path}: {NAME} computes on the CPU, not on {options.device}", hint="leave out --device")
    described = onnx_file.read(path)
    return open_graph(
        NetworkSession(parse(path), path),
        LoadedGraph(
            path,
            described.spec,
            described.graph,
            described.steps,
            described.precision,
            NAME,
            TITLE,
            arithmetic_of(described.precision),
            described.baked,
        ),
    )


def arithmetic_of(precision: str) -> str:
    """What the products are computed in: the network's types, by numpy."""
    narrow = "" if precision == "fp32" else f", each layer rounded to {precision}"
    return f"numpy fp32{narrow}: what TensorRT's parser read, not an engine's kernels"


class NetworkSession:
    """A parsed network: a `trm_deploy.runtimes.graph_runtime.Session`.

    Attributes:
        evaluator: has the turns that the loops took in the last run.
    """

    smallest_batch = 1
    largest_batch = None

    def __init__(self, network: Network, path: Path) -> None:
        self._path = path
        self.evaluator = Evaluator(network)
        self.inputs, self.outputs = (
            tuple(_described(network, name, path) for name in names) for names in (network.inputs, network.outputs)
        )

    def run(self, feeds: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        """See `Session.run`."""
        try:
            outputs = self.evaluator.run(feeds)
        except (ValueError, IndexError) as error:  # numpy's, of shapes that do not fit each other
            raise ArtefactError(
                f"{self._path}: the network that TensorRT reads cannot be evaluated ({error})",
                hint="export again from the checkpoint",
            ) from error
        return {tensor.name: outputs[tensor.name].astype(NUMPY[tensor.dtype]) for tensor in self.outputs}


def _described(network: Network, name: str, path: Path) -> TensorSpec:
    kind = network.dtypes[name]
    if kind not in DTYPES:
        raise ArtefactError(f"{path}: TensorRT reads the tensor {name} as {kind}, expected one of {', '.join(DTYPES)}")
    return TensorSpec(name, DTYPES[kind], tuple(BATCH if size < 0 else size for size in network.shapes[name]))
