"""From a file's puzzles to a schedule of attempts."""

from __future__ import annotations

import logging

from trm_deploy import puzzles
from trm_deploy.errors import InputError
from trm_deploy.evaluation.tuning.schedule_report import TunedSchedule
from trm_deploy.evaluation.tuning.schedules import ATTEMPTS, Family, families, outcome, recommend, record
from trm_deploy.runtimes.base import StepRuntime
from trm_deploy.runtimes.solving.session import SolveOptions, SolvingSession
from trm_deploy.support.progress import progress

log = logging.getLogger(__name__)

# Numbers of attempts that are compared.
COUNTS = (1, 2, 4, 8, 16, 32, 64)
# Below this number of puzzles, one of them is more than what tells two schedules apart.
FEW_PUZZLES = 400


def tune_schedule(
    opened: SolvingSession,
    file: str,
    *,
    mean_steps: float | None = None,
    limit: int | None = None,
    max_steps: int | None = None,
    input_format: str | None = None,
    column: str | None = None,
) -> TunedSchedule:
    """Record a pass over several forms of a file's puzzles, and choose a schedule.

    Args:
        opened: the model, of the step form.
        file: with puzzles.
        mean_steps: supervision steps a puzzle that may be spent, on average; None: any number.
        limit: use the first N puzzles; all where None.
        max_steps: maximum number of supervision steps an attempt; the model's own where None.
        input_format, column: of the file, see `trm_deploy.puzzles.questions`.

    Raises:
        InputError: the task has no rules, the graph is not of the step form, or a puzzle cannot be read.
    """
    puzzle, runtime = opened.puzzle, opened.runtime
    if not puzzle.has_rules:
        raise InputError(f"{opened.path}: its task, {puzzle.name}, has no rules that tell whether to try again")
    if not isinstance(runtime, StepRuntime):
        raise InputError(
            f"{opened.path}: --schedule needs single supervision steps, this is the {runtime.graph} form",
            hint="type: trm-deploy export CHECKPOINT --graph step -o step.onnx, and tune that",
        )
    tokens = puzzles.read_tokens(file, puzzle, limit, input_format=input_format, column=column)
    steps = max_steps or opened.own_steps
    candidates = families(steps)
    schedule = opened.schedule(SolveOptions())
    in_force = Family("in force", tuple(schedule.limits(number).max_steps for number in range(ATTEMPTS)))
    notes = []
    if len(tokens) < FEW_PUZZLES:
        notes.append(
            f"{len(tokens)} puzzles are few: each is {100 / len(tokens):.3g} points of the verified share; take"
            f" {FEW_PUZZLES} or more, of the kind that will be solved"
        )
        log.warning("%s", notes[-1])
    slots = opened.batch_size(SolveOptions())
    with progress("attempts", len(tokens), unit="puzzles") as advance:
        recorded = record(
            runtime,
            puzzle,
            tokens,
            [*candidates, in_force],
            halt_threshold=schedule.halt_threshold,
            slots=slots,
            advance=advance,
        )
    outcomes = [outcome(recorded, family, count) for family in candidates for count in COUNTS]
    return TunedSchedule(
        engine=str(opened.path),
        description=runtime.description,
        puzzles=len(tokens),
        halt_threshold=schedule.halt_threshold,
        mean_steps=mean_steps,
        now=outcome(recorded, in_force, min(schedule.attempts, ATTEMPTS)),
        recommended=recommend(outcomes, mean_steps),
        outcomes=outcomes,
        notes=notes,
    )
