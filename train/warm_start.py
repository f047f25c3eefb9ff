"""A new run that starts from the weights of a checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from trm_deploy import checkpoints
from trm_deploy.artefacts import identifiers, shipped
from trm_deploy.checkpoints import Checkpoint
from trm_deploy.errors import CheckpointError, shown
from trm_deploy.spec import ModelSpec
from trm_deploy.train.run_folder import IDENTIFIERS

# What decides how often the network is applied and when a sample stops: the same weights serve any.
FREE = {"recursion.deep", "halting.threshold", "halting.max_steps"}
# The size of the puzzles, for weights that do not depend on it: attention without trained positions has none that do.
SIZE = {"task.name", "task.sequence_length"}


def read_start(path: Path, spec: ModelSpec, names: Path | None) -> Checkpoint:
    """The checkpoint to start from.

    Args:
        path: the checkpoint.
        spec: of the model that is to be trained.
        names: the identifiers.json of the data, None where puzzles are not told apart.

    Raises:
        CheckpointError: it cannot be read, or it is of another architecture or task.
    """
    path = shipped.local(path, "checkpoint")
    found = checkpoints.load(path)
    if differing := list(_differences(found.spec, spec)):
        raise CheckpointError(
            f"{path}: is a model other than the recipe's: {'; '.join(differing)}",
            hint="change the recipe, or leave out --from",
        )
    theirs = path.with_name(IDENTIFIERS)
    if names is not None and theirs.is_file() and identifiers.read_file(theirs) != identifiers.read_file(names):
        raise CheckpointError(
            f"{path}: its puzzle embeddings have other names ({theirs}) than the data's ({names})",
            hint="name the data that it was trained on with --data, or leave out --from",
        )
    return found


def _differences(theirs: ModelSpec, ours: ModelSpec) -> Iterator[str]:
    any_size = ours.architecture.mixer == "attention" and ours.architecture.positions != "learned"
    free = FREE | SIZE if any_size and theirs.task.vocabulary == ours.task.vocabulary else FREE
    for part, wanted in dataclasses.asdict(ours).items():
        came = dataclasses.asdict(getattr(theirs, part))
        for key, value in wanted.items():
            if f"{part}.{key}" not in free and came[key] != value:
                yield f"{part}.{key} is {shown(came[key])}, the recipe has {shown(value)}"
