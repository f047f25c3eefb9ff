"""A tuned threshold or schedule, made an artefact's default."""

from __future__ import annotations

from dataclasses import replace

from trm_deploy.artefacts import record
from trm_deploy.artefacts.kind import is_checkpoint
from trm_deploy.artefacts.record import BuildRecord, RecordedSchedule
from trm_deploy.errors import InputError
from trm_deploy.runtimes.solving.session import SolvingSession


def check_writable(opened: SolvingSession) -> None:
    """Before the work: what would keep `write_threshold` from writing; errors as there."""
    if is_checkpoint(opened.path):
        from trm_deploy.checkpoints import rewriting

        rewriting.require_native_format(opened.path)
    else:
        _record_of(opened)


def check_schedule_writable(opened: SolvingSession) -> None:
    """Before the work: what would keep `write_schedule` from writing; errors as there."""
    if is_checkpoint(opened.path):
        raise InputError(
            f"{opened.path}: is a checkpoint, which holds no schedule",
            hint="export it, and tune what was exported: its build record holds one",
        )
    _record_of(opened)


def _record_of(opened: SolvingSession) -> BuildRecord:
    built = record.read_matching(opened.path)
    if built is None:
        raise InputError(
            f"{opened.path}: has no build record {record.path_of(opened.path).name} to write into",
            hint="export it again, or tune without --write and give run the flags",
        )
    return built


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
        from trm_deploy.checkpoints import rewriting

        rewriting.rewrite_spec(path, lambda spec: replace(spec, halting=replace(spec.halting, threshold=threshold)))
        return f"wrote the halting threshold {threshold:g} into the spec of {path}"
    record.write(path, replace(_record_of(opened), halting_threshold=threshold))
    return f"wrote the halting threshold {threshold:g} into {record.path_of(path)}"


def write_schedule(opened: SolvingSession, schedule: RecordedSchedule) -> str:
    """Make a schedule the artefact's default, in the build record beside it.

    Returns:
        What was written, in words.

    Raises:
        InputError: there is no build record, or it is of other bytes; or it is a checkpoint.
    """
    check_schedule_writable(opened)
    record.write(opened.path, replace(_record_of(opened), schedule=schedule))
    steps = ",".join(map(str, schedule.attempt_steps))
    return f"wrote the schedule of {schedule.attempts} attempts of {steps} steps into {record.path_of(opened.path)}"
