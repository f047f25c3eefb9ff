"""What commands share: option types, stated once, and small helpers."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from trm_deploy import signature
from trm_deploy.cli.values import one_of, real, whole, whole_list
from trm_deploy.errors import InputError, Interrupted, TrmDeployError
from trm_deploy.spec import MAX_STEPS
from trm_deploy.support import machine
from trm_deploy.support.jsontext import dumps


def _runtime(value: Any) -> str:
    from trm_deploy.runtimes import registry  # it brings numpy

    return registry.get(str(value)).name


def _runtimes(incomplete: str) -> list[str]:
    from trm_deploy.runtimes import registry

    return [backend.name for backend in registry.BACKENDS if backend.name.startswith(incomplete)]


# The names in the table of `puzzles.text.formats`, which takes NumPy to import.
INPUT_FORMATS = ("lines", "grids", "jsonl", "xml", "sadman", "code", "csv", "cells")

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Limit = Annotated[Optional[int], typer.Option("--limit", **whole(1), help="Use only the first N puzzles.")]
Puzzles = Annotated[
    Optional[str],
    typer.Option(
        "--puzzles", metavar="FILE", help="File with puzzles.", show_default="the puzzles shipped with the package"
    ),
]
Attempts = Annotated[
    Optional[int],
    typer.Option(
        "--attempts",
        **whole(1),
        help="Maximum number of attempts at a puzzle; each one after the first solves a symmetric form of it. Without"
        " --attempt-steps, each has the model's own steps. For ARC: augmentations that vote.",
        show_default="the artefact's schedule; the shipped Sudoku model's is 128 attempts of 2 steps; 8 where it has"
        " none; for ARC all that were trained",
    ),
]
ATTEMPT_STEPS: dict[str, Any] = {
    **whole_list(1, MAX_STEPS),
    "help": "Maximum number of supervision steps of an attempt, or of each in turn, as in 3,3,16; the last repeats.",
    "show_default": "the artefact's schedule, else the model's own",
}
AttemptSteps = Annotated[
    Optional[tuple],  # type: ignore[type-arg]  # typer knows no tuple of any length
    typer.Option("--attempt-steps", "--max-steps", **ATTEMPT_STEPS),
]
Budget = Annotated[
    Optional[int],
    typer.Option(
        "--budget",
        **whole(1),
        help="Maximum number of supervision steps of all attempts at a puzzle.",
        show_default="no limit beside the attempts'",
    ),
]
Batch = Annotated[
    Optional[int],
    typer.Option(
        "--batch",
        **whole(1),
        help="Number of puzzles to compute together.",
        show_default="8 in flight, else 1; a file of one batch size: that",
    ),
]
InFlight = Annotated[
    Optional[bool],
    typer.Option(
        "--in-flight/--no-in-flight",
        help="Start the next puzzle as soon as one halts, instead of batch by batch; needs the step form.",
        show_default="on if the file has the step form",
    ),
]
Seed = Annotated[int, typer.Option("--seed", **whole(0), help="Random seed for the symmetry transforms.")]
Png = Annotated[Optional[Path], typer.Option("--png", metavar="FILE", help="PNG file for a chart of the results.")]
Speculate = Annotated[
    Optional[bool],
    typer.Option(
        "--speculate/--no-speculate",
        help="Let idle slots of a batch compute further attempts ahead of their turn; no answer changes by it.",
        show_default="on if the batch has slots that would be idle",
    ),
]
InputFormat = Annotated[
    Optional[str],
    typer.Option(
        "--input-format",
        **one_of(INPUT_FORMATS),
        help="Format of the puzzle files, where it cannot be told from what they hold.",
        show_default="what they look like",
    ),
]
Column = Annotated[
    Optional[str],
    typer.Option(
        "--column",
        metavar="NAME",
        help="Column, or key, that holds the puzzles; or its number, from 1.",
        show_default="found by its usual names, or by what it holds",
    ),
]
MaxSteps = Annotated[
    Optional[int],
    typer.Option(
        "--max-steps",
        **whole(1, MAX_STEPS),
        help="Maximum number of supervision steps.",
        show_default="the artefact's own",
    ),
]
HaltThreshold = Annotated[
    Optional[float],
    typer.Option(
        "--halt-threshold",
        **real(endless=True),
        help="Halt when the halting logit exceeds this number; inf: never halt early.",
        show_default="the artefact's own",
    ),
]
AllowHostCode = Annotated[
    bool,
    typer.Option(
        "--allow-host-code",
        help="Allow version-compatible plans, which contain code that runs on the host's processor.",
    ),
]
Overrides = Annotated[
    Optional[list[str]],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a value that a published checkpoint does not state, such as arch.H_cycles=3; repeatable.",
    ),
]
TorchPrecision = Annotated[
    Optional[signature.Precision],
    typer.Option(
        "--precision",
        **one_of(signature.MODEL_PRECISIONS),
        help="Precision to run a checkpoint in; other files have their own, but OpenVINO computes ONNX files in fp32 or"
        " bf16 as this says.",
        show_default="fp32; with OpenVINO bf16 where the file's build record accepts it and the processor has it",
    ),
]
# What --runtime is in every command, but for its default.
RUNTIME: dict[str, Any] = {
    "metavar": "NAME",
    "parser": _runtime,
    "autocompletion": _runtimes,
    "help": "Runtime to use, such as onnxruntime; `trm-deploy doctor` lists them.",
}
Runtime = Annotated[
    Optional[str],
    typer.Option(
        "--runtime",
        **RUNTIME,
        show_default="the fastest that is installed; `trm-deploy doctor` says which",
    ),
]
RuntimeOfKind = Annotated[
    Optional[str],
    typer.Option("--runtime", **RUNTIME, show_default="by the kind of file; onnxruntime for ONNX files"),
]
Compile = Annotated[
    bool, typer.Option("--compile", help="Run a checkpoint through torch.compile: slow to start, fast afterwards.")
]
Device = Annotated[machine.Device, typer.Option("--device", **one_of(machine.DEVICES), help="Device to run on.")]
ReportFolder = Annotated[
    Optional[Path],
    typer.Option(
        "--report", metavar="FOLDER", help="Folder for the report: a page (report.html), Markdown, JSON, pictures."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite an output that exists already.")]


def check_report_folder(folder: Optional[Path]) -> None:
    """Before the work: what would keep a report from being written."""
    from trm_deploy.support.figures import require_matplotlib
    from trm_deploy.support.report_page import require_markdown

    if folder is not None and folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file, expected a folder for the report")
    require_matplotlib()
    if folder is not None:
        require_markdown()


def print_document(document: dict[str, Any], as_json: bool) -> None:
    """Print a flat document: as JSON, or a line an entry but the schema, which is for programs."""
    if as_json:
        print(dumps(document, indent=2))
        return
    document = {key: value for key, value in document.items() if key != "schema"}
    width = max(len(key) for key in document)
    for key, value in document.items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {entry}" for name, entry in value.items())
        elif isinstance(value, list):
            value = ("\n" + " " * (width + 2)).join(map(str, value))
        print(f"{key.replace('_', ' '):{width}}  {value}")


@contextlib.contextmanager
def resumable(file: Path) -> Iterator[None]:
    """Where Ctrl-C or a full disk leaves this file, the message says how to go on from it."""
    try:
        yield
    except KeyboardInterrupt as pressed:
        raise Interrupted(hint="add --resume to go on" if file.exists() else None) from pressed
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise TrmDeployError(
            f"{error.filename or file}: {error.strerror}",
            hint="free some space, then add --resume to go on" if file.exists() else "free some space",
        ) from error
