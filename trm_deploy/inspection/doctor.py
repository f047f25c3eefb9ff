"""What this machine can do."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable
from typing import Any

import trm_deploy
from trm_deploy.artefacts.kind import Kind
from trm_deploy.errors import CannotRunHere, MissingPackage, require
from trm_deploy.runtimes import registry
from trm_deploy.runtimes.backends import ort, ov
from trm_deploy.runtimes.backends.trt.cuda import load_cudart
from trm_deploy.support import machine
from trm_deploy.trt import flavours

SCHEMA = 1


def doctor() -> dict[str, Any]:
    """What this machine has; for each missing piece the command that installs it."""
    gpu, jetson = machine.gpu(), machine.jetson()
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "trm_deploy": trm_deploy.__version__,
        "python": platform.python_version(),
        "machine": machine.platform_tag(),
        "cores": _cores(),
        "gpu": f"{gpu.name or 'unnamed'}, compute capability {gpu.compute_capability}" if gpu else "none found",
        "driver": machine.driver() or "none found (no nvidia-smi)",
    }
    if jetson is not None:
        document["jetson"] = (
            f"{jetson.model or 'unnamed'}, Jetson Linux {jetson.linux or 'unknown'},"
            f" JetPack {jetson.jetpack or 'unknown'}"
        )
    for backend in registry.BACKENDS:
        document[_key(backend)] = _backend(backend)
    if cure := ort.hint_to_separate("onnxruntime-gpu" if gpu else "onnxruntime"):
        document["onnxruntime_packages"] = cure
    # Without --runtime; `benchmark` measures whether the rule is right here.
    for device in machine.DEVICES if gpu else ("cpu",):
        document[f"onnx_files_on_{device}"] = registry.fastest_in_words(Kind.onnx, device)
    return document | {
        "onnx": _installed("onnx", "export"),
        "numba": _installed("numba", "train"),
        "ray": _installed("ray", "ray"),
        "cuda_python": _cuda_python(),
    }


def _cores() -> str:
    """The cores that are computed on; where a container's quota decides, how many that are."""
    quota = machine.cpu_quota()
    return str(machine.cores()) if quota is None else f"{machine.cores()} (a quota of {quota:g} CPUs)"


def _key(backend: registry.Backend) -> str:
    """A back end's entry, which is also the module that it needs."""
    return backend.name.replace("-", "_")


def _backend(backend: registry.Backend) -> str:
    if backend.name == "trt-network":  # needs a package that has a row of its own
        return _flavour(flavours.FLAVOURS["rtx"])
    for flavour in flavours.EVERY:
        if flavour.module == _key(backend):
            return _flavour(flavour)
    if backend.name == "torch" and machine.gpu() is None:  # its import takes seconds, to find that there is no GPU
        found = _installed("torch", backend.extra)
        return found if found.startswith("missing") else f"{found} (no CUDA device)"
    return _package(_key(backend), backend.extra, _DETAILS.get(backend.name, _no_details))


def _flavour(flavour: flavours.Flavour) -> str:
    try:
        module = flavours.load(flavour, purpose="to run plans")
    except MissingPackage:
        return f"missing; {flavour.install}"
    except CannotRunHere as error:
        return str(error)
    return str(module.__version__)


def _cuda_python() -> str:
    try:
        load_cudart(purpose="to run plans")
    except MissingPackage as error:
        return f"missing; {error.hint}"
    return importlib.metadata.version("cuda-bindings")


def _no_details(module: Any) -> str:
    return ""


def _installed(package: str, extra: str) -> str:
    """The version of a package that is not imported for it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return f"missing; type: pip install 'trm-deploy[{extra}]'"


def _package(module: str, extra: str, details: Callable[[Any], str] = _no_details) -> str:
    try:
        imported = require(module, extra=extra, purpose="to look at it")
    except MissingPackage as error:
        return f"missing; {error.hint}"
    version = getattr(imported, "__version__", "version unknown")
    return f"{version} {details(imported)}".rstrip()


def _torch_details(torch: Any) -> str:
    if not torch.cuda.is_available():
        return "(no CUDA device)"
    major, minor = torch.cuda.get_device_capability()
    return f"(CUDA {torch.version.cuda}, {torch.cuda.get_device_name()}, compute capability {major}.{minor})"


def _ort_details(onnxruntime: Any) -> str:
    return f"({', '.join(onnxruntime.get_available_providers())})"


def _openvino_details(openvino: Any) -> str:
    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    computed = (name for name, (_, capability) in ov.ARITHMETIC.items() if capability in capabilities)
    return f"(computes {', '.join(computed)} on this processor)"


# What else there is to say of a back end's package, by the back end's name.
_DETAILS: dict[str, Callable[[Any], str]] = {
    "torch": _torch_details,
    "onnxruntime": _ort_details,
    "openvino": _openvino_details,
}
