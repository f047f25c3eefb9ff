"""`trm-deploy benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from trm_deploy.cli.options import (
    AllowHostCode,
    Device,
    DeviceName,
    HaltThreshold,
    Json,
    MaxSteps,
    Settings,
)
from trm_deploy.support.files import refuse_folder
from trm_deploy.support.jsontext import dumps


def benchmark(
    files: Annotated[list[Path], typer.Argument(help="Checkpoints, ONNX files and plans of one model.")],
    puzzles: Annotated[
        Optional[str],
        typer.Option("--puzzles", help="File with puzzles; those that come with the package if left out."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Use the first so many puzzles.")] = 200,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Of the measurements in batches.")] = 3,
    batch: Annotated[
        Optional[int], typer.Option("--batch", min=1, help="Puzzles at a time.  [default: what is fastest of each]")
    ] = None,
    only: Annotated[
        Optional[list[str]], typer.Option("--only", help="Row to measure, by its name; repeatable.")
    ] = None,
    max_steps: MaxSteps = None,
    halt_threshold: HaltThreshold = None,
    settings: Settings = None,
    device: Device = DeviceName.cpu,
    allow_host_code: AllowHostCode = False,
    as_json: Json = False,
    png: Annotated[Optional[Path], typer.Option("--png", help="Draw the figures into this file.")] = None,
) -> None:
    """Measure every way to run a model side by side: latency, throughput, solved share, share of the limit."""
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
        settings=settings or (),
        device=device.value,
        allow_host_code=allow_host_code,
        only=only or (),
    )
    print(dumps(report.to_plain(), indent=2) if as_json else report.table(), flush=True)
    if png is not None:
        report.write_png(png)
