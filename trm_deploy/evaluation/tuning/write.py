"""A tuned threshold, made an artefact's default."""

from __future__ import annotations

from dataclasses import replace

from trm_deploy.artefacts import record
from trm_deploy.artefacts.kind import is_checkpoint
from trm_deploy.errors import InputError
from trm_deploy.runtimes.solving.session import SolvingSession


def check_writable(opened: SolvingSession) -> None:
    """Before the work: what would keep `write_threshold` from writing; errors as there."""
    if is_checkpoint(opened.path):
        from trm_deploy.checkpoints import native

        native.require_native_format(opened.path)
    elif record.read_matching(opened.path) is None:
        raise InputError(
            f"{opened.path}: has no build record {record.path_of(opened.path).name} to write a threshold into",
            hint="export it again, or tune without --write and give --halt-threshold to run",
        )


def write_threshold(opened: SolvingSession, threshold: float) -> str:
    """Make a threshold the artefact's default: in the build record beside it, or in a checkpoint's own spec.

    Returns:
        What was written, in words.

    Raises:
        InputError: there is no build record, or it is of other bytes; or the checkpoint is a published one.
    """
    check_writable(opened)
    path = opened.path
    if is_checkpoint(opened.path):
        from trm_deploy.checkpoints import native

        native.rewrite_spec(path, lambda spec: replace(spec, halting=replace(spec.halting, threshold=threshold)))
        return f"wrote the halting threshold {threshold:g} into the spec of {path}"
    built = record.read_matching(path)
    assert built is not None
    record.write(path, replace(built, halting_threshold=threshold))
    return f"wrote the halting threshold {threshold:g} into {record.path_of(path)}"
