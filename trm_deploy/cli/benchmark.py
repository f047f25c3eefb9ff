"""`trm-deploy benchmark`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Optional

import typer

from trm_deploy.cli.options import (
    ATTEMPT_STEPS,
    AllowHostCode,
    Attempts,
    Budget,
    Column,
    Device,
    HaltThreshold,
    InputFormat,
    Json,
    Overrides,
    Png,
    Puzzles,
    ReportFolder,
    Speculate,
    check_report_folder,
)
from trm_deploy.cli.values import whole
from trm_deploy.evaluation import defaults
from trm_deploy.spec import MAX_STEPS
from trm_deploy.support.files import refuse_folder
from trm_deploy.support.jsontext import dumps

log = logging.getLogger(__name__)


def benchmark(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILES...", help="Checkpoints, ONNX files and plans of one model.")
    ],
    puzzles: Puzzles = None,
    input_format: InputFormat = None,
    column: Column = None,
    limit: Annotated[
        int, typer.Option("--limit", **whole(1), help="Use only the first N puzzles.")
    ] = defaults.BENCHMARK_PUZZLES,
    repeats: Annotated[
        int, typer.Option("--repeats", **whole(1), help="Number of times to repeat each batch measurement.")
    ] = defaults.REPEATS,
    batch: Annotated[
        Optional[int],
        typer.Option("--batch", **whole(1), help="Batch size.", show_default="the fastest for each way to run"),
    ] = None,
    only: Annotated[
        Optional[list[str]],
        typer.Option("--only", metavar="NAME", help="Measure only the row of this name; repeatable."),
    ] = None,
    attempts: Attempts = None,
    attempt_steps: Annotated[Optional[tuple], typer.Option("--attempt-steps", **ATTEMPT_STEPS)] = None,  # type: ignore[type-arg]
    budget: Budget = None,
    speculate: Speculate = None,
    max_steps: Annotated[
        Optional[int],
        typer.Option(
            "--max-steps",
            **whole(1, MAX_STEPS),
            help="Maximum number of supervision steps where one attempt is measured.",
            show_default="the model's own",
        ),
    ] = None,
    halt_threshold: HaltThreshold = None,
    overrides: Overrides = None,
    device: Device = "cpu",
    allow_host_code: AllowHostCode = False,
    as_json: Json = False,
    png: Png = None,
    report: ReportFolder = None,
) -> None:
    """Measure latency, throughput, solved share and verified puzzles a second of every way to run a model.

    Checkpoints are also exported; ONNX files are measured in each runtime that reads them, which does without PyTorch.
    """
    from trm_deploy.evaluation.benchmark.files import benchmark_files
    from trm_deploy.runtimes.solving.session import SolveOptions

    if png is not None:
        from trm_deploy.support.figures import require_matplotlib

        require_matplotlib()
    refuse_folder(png, "--png")
    if report is not None:
        check_report_folder(report)
    found = benchmark_files(
        files,
        puzzles=puzzles,
        limit=limit,
        input_format=input_format,
        column=column,
        repeats=repeats,
        batch=batch,
        max_steps=max_steps,
        options=SolveOptions(attempts=attempts, attempt_steps=attempt_steps, budget=budget, speculate=speculate),
        halt_threshold=halt_threshold,
        overrides=overrides or (),
        device=device,
        allow_host_code=allow_host_code,
        only=only or (),
    )
    print(dumps(found.to_plain(), indent=2) if as_json else found.table(), flush=True)
    if png is not None:
        found.write_png(png)
    if report is not None:
        found.write(report)
        log.info(f"wrote {report / 'report.html'}")
