"""`trm-deploy benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from trm_deploy.cli.options import (
    AllowHostCode,
    Device,
    HaltThreshold,
    Json,
    MaxSteps,
    Overrides,
    Puzzles,
)
from trm_deploy.cli.values import whole
from trm_deploy.evaluation import defaults
from trm_deploy.support.files import refuse_folder
from trm_deploy.support.jsontext import dumps


def benchmark(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILES...", help="Checkpoints, ONNX files and plans of one model.")
    ],
    puzzles: Puzzles = None,
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
    max_steps: MaxSteps = None,
    halt_threshold: HaltThreshold = None,
    overrides: Overrides = None,
    device: Device = "cpu",
    allow_host_code: AllowHostCode = False,
    as_json: Json = False,
    png: Annotated[
        Optional[Path], typer.Option("--png", metavar="FILE", help="PNG file for a chart of the results.")
    ] = None,
) -> None:
    """Measure latency, throughput and solved share of every way to run a model."""
    from trm_deploy.evaluation.benchmark.files import benchmark_files

    if png is not None:
        from trm_deploy.support.figures import require_matplotlib

        require_matplotlib()
    refuse_folder(png, "--png")
    report = benchmark_files(
        files,
        puzzles=puzzles,
        limit=limit,
        repeats=repeats,
        batch=batch,
        max_steps=max_steps,
        halt_threshold=halt_threshold,
        overrides=overrides or (),
        device=device,
        allow_host_code=allow_host_code,
        only=only or (),
    )
    print(dumps(report.to_plain(), indent=2) if as_json else report.table(), flush=True)
    if png is not None:
        report.write_png(png)
