"""The folder of a training run.

ema.pt         the checkpoint to export: averaged weights (see `trm_deploy.checkpoints.native`)
resume.pt      all that resuming needs beyond it: raw weights, optimiser, random states, the batch
metrics.jsonl  one line every `log_every` optimiser steps, and one for each evaluation
curves.png     the same as a picture
tensorboard/   the same for TensorBoard
recipe.toml    the recipe
identifiers.json   names of the puzzle identifiers, where the data have them
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from trm_deploy.checkpoints import archive
from trm_deploy.errors import CheckpointError, InputError
from trm_deploy.support.files import check_output_folder
from trm_deploy.train.recipe import Recipe

CHECKPOINT = "ema.pt"
STATE = "resume.pt"
METRICS = "metrics.jsonl"
CURVES = "curves.png"
EVENTS = "tensorboard"
RECIPE = "recipe.toml"
IDENTIFIERS = "identifiers.json"
# What is lost, or taken for another run's, where a run begins in a folder that holds it.
OF_A_RUN = (CHECKPOINT, STATE, METRICS, RECIPE)


def check_free(folder: Path, *, force: bool, start: Path | None = None) -> None:
    """Before the work: a new run begins in a folder without one.

    Args:
        folder: the run's.
        force: remove a run that is there, see `clear`.
        start: the checkpoint that the new run starts from, which must not be removed.

    Raises:
        InputError: the folder holds a run, finished or begun, and `force` is off; or it cannot be written.
    """
    if force and start is not None and start.resolve().parent == folder.resolve():
        raise InputError(
            f"{start}: is in the folder that --force empties, and would be lost", hint="name another --output"
        )
    found = [name for name in OF_A_RUN if (folder / name).exists()]
    holds, instead = "a run" if found else "", "add --resume to go on"
    if found and STATE not in found:
        holds, instead = f"a begun run without a checkpoint to resume ({', '.join(found)})", ""
    check_output_folder(folder, holds=holds, instead=instead, force=force, flag="--output")


def clear(folder: Path) -> None:
    """Remove the files of a run, where there is one, and no others."""
    if not any((folder / name).exists() for name in OF_A_RUN):
        return  # what else has such a name is not a run's: a dataset has an identifiers.json too
    for name in (*OF_A_RUN, CURVES, IDENTIFIERS):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / EVENTS, ignore_errors=True)


def read_state(folder: Path, recipe: Recipe) -> dict[str, Any]:
    """What `Trainer.save` wrote into resume.pt.

    Raises:
        CheckpointError: there is none, it cannot be read, or it is of another recipe.
    """
    path = folder / STATE
    if not path.exists():
        begun = any((folder / name).exists() for name in OF_A_RUN)
        hint = "type --force in place of --resume to begin anew" if begun else "leave out --resume"
        raise CheckpointError(f"{folder}: holds no run to resume (no {STATE})", hint=hint)
    state = archive.read_pickle(path)
    if not isinstance(state, dict) or "recipe" not in state:
        raise CheckpointError(
            f"{path}: is not the state of a run", hint="train into another --output, or begin anew with --force"
        )
    if state["recipe"] != recipe.text:
        raise CheckpointError(
            f"{folder}: is a run of another recipe", hint=f"type: trm-deploy train --output {folder} --resume"
        )
    return state


def is_finished(folder: Path, recipe: Recipe) -> bool:
    """Whether the folder holds the checkpoint of this recipe's last optimiser step."""
    try:
        document = archive.read_pickle(folder / CHECKPOINT, mapped=True)
        training = document["training"]
        done = training["steps"] >= recipe.training.steps or training.get("out_of_time", False)
        return bool(training["recipe"] == recipe.text and done)
    except (CheckpointError, KeyError, TypeError):
        return False
