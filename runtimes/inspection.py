"""What an artefact is, and what this machine can do."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trm_deploy
from trm_deploy import record
from trm_deploy.errors import ArtefactError, require
from trm_deploy.runtimes import load
from trm_deploy.runtimes.ort_runtime import OrtRuntime
from trm_deploy.spec import ModelSpec

SCHEMA = 1


def inspect(path: Path) -> dict[str, Any]:
    """What a checkpoint or ONNX file is, as plain values.

    Raises:
        ArtefactError, CheckpointError: it cannot be read, or is not ours.
    """
    if path.is_file() and zipfile.is_zipfile(path):
        require("torch", extra="export", purpose=f"to read the checkpoint {path}")
        from trm_deploy import checkpoint

        loaded = checkpoint.load(path)
        kind = "checkpoint"
        details: dict[str, Any] = {
            "parameters": sum(tensor.numel() for tensor in loaded.ema.values()),
            "training_steps": loaded.training.get("steps"),
            "seed": loaded.training.get("seed"),
        }
        spec = loaded.spec
    else:
        runtime = load(path)
        if not isinstance(runtime, OrtRuntime):
            raise ArtefactError(f"{path}: is neither a checkpoint nor an ONNX file")
        kind, details, spec = "ONNX", runtime.details(), runtime.spec
    built = record.read(path)
    return {
        "schema": SCHEMA,
        "file": str(path),
        "kind": kind,
        "bytes": path.stat().st_size,
        "sha256": record.sha256(path),
        **details,
        **_spec_lines(spec),
        "build_record": _record_line(path, built),
    }


def _spec_lines(spec: ModelSpec) -> dict[str, Any]:
    architecture, recursion, halting = spec.architecture, spec.recursion, spec.halting
    return {
        "task": spec.task.name or "not named",
        "tokens": f"L = {spec.task.sequence_length}, V = {len(spec.task.vocabulary)}",
        "network": (
            f"{architecture.networks}, {architecture.layers} layers, {architecture.mixer} mixer,"
            f" D = {architecture.hidden_size}, P = {architecture.prefix_length}, positions {architecture.positions}"
        ),
        "recursion": f"n = {recursion.latent}, T = {recursion.deep}: {recursion.network_calls} network calls a step",
        "halting": f"rule {halting.rule}, threshold {halting.threshold:g}, at most {halting.max_steps} steps",
    }


def _record_line(path: Path, built: record.BuildRecord | None) -> str:
    if built is None:
        return "none beside it"
    if built.artefact_sha256 != record.sha256(path):
        return f"{record.path_of(path).name} is of another file (its SHA-256 differs)"
    parity = "parity held" if built.parity.get("passed") else "parity unknown"
    return f"{record.path_of(path).name}: {parity}, halting threshold {built.halting_threshold:g}"


def doctor() -> dict[str, Any]:
    """What this machine has; for each missing piece the command that installs it."""
    return {
        "schema": SCHEMA,
        "trm_deploy": trm_deploy.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "gpu": _gpu(),
        "torch": _package("torch", "export", _torch_details),
        "onnx": _package("onnx", "export"),
        "onnxruntime": _package("onnxruntime", "onnx", _ort_details),
        "numba": _package("numba", "train"),
        "tensorrt": _package("tensorrt", "tensorrt"),
        "tensorrt_rtx": _package("tensorrt_rtx", "rtx"),
    }


def _package(module: str, extra: str, details: Callable[[Any], str] = lambda module: "") -> str:
    try:
        imported = importlib.import_module(module)
    except ImportError:
        return f"missing; type: pip install 'trm-deploy[{extra}]'"
    version = getattr(imported, "__version__", "version unknown")
    return f"{version} {details(imported)}".rstrip()


def _torch_details(torch: Any) -> str:
    if not torch.cuda.is_available():
        return "(no CUDA device)"
    major, minor = torch.cuda.get_device_capability()
    return f"(CUDA {torch.version.cuda}, {torch.cuda.get_device_name()}, compute capability {major}.{minor})"


def _ort_details(ort: Any) -> str:
    return f"({', '.join(ort.get_available_providers())})"


def _gpu() -> str:
    if shutil.which("nvidia-smi") is None:
        return "none found (no nvidia-smi)"
    query = ["nvidia-smi", "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (subprocess.SubprocessError, OSError) as error:
        return f"nvidia-smi fails ({error})"
    return "; ".join(found.splitlines()) or "none found"
