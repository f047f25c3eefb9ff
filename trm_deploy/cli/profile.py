"""`trm-deploy profile`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trm_deploy.cli.options import AllowHostCode, Device, Json, Overrides, Png, Runtime, TorchPrecision
from trm_deploy.cli.values import whole
from trm_deploy.support.files import refuse_folder
from trm_deploy.support.jsontext import dumps


def profile(
    artefact: Annotated[
        Path, typer.Argument(metavar="ENGINE", help="ONNX file, TensorRT plan or checkpoint, which PyTorch runs.")
    ],
    runtime: Runtime = None,
    precision: TorchPrecision = None,
    batch: Annotated[int, typer.Option("--batch", **whole(1), help="Number of puzzles at a time.")] = 1,
    overrides: Overrides = None,
    device: Device = "cpu",
    allow_host_code: AllowHostCode = False,
    as_json: Json = False,
    png: Png = None,
) -> None:
    """Show where the time of a supervision step goes, by layer group, as the runtime's own profiler tells it."""
    from trm_deploy.evaluation.profiling.measure import profile_file
    from trm_deploy.runtimes.base import LoadOptions

    if png is not None:
        from trm_deploy.support.figures import require_matplotlib

        require_matplotlib()
    refuse_folder(png, "--png")
    options = LoadOptions(device, allow_host_code, precision, overrides=tuple(overrides or ()))
    report = profile_file(artefact, runtime, batch=batch, options=options)
    print(dumps(report.to_plain(), indent=2) if as_json else report.table(), flush=True)
    if png is not None:
        report.write_png(png)
