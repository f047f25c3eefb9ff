"""Runs an exported ONNX file with ONNX Runtime, in each of its three graph forms. Needs neither torch nor onnx."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from trm_deploy.artefacts import onnx_file
from trm_deploy.errors import ArtefactError, CannotRunHere, reason, require
from trm_deploy.runtimes import registry
from trm_deploy.runtimes.base import Device, LoadOptions
from trm_deploy.runtimes.graph_runtime import ONNX_TYPES, GraphRuntime, LoadedGraph, open_graph
from trm_deploy.signature import BATCH, DType, TensorSpec
from trm_deploy.support import machine

NAME = "onnxruntime"
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
# All of them bring the module `onnxruntime`, so that only one can be installed.
DISTRIBUTIONS = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-openvino",
    "onnxruntime-qnn",
    "onnxruntime-training",
)
DTYPES = {name: dtype for dtype, name in ONNX_TYPES.items()}


def load(path: Path, options: LoadOptions, *, profile: Path | None = None) -> GraphRuntime:
    """Load an ONNX file.

    Args:
        path: the file.
        options: how.
        profile: see `open_session`.

    Raises:
        ArtefactError: truncated, not an ONNX file, or not one that `trm-deploy export` made; or the file with its
            puzzle embeddings is missing.
        CannotRunHere: ONNX Runtime or its CUDA provider is missing, or it lacks the file's precision.
    """
    onnx_file.check_seal(path)
    try:
        session = OrtSession(path, options.device, profile=profile)
    except ArtefactError:
        refuse_bfloat16(path, options.device)
        raise
    described = onnx_file.read_metadata(session.metadata(), path)
    precision = described.precision
    if any(tensor.dtype == "bfloat16" for tensor in session.inputs):
        raise CannotRunHere(
            f"{path}: is the step form in bf16, whose state ONNX Runtime cannot take from numpy",
            hint="type: trm-deploy export CHECKPOINT --graph loop --precision bf16",
        )
    arithmetic = arithmetic_of(precision, options.device)
    title = registry.get(NAME).title
    loaded = LoadedGraph(
        path,
        described.spec,
        described.graph,
        described.steps,
        precision,
        NAME,
        title,
        arithmetic,
        described.baked,
    )
    return open_graph(session, loaded)


class OrtSession:
    """An ONNX file in ONNX Runtime: a `trm_deploy.runtimes.graph_runtime.Session`.

    Raises:
        ArtefactError: not an ONNX model that ONNX Runtime can load.
        CannotRunHere: ONNX Runtime or its CUDA provider is missing.
    """

    smallest_batch = 1
    largest_batch = None

    def __init__(self, path: Path, device: Device, *, profile: Path | None = None) -> None:
        self._path, self._device = path, device
        self._session = open_session(path, device, profile=profile)
        self.inputs, self.outputs = _tensors(self._session.get_inputs()), _tensors(self._session.get_outputs())

    def metadata(self) -> dict[str, str]:
        """The file's; raises `ArtefactError` where they are not text."""
        try:
            return dict(self._session.get_modelmeta().custom_metadata_map)
        except UnicodeDecodeError as error:
            raise ArtefactError(f"{self._path}: its metadata are not text ({error})", hint="copy it again") from error

    def end_profiling(self) -> str:
        """Close the profile of a session that was opened with one; the name of its file."""
        return str(self._session.end_profiling())

    def run(self, feeds: Mapping[str, Any]) -> dict[str, OnDevice]:
        """See `Session.run`."""
        binding = self._session.io_binding()
        try:
            for name, value in feeds.items():
                if isinstance(value, OnDevice):
                    binding.bind_ortvalue_input(name, value.value)
                else:
                    binding.bind_cpu_input(name, np.ascontiguousarray(value) if value.ndim else value)
            for tensor in self.outputs:
                binding.bind_output(tensor.name, self._device)
            self._session.run_with_iobinding(binding)
        except Exception as error:  # ONNX Runtime's exceptions share no base class below Exception
            raise ArtefactError(
                f"{self._path}: ONNX Runtime cannot run it ({reason(error)})",
                hint="copy the file again, or export again from the checkpoint",
            ) from error
        return {tensor.name: OnDevice(value) for tensor, value in zip(self.outputs, binding.get_outputs())}


@dataclass(frozen=True)
class OnDevice:
    """A result that stays where ONNX Runtime put it; `numpy.asarray` brings it to the host."""

    value: Any

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        array: NDArray[Any] = self.value.numpy()
        return array if dtype is None else array.astype(dtype)


def _tensors(nodes: list[Any]) -> tuple[TensorSpec, ...]:
    """What ONNX Runtime says of inputs or outputs; a size without a name or number is a free one."""
    return tuple(
        TensorSpec(
            node.name,
            # A type that no graph of ours has is kept as ONNX Runtime calls it, to be refused by that name.
            DTYPES.get(node.type, cast(DType, node.type)),
            tuple(BATCH if size is None else size for size in node.shape),
        )
        for node in nodes
    )


def arithmetic_of(precision: str, device: Device) -> str:
    """What the products of a graph are computed in: ONNX Runtime's CPU kernels are float32 and int8."""
    if device != "cpu" or precision == "fp32":
        return precision
    if precision == "int8":
        # Without these instructions, pairs of products are added in 16 bits, and large ones saturate.
        exact = machine.has_int8_dot_products()
        return "int8" if exact else "int8 with saturating sums (this processor lacks VNNI)"
    return "fp32 between casts" if precision == "fp16" else f"fp32 with weights in {precision}"


def installed_packages() -> dict[str, str]:
    """Distribution -> version, of those that bring the module `onnxruntime`: one into the folder of the other."""
    return machine.versions(DISTRIBUTIONS)


def hint_to_separate(wanted: str) -> str | None:
    """What to type where several such distributions are installed, and none of them is whole; None where one is.

    Args:
        wanted: the one to keep.
    """
    found = installed_packages()
    if len(found) < 2:
        return None
    return (
        f"{' and '.join(f'{name} {version}' for name, version in found.items())} overwrite each other's files; type:"
        f" pip uninstall --yes {' '.join(found)} && pip install {wanted}"
    )


def refuse_bfloat16(path: Path, device: Device) -> None:
    """Raises `CannotRunHere` where a file that ONNX Runtime does not load is one of ours in bfloat16."""
    try:
        described = onnx_file.read(path)
    except ArtefactError:
        return
    if described.precision == "bf16" and device == "cpu":
        raise CannotRunHere(
            f"{path}: is in bf16, which ONNX Runtime does not compute on CPUs",
            hint="on this machine run its checkpoint: trm-deploy run --engine CHECKPOINT --precision bf16;"
            " TensorRT takes the file: trm-deploy export FILE.onnx --format trt",
        )


def open_session(path: Path, device: Device, *, profile: Path | None = None) -> Any:
    """An ONNX Runtime session for a file; see `OrtSession` for what it raises.

    Args:
        path: the file.
        device: where to run it.
        profile: beginning of the names of the files that ONNX Runtime writes its profile and the optimised graph
            (.onnx) to; None for no profile.
    """
    ort = require("onnxruntime", extra="onnx", purpose=f"to run {path}")
    provider = PROVIDERS[device]
    if provider not in ort.get_available_providers():
        raise CannotRunHere(
            f"ONNX Runtime has no {provider} here (it has {', '.join(ort.get_available_providers())})",
            hint=hint_to_separate("onnxruntime-gpu") or "type: pip install 'trm-deploy[gpu]'",
        )
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what goes wrong comes back as an exception
    # By itself it starts a thread for each core of the machine, others' cores included, and they wait by spinning.
    options.intra_op_num_threads = machine.threads()
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
        options.optimized_model_filepath = str(profile.with_suffix(".onnx"))
    try:
        # TF32, ONNX Runtime's default on a GPU, keeps ten bits of a float32's mantissa: that would not be float32.
        settings = {"use_tf32": "0"} if device == "cuda" else {}
        session = ort.InferenceSession(_source(path), options, providers=[(provider, settings)])
    except Exception as error:  # ONNX Runtime's exceptions share no base class below Exception
        raise ArtefactError(
            f"{path}: is not an ONNX model that ONNX Runtime can load, or is truncated ({reason(error)})",
            hint="type: trm-deploy export CHECKPOINT --format onnx",
        ) from error
    if provider not in session.get_providers():
        # ONNX Runtime falls back to the CPU by itself; where CUDA was named, that is an error.
        raise CannotRunHere(f"ONNX Runtime could not start {provider} for {path}", hint="type: trm-deploy doctor")
    return session


def _source(path: Path) -> str | bytes:
    """The file for ONNX Runtime, which takes a name for UTF-8 whatever the locale: its bytes where that is wrong."""
    try:
        readable = str(path).encode() == os.fsencode(path)
    except UnicodeEncodeError:
        readable = False
    return str(path) if readable else path.read_bytes()
