"""Each supervision step of a puzzle's attempts as it is computed, for any runtime that can show single steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from trm_deploy.errors import InputError
from trm_deploy.puzzles.base import Tokens
from trm_deploy.runtimes.base import Float32, Runtime, StepRuntime, fixed_in_words, host_values, initial_numpy_state
from trm_deploy.runtimes.solving.attempts import Attempts, Forms
from trm_deploy.runtimes.solving.scheduling import Finished, Request
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


class _Row(NamedTuple):
    """What a runtime says of one puzzle after a step."""

    answer: Tokens  # [L]
    halt_logit: float
    logits: Float32  # [L, V]


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
    runtime = session.runtime
    if not session.puzzle.has_rules:
        raise InputError(
            f"{session.path}: {session.puzzle.name} has no rules that verify an answer", hint="type: trm-deploy run"
        )
    if runtime.fixed_steps is not None:
        raise InputError(
            f"{session.path}: {fixed_in_words(runtime)} and shows the last one alone",
            hint="type: trm-deploy export CHECKPOINT --graph step",
        )
    forms = Forms(session.puzzle, session.schedule(options))
    attempts = Attempts(forms, question, puzzle_id)
    in_flight = options.in_flight is not False
    while (request := attempts.next()) is not None:
        number = request.key[1]
        rows = _by_steps(runtime, request, slots) if isinstance(runtime, StepRuntime) and in_flight else None
        for step, row in enumerate(_by_limits(runtime, request) if rows is None else rows, start=1):
            halted = bool(np.float32(row.halt_logit) > np.float32(request.limits.halt_threshold))
            answer = forms.invert(number, row.answer)
            yield TraceStep(
                attempt=number + 1,
                step=step,
                answer=session.puzzle.text(answer),
                tokens=answer,
                halt_logit=row.halt_logit,
                confidence=forms.invert_cells(number, _probability(row.answer, row.logits)),
                halted=halted,
                verified=not session.puzzle.answer_faults(question, answer),
            )
            if halted or step == request.limits.max_steps:
                attempts.record(Finished(request.key, row.answer, step, row.halt_logit, halted, milliseconds=0.0))
                break


def _by_steps(runtime: StepRuntime, request: Request, slots: int) -> Iterator[_Row]:
    """One step after the other, in the first of `slots` rows; the others start anew at every step, as idle slots do."""
    tokens = np.zeros((slots, len(request.tokens)), np.int32)
    tokens[0] = request.tokens
    ids = np.zeros(slots, np.int32)
    ids[0] = request.puzzle_id
    reset = np.ones(slots, bool)
    y: Any
    z: Any
    y, z = initial_numpy_state(runtime.spec, slots)
    while True:
        result = runtime.step(tokens, reset, y, z, ids)
        # Before the next step: results on a device are overwritten by it.
        yield _Row(
            np.array(host_values(result.answer)[0], np.int32),
            float(result.halt_logit[0]),
            np.array(host_values(result.logits)[0], np.float32),
        )
        y, z = result.y, result.z
        reset = np.arange(slots) > 0


def _by_limits(runtime: Runtime, request: Request) -> Iterator[_Row]:
    """Runs to 1, 2, ... steps: after each the puzzle is as it is at that step."""
    ids = np.array([request.puzzle_id], np.int32)
    for step in range(1, request.limits.max_steps + 1):
        solution = runtime.solve(
            request.tokens[None], ids, max_steps=step, halt_threshold=request.limits.halt_threshold
        )
        yield _Row(solution.answer[0], float(solution.halt_logit[0]), solution.logits[0])


def _probability(tokens: Tokens, logits: Float32) -> Float32:
    """The softmax probability of the tokens [L] by the logits [L, V], float32 [L]."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    odds = np.exp(shifted.astype(np.float32))
    return np.asarray(odds[np.arange(len(tokens)), tokens] / odds.sum(axis=1), np.float32)
