"""The packages that build and run engines, and all that differs between them.

TensorRT serves datacenter GPUs and Jetson; it builds on the GPU that the engine is for. TensorRT for RTX serves GeForce
and RTX workstation GPUs; it also builds ahead of time, for named compute capabilities, on a machine without any GPU.
TensorRT's lean runtime only runs what TensorRT built, in a tenth of the space. Their Python APIs are otherwise one.
"""

from __future__ import annotations

import ctypes
import importlib
import logging
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from trm_deploy.artefacts.kind import Kind
from trm_deploy.errors import CannotRunHere, MissingPackage

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Flavour:
    """One of the packages.

    Attributes:
        format: the word for ``--format`` that builds its plans.
        module: to import.
        title: its name.
        kind: of its plans.
        install: what to type, and what to know, to get it.
        ahead_of_time: builds for compute capabilities that are named, without a GPU.
        oldest: the first release that is served, major and minor.
        lean: runs version-compatible plans alone, and builds none.
    """

    format: str
    module: str
    title: str
    kind: Kind
    install: str
    ahead_of_time: bool
    oldest: tuple[int, int]
    lean: bool = False


FLAVOURS = {
    flavour.format: flavour
    for flavour in (
        Flavour(
            "trt",
            "tensorrt",
            "TensorRT",
            Kind.trt,
            "type: pip install 'trm-deploy[tensorrt]' (pip may need NVIDIA's own package index),"
            " or on a Jetson: sudo apt install python3-libnvinfer",
            ahead_of_time=False,
            oldest=(10, 3),
        ),
        Flavour(
            "rtx",
            "tensorrt_rtx",
            "TensorRT for RTX",
            Kind.rtx,
            "type: pip install 'trm-deploy[rtx]'",
            ahead_of_time=True,
            oldest=(1, 3),
        ),
    )
}

LEAN = Flavour(
    "trt",
    "tensorrt_lean",
    "TensorRT's lean runtime",
    Kind.trt,
    "type: pip install 'trm-deploy[lean]', or on a Jetson: sudo apt install python3-libnvinfer-lean",
    ahead_of_time=False,
    oldest=(10, 3),
    lean=True,
)
EVERY = (*FLAVOURS.values(), LEAN)


def of_kind(kind: Kind) -> Flavour | None:
    """The flavour that builds plans of this kind; None where it is not a kind of plan."""
    return next((flavour for flavour in FLAVOURS.values() if flavour.kind is kind), None)


def load(flavour: Flavour, *, purpose: str, otherwise: str = "") -> ModuleType:
    """Import the flavour's package.

    Args:
        flavour: which.
        purpose: what it is needed for, as in "to run sudoku.plan".
        otherwise: what to do where it cannot be installed.

    Raises:
        MissingPackage: it is not installed, or the libraries that it needs are missing.
        CannotRunHere: it is older than what is served.
    """
    try:
        module = importlib.import_module(flavour.module)
    except (ImportError, OSError) as error:  # OSError: a shared library of the driver is missing
        raise MissingPackage(
            f"{flavour.title} ({flavour.module}) is needed {purpose} and cannot be imported ({error})",
            hint=f"{flavour.install}; {otherwise}" if otherwise else flavour.install,
        ) from error
    version = tuple(int(part) for part in module.__version__.split(".")[:2])
    if version < flavour.oldest:
        raise CannotRunHere(
            f"{flavour.title} {module.__version__} is too old {purpose}, expected {'.'.join(map(str, flavour.oldest))}"
            " or newer",
            hint=flavour.install,
        )
    return module


def make_logger(trt: Any) -> Any:
    """A logger for the package's objects: keeps errors in `errors`, and hands all to Python's logging at DEBUG."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(" ".join(message.split()))
            log.debug("%s", message)

    return Logger()


def make(kind: Any, logger: Any, flavour: Flavour, *, help: str) -> Any:
    """`trt.Builder(logger)` or `trt.Runtime(logger)`, which fail without a GPU or with a driver too old.

    Raises:
        CannotRunHere: with what the package logged.
    """
    before = len(logger.errors)
    try:
        made = kind(logger)
    except (TypeError, RuntimeError) as error:  # a factory that returns null raises TypeError
        reason = logger.errors[-1] if logger.errors else str(error)
        raise CannotRunHere(f"{flavour.title} cannot start here ({reason[:200]})", hint=help) from error
    if flavour.lean and len(logger.errors) > before:
        # It makes a runtime without a GPU all the same, and a segmentation fault ends the program when that is given a
        # plan, or freed: so it never is.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(made))
        raise CannotRunHere(f"{flavour.title} cannot start here ({logger.errors[before][:200]})", hint=help)
    return made
