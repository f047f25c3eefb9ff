"""`trm-deploy train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from trm_deploy.cli.values import one_of
from trm_deploy.errors import require
from trm_deploy.support import machine


def train(
    recipe: Annotated[
        Optional[str],
        typer.Argument(
            metavar="RECIPE",
            help="Name of a shipped recipe, or a TOML file; with --resume, the run's own if left out.",
        ),
    ] = None,
    output: Annotated[
        Optional[Path],
        typer.Option("-o", "--output", metavar="FOLDER", help="Folder of the run.", show_default="runs/RECIPE"),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint in the folder.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Begin anew in a folder that holds a run.")] = False,
    start: Annotated[
        Optional[Path],
        typer.Option(
            "--from", metavar="CHECKPOINT", help="Start from the weights of this ema.pt, with a new optimizer state."
        ),
    ] = None,
    data: Annotated[
        Optional[Path],
        typer.Option("--data", metavar="FOLDER", help="Dataset folder.", show_default="the recipe's data.folder"),
    ] = None,
    device: Annotated[
        Optional[machine.Device],
        typer.Option(
            "--device",
            **one_of(machine.DEVICES),
            help="Device to train on.",
            show_default="the recipe's training.device",
        ),
    ] = None,
) -> None:
    """Train a model; the folder's ema.pt is the checkpoint to export. Several processes train under torchrun."""
    require("torch", extra="train", purpose="to train")
    from trm_deploy.train.launch import RunRequest, launch

    launch(RunRequest(recipe=recipe, output=output, resume=resume, force=force, start=start, data=data, device=device))
