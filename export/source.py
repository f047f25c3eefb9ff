"""The checkpoint that an export starts from, and what is beside it."""

from __future__ import annotations

import logging
from pathlib import Path

from trm_deploy import checkpoints
from trm_deploy.artefacts import identifiers
from trm_deploy.checkpoints import Checkpoint

log = logging.getLogger(__name__)


def load_source(source: Path, overrides: tuple[str, ...]) -> Checkpoint:
    """The checkpoint; what its overrides contradict is said, in one line.

    Raises:
        CheckpointError, InputError: see `trm_deploy.checkpoints.load`.
    """
    checkpoint = checkpoints.load(source, overrides)
    if checkpoint.contradictions:
        log.warning(
            "%s is exported with other settings than those beside it: --set %s",
            checkpoint.source,
            "; --set ".join(checkpoint.contradictions),
        )
    return checkpoint


def identifiers_of(checkpoint: Checkpoint, source: Path, named: Path | None) -> tuple[str, ...] | None:
    """The names of the puzzle ids; None where there are none, or nothing to name: a model without a puzzle table.

    Args:
        checkpoint: of the source.
        source: the checkpoint's path.
        named: the file that the user names; that beside the checkpoint where None, if any.

    Raises:
        ArtefactError: the file cannot be read, or does not fit the model.
    """
    file = checkpoints.locate(source)
    beside = [path for path in (identifiers.path_of(file), file.with_name("identifiers.json")) if path.is_file()]
    path = named or (beside[0] if beside and checkpoint.spec.architecture.puzzle_embedding_size else None)
    if path is None:
        return None
    names = identifiers.read_file(path)
    identifiers.check_count(names, checkpoint.spec.task.puzzle_identifiers, path)
    return names
