"""`trm-deploy parity`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Optional

import typer

from trm_deploy.cli.options import (
    AllowHostCode,
    Compile,
    Device,
    DeviceName,
    HaltThreshold,
    Json,
    Limit,
    MaxSteps,
    Settings,
    TorchPrecision,
    check_report_folder,
)
from trm_deploy.support.jsontext import dumps

log = logging.getLogger(__name__)


def parity(
    checkpoint: Annotated[Path, typer.Argument(help="The reference.")],
    engines: Annotated[
        list[Path], typer.Argument(help="ONNX files and plans made from it; or itself, in another precision.")
    ],
    puzzles: Annotated[
        Optional[str],
        typer.Option("--puzzles", help="File with puzzles; those that come with the package if left out."),
    ] = None,
    limit: Limit = None,
    max_steps: MaxSteps = None,
    halt_threshold: HaltThreshold = None,
    attempts: Annotated[
        int, typer.Option("--attempts", min=1, help="Tries a puzzle, under its symmetries, for the verified share.")
    ] = 1,
    controls: Annotated[
        int, typer.Option("--controls", min=1, help="Draws of the control: PyTorch with its weights 1 ulp off.")
    ] = 3,
    report: Annotated[
        Optional[Path], typer.Option("--report", help="Folder for report.md, report.json and pictures.")
    ] = None,
    baseline: Annotated[
        Optional[Path],
        typer.Option("--baseline", help="The last accepted report.json: fails where an engine solves less than there."),
    ] = None,
    atol: Annotated[
        Optional[float],
        typer.Option("--atol", help="Bound on a step from the same state, in place of the precision's."),
    ] = None,
    rtol: Annotated[
        Optional[float], typer.Option("--rtol", help="The same relative to the expected: atol + rtol * |expected|.")
    ] = None,
    settings: Settings = None,
    precision: TorchPrecision = None,
    compiled: Compile = False,
    device: Device = DeviceName.cpu,
    allow_host_code: AllowHostCode = False,
    as_json: Json = False,
) -> None:
    """Compare engines with PyTorch, from the same state and running free; exit code 3 where one fails."""
    from trm_deploy.errors import require

    require("torch", extra="export", purpose="to compare with PyTorch")
    if report is not None:
        check_report_folder(report)
    from trm_deploy.evaluation import parity as parities

    found = parities.compare_files(
        checkpoint,
        engines,
        puzzles=puzzles,
        limit=limit,
        max_steps=max_steps,
        halt_threshold=halt_threshold,
        attempts=attempts,
        controls=controls,
        baseline=baseline,
        atol=atol,
        rtol=rtol,
        precision=precision.value if precision else None,
        compiled=compiled,
        settings=settings or (),
        device=device.value,
        allow_host_code=allow_host_code,
    )
    print(dumps(found.to_plain(), indent=2) if as_json else found.table(), flush=True)
    if report is not None:
        found.write(report)
        log.info(f"wrote {report / 'report.md'}")
    found.raise_if_failed()
