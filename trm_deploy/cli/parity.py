"""`trm-deploy parity`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Optional

import typer

from trm_deploy.cli.options import (
    AllowHostCode,
    Column,
    Compile,
    Device,
    HaltThreshold,
    InputFormat,
    Json,
    Limit,
    MaxSteps,
    Overrides,
    Puzzles,
    ReportFolder,
    RuntimeOfKind,
    TorchPrecision,
    check_report_folder,
)
from trm_deploy.cli.values import real, whole
from trm_deploy.evaluation import defaults
from trm_deploy.support.jsontext import dumps

log = logging.getLogger(__name__)


def parity(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="Checkpoint to compare with.")],
    engines: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES...",
            help="ONNX files and TensorRT plans made from it; or the checkpoint itself, run in another precision.",
        ),
    ],
    puzzles: Puzzles = None,
    input_format: InputFormat = None,
    column: Column = None,
    limit: Limit = None,
    max_steps: MaxSteps = None,
    halt_threshold: HaltThreshold = None,
    attempts: Annotated[
        int,
        typer.Option(
            "--attempts", **whole(1), help="Maximum number of attempts at a puzzle when counting verified answers."
        ),
    ] = defaults.ATTEMPTS,
    controls: Annotated[
        Optional[int],
        typer.Option(
            "--controls",
            **whole(1),
            help="Number of controls, PyTorch with ulp-perturbed weights, each of which answers every puzzle.",
            show_default=f"{defaults.CONTROLS}, which share the puzzles",
        ),
    ] = None,
    report: ReportFolder = None,
    baseline: Annotated[
        Optional[Path],
        typer.Option(
            "--baseline",
            metavar="FILE",
            help="The last accepted report.json; the command fails if a file solves fewer puzzles than recorded there.",
        ),
    ] = None,
    atol: Annotated[
        Optional[float],
        typer.Option(
            "--atol",
            **real(0),
            help="Absolute tolerance of a teacher-forced step.",
            show_default="by precision",
        ),
    ] = None,
    rtol: Annotated[
        Optional[float],
        typer.Option("--rtol", **real(0), help="Relative tolerance, added to it: atol + rtol * |expected|."),
    ] = None,
    overrides: Overrides = None,
    precision: TorchPrecision = None,
    compiled: Compile = False,
    runtime: RuntimeOfKind = None,
    device: Device = "cpu",
    allow_host_code: AllowHostCode = False,
    as_json: Json = False,
) -> None:
    """Compare exported files with PyTorch, teacher-forced and free-running; exit code 3 if one fails."""
    if report is not None:
        check_report_folder(report)
    from trm_deploy import api
    from trm_deploy.evaluation.parity import rendering

    found = api.compare(
        checkpoint,
        engines,
        puzzles=puzzles,
        limit=limit,
        input_format=input_format,
        column=column,
        max_steps=max_steps,
        halt_threshold=halt_threshold,
        attempts=attempts,
        controls=controls,
        baseline=baseline,
        atol=atol,
        rtol=rtol,
        precision=precision,
        compiled=compiled,
        runtime=runtime,
        overrides=overrides or (),
        device=device,
        allow_host_code=allow_host_code,
    )
    print(dumps(found.to_plain(), indent=2) if as_json else rendering.table(found), flush=True)
    if report is not None:
        rendering.write(found, report)
        log.info(f"wrote {report / 'report.md'}")
    found.raise_if_failed()
