"""`trm-deploy train`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Optional

import typer

from trm_deploy.cli.options import resumable
from trm_deploy.cli.values import one_of
from trm_deploy.errors import InputError
from trm_deploy.support import machine

log = logging.getLogger(__name__)


def train(
    recipe: Annotated[
        Optional[str], typer.Argument(metavar="RECIPE", help="Name of a shipped recipe, or a TOML file.")
    ] = None,
    output: Annotated[
        Optional[Path],
        typer.Option("-o", "--output", metavar="FOLDER", help="Folder of the run.", show_default="runs/RECIPE"),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint in the folder.")] = False,
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
    from trm_deploy.errors import require

    require("torch", extra="train", purpose="to train")
    from trm_deploy.train import distributed
    from trm_deploy.train import recipe as recipes
    from trm_deploy.train.trainer import Trainer

    if recipe is None:
        raise InputError(f"no recipe is named, expected one of {', '.join(recipes.shipped())} or a TOML file")
    loaded = recipes.load(recipe).with_flags(data=str(data) if data else None, device=device)
    folder = output or Path("runs") / Path(recipe).stem
    with distributed.joined(loaded.training.device) as ranks:
        with resumable(folder / "resume.pt"):
            Trainer(loaded, folder, resume=resume, ranks=ranks).run()
        if ranks.first:
            log.info(f"wrote {folder / 'ema.pt'}; type: trm-deploy export {folder / 'ema.pt'}")
        distributed.leave(ranks)
