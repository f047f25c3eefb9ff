"""The back ends: which reads what, and where it is. A new one is a file in `backends/` and a row here.

The module of a row has one function, `load(path, options) -> Runtime` (`path`: the artefact; `options`: a
`LoadOptions`), and is imported when a file is loaded through it: what is not used need not be installed.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trm_deploy.artefacts import onnx_file
from trm_deploy.artefacts.kind import Kind
from trm_deploy.errors import InputError
from trm_deploy.runtimes.base import Device, LoadOptions, Runtime
from trm_deploy.runtimes.profiling.base import Profiler
from trm_deploy.signature import MODEL_PRECISIONS, PRECISIONS, Precision
from trm_deploy.trt.flavours import FLAVOURS, LEAN


@dataclass(frozen=True)
class Backend:
    """A back end.

    Attributes:
        name: for ``--runtime``.
        title: for tables and messages.
        reads: kinds of artefacts.
        module: its dotted name; see above.
        extra: of this package, which installs what it needs.
        packages: distributions whose versions a measurement writes down.
        precisions: that it runs, though not on every device.
        arithmetics: what ``--precision`` may be for an exported file, whose products it then computes so; empty where
            a file decides that alone.
        profiler: dotted name of the module whose `load(path, options)` gives a
            `trm_deploy.runtimes.profiling.base.Profiler`; empty where the runtime has no profiler.
        lacks: operators of exported files that it does not compute.
        faster_on: devices on which it is faster than the default of the kinds that it reads; measured, see
            docs/performance.md.
    """

    name: str
    title: str
    reads: tuple[Kind, ...]
    module: str
    extra: str
    packages: tuple[str, ...]
    precisions: tuple[Precision, ...]
    arithmetics: tuple[Precision, ...] = ()
    profiler: str = ""
    lacks: frozenset[str] = frozenset()
    faster_on: tuple[Device, ...] = ()

    @property
    def package(self) -> str:
        """The module of others that it needs."""
        return self.packages[0].replace("-", "_")

    @property
    def installed(self) -> bool:
        """Whether `package` is there; it is not imported."""
        return importlib.util.find_spec(self.package) is not None

    def computes(self, file: onnx_file.OnnxFile) -> bool:
        """Whether it runs an ONNX file."""
        return file.precision in self.precisions and not self.lacks & file.operators

    def load(self, path: Path, options: LoadOptions) -> Runtime:
        """The runtime of an artefact; see `trm_deploy.runtimes.load`."""
        loader: Callable[[Path, LoadOptions], Runtime] = importlib.import_module(self.module).load
        return loader(path, options)

    def open_profiler(self, path: Path, options: LoadOptions) -> Profiler:
        """The runtime of an artefact with its profiler on."""
        loader: Callable[[Path, LoadOptions], Profiler] = importlib.import_module(self.profiler).load
        return loader(path, options)


# The first row that reads a kind is its default.
BACKENDS: tuple[Backend, ...] = (
    Backend(
        "torch",
        "PyTorch",
        reads=(Kind.checkpoint,),
        module="trm_deploy.runtimes.backends.pytorch",
        extra="export",
        packages=("torch",),
        precisions=MODEL_PRECISIONS,
        profiler="trm_deploy.runtimes.profiling.pytorch",
    ),
    Backend(
        "onnxruntime",
        "ONNX Runtime",
        reads=(Kind.onnx,),
        module="trm_deploy.runtimes.backends.ort",
        extra="onnx",
        packages=("onnxruntime", "onnxruntime-gpu"),
        precisions=PRECISIONS,
        profiler="trm_deploy.runtimes.profiling.ort",
    ),
    Backend(
        "openvino",
        "OpenVINO",
        reads=(Kind.onnx,),
        module="trm_deploy.runtimes.backends.ov",
        extra="openvino",
        packages=("openvino",),
        precisions=("fp32", "fp16", "int8"),
        arithmetics=("fp32", "bf16"),
        profiler="trm_deploy.runtimes.profiling.ov",
        lacks=frozenset((onnx_file.INT8_BY_ROW,)),
        faster_on=("cpu",),
    ),
    Backend(
        "tensorrt",
        FLAVOURS["trt"].title,
        reads=(Kind.trt,),
        module="trm_deploy.runtimes.backends.trt.runtime",
        extra="tensorrt",
        packages=("tensorrt", "cuda-bindings"),
        precisions=PRECISIONS,
        profiler="trm_deploy.runtimes.profiling.trt",
    ),
    Backend(
        "tensorrt-rtx",
        FLAVOURS["rtx"].title,
        reads=(Kind.rtx,),
        module="trm_deploy.runtimes.backends.trt.runtime",
        extra="rtx",
        packages=("tensorrt-rtx", "cuda-bindings"),
        precisions=PRECISIONS,
        profiler="trm_deploy.runtimes.profiling.trt",
    ),
    Backend(
        "tensorrt-lean",
        LEAN.title,
        reads=(Kind.trt,),
        module="trm_deploy.runtimes.backends.trt.lean",
        extra="lean",
        packages=("tensorrt-lean", "cuda-bindings"),
        precisions=PRECISIONS,
        profiler="trm_deploy.runtimes.profiling.trt_lean",
    ),
    Backend(
        "trt-network",
        "TensorRT's network",
        reads=(Kind.onnx,),
        module="trm_deploy.runtimes.backends.trt_network.runtime",
        extra="rtx",
        packages=("tensorrt-rtx",),
        precisions=PRECISIONS,
    ),
)


def get(name: str) -> Backend:
    """The back end of that name.

    Raises:
        InputError: no back end has this name.
    """
    for backend in BACKENDS:
        if backend.name == name:
            return backend
    raise InputError(f"--runtime is {name}, expected one of {', '.join(backend.name for backend in BACKENDS)}")


def reading(kind: Kind) -> tuple[Backend, ...]:
    """The back ends that read a kind of artefact, the default first."""
    return tuple(backend for backend in BACKENDS if kind in backend.reads)


def choose(path: Path, kind: Kind, name: str | None = None) -> Backend:
    """The back end for an artefact: the kind's default, or the named one.

    Raises:
        InputError: no back end has this name, or the one that has it does not read this kind.
    """
    able = reading(kind)
    if name is None:
        return able[0]
    for backend in able:
        if backend.name == name:
            return backend
    names = ", ".join(backend.name for backend in able)
    known = any(backend.name == name for backend in BACKENDS)
    raise InputError(
        f"{path}: is a file for {names} ({kind.value}), and --runtime {name} does not read it"
        if known
        else f"--runtime is {name}, expected one of {names} for {path} ({kind.value})",
        hint=f"use --runtime {able[0].name}, or leave it out",
    )


def faster(kind: Kind, device: Device) -> Backend | None:
    """The back end that is faster than a kind's default on a device; None where there is none."""
    return next((backend for backend in reading(kind)[1:] if device in backend.faster_on), None)


def fastest(path: Path, kind: Kind, device: Device, name: str | None = None) -> Backend:
    """The back end that puzzles are solved with: the named one, else the fastest by this rule.

    The one that is `faster` on the device, where it is installed and computes the file; else the kind's
    default. What it computes in is its own affair: never narrower than the flag or the file's build record allows.

    Raises:
        ArtefactError: a file that cannot be read.
        InputError: see `choose`.
    """
    other = faster(kind, device) if name is None and kind is Kind.onnx else None
    if other is not None and other.installed and other.computes(onnx_file.read(path)):
        return other
    return choose(path, kind, name)


def fastest_in_words(kind: Kind, device: Device) -> str:
    """The rule of `fastest` as it turns out on this machine."""
    other, usual = faster(kind, device), reading(kind)[0]
    if other is None:
        return usual.name
    if not other.installed:
        return f"{usual.name}; {other.name} would be faster on this device and is not installed"
    *some, last = (
        f"{precision} with static scales" if precision == "int8" and onnx_file.INT8_BY_ROW in other.lacks else precision
        for precision in other.precisions
    )
    files = f"{', '.join(some)} and {last}"
    return (
        f"{other.name} for files in {files}, because it is installed and faster on this device; {usual.name} for others"
    )


def packages() -> tuple[str, ...]:
    """Distributions whose versions a measurement writes down, for `trm_deploy.support.machine.versions`."""
    found = ["trm-deploy", *(name for backend in BACKENDS for name in backend.packages), "numpy"]
    return tuple(dict.fromkeys(found))
