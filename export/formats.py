"""The formats that `export` writes, one row each; and the defaults of an export, each stated here alone.

`--help`, the checks of the flags, the exporter and the builder take them from here. Nothing heavy is imported.
"""

from __future__ import annotations

from dataclasses import dataclass

from trm_deploy.artefacts.kind import Kind
from trm_deploy.signature import Graph, Precision

DEFAULT_FORMAT = "onnx"
DEFAULT_GRAPH: Graph = "loop"
# torch's exporter writes opset 18 and up; TensorRT 10.3 (JetPack 6) reads opset 20 and IR version 10 and down.
OPSETS = range(18, 21)
OPSET = OPSETS[-1]
IR_VERSION = 10
# Samples in a batch, of any graph.
MAX_BATCH = 65536
# Of an engine, where neither a flag nor the target says otherwise.
BATCH = "1:8:64"
# Three generations of RTX cards, for where there is neither a GPU to look at nor a flag.
RTX_CAPABILITIES = ("8.6", "8.9", "12.0")
# Triton's backends, each with the format of the file that it runs; the first is the default.
TRITON_BACKENDS = {"onnxruntime": "onnx", "tensorrt": "trt"}
# Folder of a Triton model repository.
REPOSITORY = "models"

# Options by the names of their fields in `ExportOptions`. What decides the graph: an ONNX file has decided it already.
GRAPH_OPTIONS = (
    *("graph", "steps", "precision", "opset", "unroll_inner", "overrides"),
    *("static_scales", "calibrate", "identifiers"),
)
# Of a graph; a checkpoint has none.
_GRAPH = ("graph", "steps", "precision", "opset", "unroll_inner", "target")
_BUILDER = (*_GRAPH, "batch", "calibrate", "workspace_mib", "opt_level", "max_aux_streams")


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
        title: what a message calls such a file.
        kind: what such a file is on the disk.
        extension: of its name.
        precision: default.
        options: those that only some formats have, and this one does; by their fields' names.
        builder: "module:function" of what makes it, imported when it is needed. Called with `ExportOptions`, the file
            to write, and the `Check`.
        packages: that an export from a checkpoint needs.
    """

    title: str
    kind: Kind
    extension: str
    precision: Precision
    options: frozenset[str]
    builder: str
    packages: tuple[str, ...] = ("torch", "onnx", "onnxscript", "onnxruntime")


FORMATS = {
    "onnx": Format(
        "an ONNX file",
        Kind.onnx,
        ".onnx",
        "fp32",
        frozenset((*_GRAPH, "batch", "bake_limits", "static_scales", "calibrate")),
        "trm_deploy.export.onnx_artefact:build",
    ),
    "trt": Format(
        "a TensorRT plan",
        Kind.trt,
        ".plan",
        "fp16",
        frozenset((*_BUILDER, "timing_cache", "version_compatible", "hardware_compatible")),
        "trm_deploy.export.engine_artefact:build",
    ),
    # TensorRT for RTX picks its kernels where it runs, so it has no timings to keep and no compatibility to choose.
    "rtx": Format(
        "a TensorRT for RTX plan",
        Kind.rtx,
        ".plan",
        "fp16",
        frozenset((*_BUILDER, "compute_capability")),
        "trm_deploy.export.engine_artefact:build",
    ),
    "safetensors": Format(
        "a checkpoint in safetensors",
        Kind.checkpoint,
        ".safetensors",
        "fp32",
        frozenset(),
        "trm_deploy.export.safetensors_artefact:build",
        packages=("torch", "safetensors"),
    ),
    # A folder with a model of one of the other formats; what holds for those holds for it.
    "triton": Format(
        "a model in a Triton repository",
        Kind.onnx,
        "",
        "fp32",
        frozenset((*_BUILDER, "timing_cache", "version_compatible", "hardware_compatible", "backend", "name")),
        "trm_deploy.export.triton:build",
    ),
}
