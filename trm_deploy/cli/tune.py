"""`trm-deploy tune`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Optional

import typer

from trm_deploy.cli.options import (
    AllowHostCode,
    Column,
    Device,
    InputFormat,
    Json,
    Limit,
    MaxSteps,
    Overrides,
    ReportFolder,
    Runtime,
    check_report_folder,
)
from trm_deploy.cli.values import real
from trm_deploy.errors import InputError
from trm_deploy.evaluation import defaults
from trm_deploy.support.files import refuse_folder
from trm_deploy.support.jsontext import dumps

log = logging.getLogger(__name__)


def tune(
    engine: Annotated[Path, typer.Argument(metavar="FILE", help="ONNX file, TensorRT plan or checkpoint.")],
    puzzles: Annotated[str, typer.Argument(metavar="PUZZLES", help="File with puzzles.")],
    schedule: Annotated[
        bool,
        typer.Option(
            "--schedule", help="Choose the schedule of attempts instead of the threshold; needs the step form."
        ),
    ] = False,
    max_loss: Annotated[
        Optional[float],
        typer.Option(
            "--max-loss",
            **real(0),
            help="Maximum loss of solved share, in percentage points.",
            show_default=f"{defaults.MAX_LOSS:g}; no limit with --mean-steps",
        ),
    ] = None,
    mean_steps: Annotated[
        Optional[float],
        typer.Option("--mean-steps", **real(1), help="Maximum mean number of supervision steps per puzzle."),
    ] = None,
    limit: Limit = None,
    input_format: InputFormat = None,
    column: Column = None,
    max_steps: MaxSteps = None,
    write: Annotated[
        bool, typer.Option("--write", help="Store what is recommended as the artefact's default.")
    ] = False,
    report: ReportFolder = None,
    output: Annotated[
        Optional[Path],
        typer.Option("-o", "--output", metavar="FILE", help="PNG file for the curve of solved share against steps."),
    ] = None,
    overrides: Overrides = None,
    runtime: Runtime = None,
    device: Device = "cpu",
    allow_host_code: AllowHostCode = False,
    as_json: Json = False,
) -> None:
    """Choose a halting threshold, or a schedule of attempts, from the share and the steps that each would give."""
    from trm_deploy.evaluation import tuning
    from trm_deploy.runtimes.solving import session as running

    if report is not None or output is not None:
        check_report_folder(report)
    refuse_folder(output)
    opened = running.open_session(
        engine, device=device, allow_host_code=allow_host_code, overrides=overrides or (), runtime=runtime
    )
    if schedule and max_loss is not None:
        raise InputError(
            "--max-loss is for the threshold, not for --schedule", hint="leave it out, or use --mean-steps"
        )
    found: tuning.Tuned | tuning.TunedSchedule
    if schedule:
        if write:
            tuning.check_schedule_writable(opened)
        found = tuning.tune_schedule(
            opened,
            puzzles,
            mean_steps=mean_steps,
            limit=limit,
            max_steps=max_steps,
            input_format=input_format,
            column=column,
        )
    else:
        if write:
            tuning.check_writable(opened)
        limits = tuning.TuneSettings(
            max_loss=max_loss,
            mean_steps=mean_steps,
            limit=limit,
            max_steps=max_steps,
            input_format=input_format,
            column=column,
        )
        found = tuning.tune(opened, puzzles, limits)
    print(dumps(found.to_plain(), indent=2) if as_json else found.table(), flush=True)
    if write and isinstance(found, tuning.Tuned):
        log.info(tuning.write_threshold(opened, found.recommended.threshold))
    elif write and isinstance(found, tuning.TunedSchedule):
        log.info(tuning.write_schedule(opened, found.recommended.schedule))
    if report is not None:
        found.write(report)
        log.info(f"wrote {report / ('schedule.md' if schedule else 'tune.md')}")
    if output is not None:
        found.write_png(output)
        log.info(f"wrote {output}")
