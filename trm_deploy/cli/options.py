"""What commands share: option types, stated once, and small helpers."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from trm_deploy.errors import InputError, Interrupted
from trm_deploy.spec import MAX_STEPS
from trm_deploy.support.jsontext import dumps


class Format(str, Enum):
    """--format."""

    onnx = "onnx"
    trt = "trt"
    rtx = "rtx"


class GraphForm(str, Enum):
    """--graph."""

    loop = "loop"
    step = "step"
    unrolled = "unrolled"


class Precision(str, Enum):
    """--precision."""

    fp32 = "fp32"
    fp16 = "fp16"
    bf16 = "bf16"
    int8 = "int8"


class DeviceName(str, Enum):
    """--device."""

    cpu = "cpu"
    cuda = "cuda"


Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Limit = Annotated[Optional[int], typer.Option("--limit", min=1, help="Use the first so many puzzles.")]
MaxSteps = Annotated[
    Optional[int], typer.Option("--max-steps", min=1, max=MAX_STEPS, help="Supervision steps at the most.")
]


def _number(value: Optional[float]) -> Optional[float]:
    if value is not None and math.isnan(value):
        raise typer.BadParameter("nan is no threshold, expected a number, inf or -inf")
    return value


HaltThreshold = Annotated[
    Optional[float],
    typer.Option("--halt-threshold", callback=_number, help="Halt when the halting logit exceeds this; or inf: never."),
]
AllowHostCode = Annotated[
    bool, typer.Option("--allow-host-code", help="Load a version-compatible plan, which carries processor code.")
]
Settings = Annotated[
    Optional[list[str]],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="What a published checkpoint does not say, as in arch.H_cycles=3; repeatable.",
    ),
]
TorchPrecision = Annotated[
    Optional[Precision], typer.Option("--precision", help="Of a checkpoint: fp32, bf16 or fp16.  [default: fp32]")
]
Compile = Annotated[
    bool, typer.Option("--compile", help="Run a checkpoint through torch.compile: a slow start, then fast.")
]
Device = Annotated[DeviceName, typer.Option("--device", help="Where to run.")]


def check_report_folder(folder: Optional[Path]) -> None:
    """Before the work: what would keep a report from being written."""
    from trm_deploy.support.figures import require_matplotlib

    if folder is not None and folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file, expected a folder for the report")
    require_matplotlib()


def print_document(document: dict[str, Any], as_json: bool) -> None:
    """Print a flat document: as JSON, or a line an entry."""
    if as_json:
        print(dumps(document, indent=2))
        return
    width = max(len(key) for key in document)
    for key, value in document.items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {entry}" for name, entry in value.items())
        elif isinstance(value, list):
            value = ("\n" + " " * (width + 2)).join(map(str, value))
        print(f"{key.replace('_', ' '):{width}}  {value}")


@contextlib.contextmanager
def resumable(file: Path) -> Iterator[None]:
    """Where Ctrl-C leaves this file, the message says how to go on from it."""
    try:
        yield
    except KeyboardInterrupt as pressed:
        raise Interrupted(hint="add --resume to go on" if file.exists() else None) from pressed
