"""`trm-deploy tune`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Optional

import typer

from trm_deploy.cli.options import (
    AllowHostCode,
    Device,
    DeviceName,
    Json,
    Limit,
    MaxSteps,
    check_report_folder,
)
from trm_deploy.support.files import refuse_folder
from trm_deploy.support.jsontext import dumps

log = logging.getLogger(__name__)


def tune(
    engine: Annotated[Path, typer.Argument(help="ONNX file, plan or checkpoint.")],
    puzzles: Annotated[str, typer.Argument(help="File with puzzles.")],
    max_loss: Annotated[
        Optional[float],
        typer.Option(
            "--max-loss",
            min=0,
            help="Points of the solved share that may be lost.  [default: 0.2, or none with --mean-steps]",
        ),
    ] = None,
    mean_steps: Annotated[
        Optional[float], typer.Option("--mean-steps", min=1, help="Supervision steps a puzzle at the most, on average.")
    ] = None,
    limit: Limit = None,
    max_steps: MaxSteps = None,
    write: Annotated[bool, typer.Option("--write", help="Make the threshold the artefact's default.")] = False,
    report: Annotated[
        Optional[Path], typer.Option("--report", help="Folder for tune.md, tune.json and tune.png.")
    ] = None,
    output: Annotated[Optional[Path], typer.Option("-o", "--output", help="PNG file: solved share and steps.")] = None,
    device: Device = DeviceName.cpu,
    allow_host_code: AllowHostCode = False,
    as_json: Json = False,
) -> None:
    """Choose the halting threshold: solved share against mean steps, for every threshold from one pass."""
    from trm_deploy.evaluation import tuning
    from trm_deploy.runtimes.solving import session as running

    if report is not None or output is not None:
        check_report_folder(report)
    refuse_folder(output)
    opened = running.open_engine(engine, device=device.value, allow_host_code=allow_host_code)
    if write:
        tuning.check_writable(opened)
    settings = tuning.TuneSettings(max_loss=max_loss, mean_steps=mean_steps, limit=limit, max_steps=max_steps)
    tuned = tuning.tune(opened, puzzles, settings)
    print(dumps(tuned.to_plain(), indent=2) if as_json else tuned.table(), flush=True)
    if write:
        log.info(tuning.write_threshold(opened, tuned.recommended.threshold))
    if report is not None:
        tuned.write(report)
        log.info(f"wrote {report / 'tune.md'}")
    if output is not None:
        tuned.write_png(output)
        log.info(f"wrote {output}")
