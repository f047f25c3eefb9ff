"""Each supervision step of a puzzle's attempts as it is computed, for any runtime that can show single steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from trm_deploy.errors import InputError
from trm_deploy.puzzles.base import Tokens
from trm_deploy.runtimes.base import Float32, Runtime, StepRuntime, fixed_in_words
from trm_deploy.runtimes.solving.attempts import Attempts, Forms
from trm_deploy.runtimes.solving.scheduling import Finished, InFlight, Request, WatchedStep
from trm_deploy.runtimes.solving.session import SolveOptions, SolvingSession


@dataclass(frozen=True, eq=False)
class TraceStep:
    """A puzzle as it is after one supervision step, in the puzzle's own form.

    Attributes:
        attempt: number of the attempt, from 1; attempts after the first solve symmetric forms.
        step: supervision step of that attempt, from 1.
        answer: the answer in its one-line form.
        tokens: the same as token ids, int32 [L].
        halt_logit: halting logit.
        confidence: softmax probability of each cell's token, float32 [L].
        halted: whether the model halts here.
        verified: whether the answer obeys the rules and keeps the givens.
    """

    attempt: int
    step: int
    answer: str
    tokens: Tokens
    halt_logit: float
    confidence: Float32
    halted: bool
    verified: bool


def trace(
    session: SolvingSession, question: Tokens, options: SolveOptions, *, slots: int = 1, puzzle_id: int = 0
) -> Iterator[TraceStep]:
    """Solve one puzzle, and show each supervision step of each attempt as it is computed.

    A step engine computes each step once. A loop engine is run with `max_steps` = 1, 2, and so on, so that step k costs
    k steps.

    Args:
        session: the model.
        question: int32 [L].
        options: how to solve it.
        slots: rows of a step engine's batch; as many as another call has, for the same bits.
        puzzle_id: row of the model's embedding table.

    Raises:
        InputError: the task has no rules, or the engine is unrolled and shows its last step alone.
    """
    check_shows_steps(session)
    runtime = session.runtime
    forms = Forms(session.puzzle, session.schedule(options))
    attempts = Attempts(forms, question, puzzle_id)
    in_flight = options.in_flight is not False
    while (request := attempts.next()) is not None:
        if isinstance(runtime, StepRuntime) and in_flight:
            steps = _by_steps(runtime, request, slots)
        else:
            steps = _by_limits(runtime, request)
        for step in steps:
            shown = trace_step(forms, question, request, step)
            yield shown
            if shown.halted or step.step == request.limits.max_steps:
                ended = Finished(request.key, step.answer, step.step, step.halt_logit, shown.halted, milliseconds=0.0)
                attempts.record(ended)
                break


def check_shows_steps(session: SolvingSession) -> None:
    """Raises `InputError` where a model cannot be traced: see `trace`."""
    runtime = session.runtime
    if not session.puzzle.has_rules:
        raise InputError(
            f"{session.path}: {session.puzzle.name} has no rules that verify an answer",
            hint="its answers vote: trm-deploy run FILES",
        )
    if runtime.fixed_steps is not None:
        raise InputError(
            f"{session.path}: {fixed_in_words(runtime)} and shows the last one alone",
            hint="type: trm-deploy export CHECKPOINT --graph step",
        )


def trace_step(forms: Forms, question: Tokens, request: Request, step: WatchedStep) -> TraceStep:
    """A step of one of the `Attempts` at a question [L], in the puzzle's own form."""
    number = request.key[1]
    answer = forms.invert(number, step.answer)
    return TraceStep(
        attempt=number + 1,
        step=step.step,
        answer=forms.puzzle.text(answer),
        tokens=answer,
        halt_logit=step.halt_logit,
        confidence=forms.invert_cells(number, _probability(step.answer, step.logits)),
        halted=bool(np.float32(step.halt_logit) > np.float32(request.limits.halt_threshold)),
        verified=not forms.puzzle.answer_faults(question, answer),
    )


def _by_steps(runtime: StepRuntime, request: Request, slots: int) -> Iterator[WatchedStep]:
    """One step after the other, in one of `slots` slots."""
    computing = InFlight(runtime, slots)
    seen: list[WatchedStep] = []
    computing.admit(replace(request, watch=seen.append))
    while computing.busy:
        computing.advance()
        yield seen.pop()


def _by_limits(runtime: Runtime, request: Request) -> Iterator[WatchedStep]:
    """Runs to 1, 2, ... steps: after each the puzzle is as it is at that step."""
    ids = np.array([request.puzzle_id], np.int32)
    for step in range(1, request.limits.max_steps + 1):
        solution = runtime.solve(
            request.tokens[None], ids, max_steps=step, halt_threshold=request.limits.halt_threshold
        )
        yield WatchedStep(step, solution.answer[0], float(solution.halt_logit[0]), solution.logits[0])


def _probability(tokens: Tokens, logits: Float32) -> Float32:
    """The softmax probability of the tokens [L] by the logits [L, V], float32 [L]."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    odds = np.exp(shifted.astype(np.float32))
    return np.asarray(odds[np.arange(len(tokens)), tokens] / odds.sum(axis=1), np.float32)
