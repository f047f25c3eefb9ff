"""Begins or resumes a training run: what `trm-deploy train` does."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trm_deploy.errors import CheckpointError, InputError, Interrupted
from trm_deploy.train import distributed, run_folder, runlog
from trm_deploy.train import recipe as recipes
from trm_deploy.train.recipe import Recipe
from trm_deploy.train.trainer import Trainer

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """A run to begin or to resume.

    Attributes:
        recipe: a shipped recipe's name or a TOML file; None with `resume`: the recipe in the folder.
        output: the run's folder; None: runs/ and the recipe's name.
        resume: go on from the folder's last checkpoint.
        force: begin anew in a folder that holds a run.
        start: a checkpoint whose weights a new run starts from.
        data: a dataset's folder, in place of the recipe's.
        device: in place of the recipe's.
    """

    recipe: str | None = None
    output: Path | None = None
    resume: bool = False
    force: bool = False
    start: Path | None = None
    data: Path | None = None
    device: Literal["cpu", "cuda"] | None = None

    def __post_init__(self) -> None:
        for flag, given in (("--force", self.force), ("--from", self.start)):
            if self.resume and given:
                raise InputError(
                    f"{flag} begins a run, --resume goes on with one", hint=f"leave out {flag} or --resume"
                )


def launch(request: RunRequest) -> None:
    """Train to the end; under torchrun, together with the other processes.

    Raises:
        InputError: no recipe is named, or the folder holds a run; see also `Trainer`.
        Interrupted: Ctrl-C, with how to go on.
    """
    recipe, folder = _located(request)
    recipe = recipe.with_flags(data=str(request.data) if request.data else None, device=request.device)
    with distributed.joined(recipe.training.device) as ranks:
        if request.resume and run_folder.is_finished(folder, recipe):
            if ranks.first:
                log.info("%s: is finished already: %s", folder, runlog.summary(folder / run_folder.METRICS))
        else:
            try:
                Trainer(
                    recipe, folder, resume=request.resume, force=request.force, start=request.start, ranks=ranks
                ).run()
            except KeyboardInterrupt as pressed:
                raise Interrupted(hint=_how_to_go_on(folder)) from pressed
            if ranks.first:
                checkpoint = folder / run_folder.CHECKPOINT
                log.info("wrote %s; type: trm-deploy export %s", checkpoint, checkpoint)
        distributed.leave(ranks)


def _located(request: RunRequest) -> tuple[Recipe, Path]:
    """The recipe, and the run's folder."""
    if request.recipe is not None:
        return recipes.load(request.recipe), request.output or Path("runs") / Path(request.recipe).stem
    if not request.resume or request.output is None:
        raise InputError(
            f"no recipe is named, expected one of {', '.join(recipes.shipped())} or a TOML file",
            hint="or resume a run: trm-deploy train --output FOLDER --resume" if request.resume else None,
        )
    kept = request.output / run_folder.RECIPE
    if not kept.is_file():
        raise CheckpointError(f"{request.output}: holds no run to resume (no {kept.name})", hint="leave out --resume")
    return recipes.load(str(kept)), request.output


def _how_to_go_on(folder: Path) -> str:
    if (folder / run_folder.STATE).exists():
        return "add --resume to go on"
    if (folder / run_folder.RECIPE).exists():
        return "there is no checkpoint yet; add --force to begin anew"
    return "there is no checkpoint yet; the same command begins anew"
