"""Many puzzles through one runtime: halting decided by the host, and splitting into batches."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from trm_deploy.runtimes.base import Int32, Solution, StepRuntime, initial_numpy_state


class Solve(Protocol):
    """The shape of `Runtime.solve`."""

    def __call__(
        self, tokens: Int32, puzzle_ids: Int32 | None = None, *, max_steps: int, halt_threshold: float
    ) -> Solution:
        """See `Runtime.solve`."""


def solve_by_steps(
    runtime: StepRuntime, tokens: Int32, puzzle_ids: Int32 | None, *, max_steps: int, halt_threshold: float
) -> Solution:
    """`Runtime.solve` for an engine that has only the step form: the host loops until every sample has halted.

    The whole batch is computed at every step. The host reads the halting logits of each, and answers and logits only
    when a row halts: they are kept as they are at that step.
    """
    batch, length = tokens.shape
    answer = np.zeros((batch, length), np.int32)
    steps = np.zeros(batch, np.int32)
    halt_logit = np.zeros(batch, np.float32)
    logits = np.zeros((batch, length, len(runtime.spec.task.vocabulary)), np.float32)
    active = np.ones(batch, bool)
    y, z = initial_numpy_state(runtime.spec, batch)
    for step in range(1, max_steps + 1):
        result = runtime.step(tokens, np.full(batch, step == 1), y, z, puzzle_ids)
        y, z = result.y, result.z
        leaving = active if step == max_steps else active & (result.halt_logit > halt_threshold)
        if leaving.any():
            answer[leaving] = np.asarray(result.answer)[leaving]
            steps[leaving] = step
            halt_logit[leaving] = result.halt_logit[leaving]
            logits[leaving] = np.asarray(result.logits)[leaving]
            active = active & ~leaving
        if not active.any():
            break
    return Solution(answer, steps, halt_logit, logits)


def solve_in_batches(
    solve: Solve,
    tokens: Int32,
    puzzle_ids: Int32 | None = None,
    *,
    batch_size: int,
    max_steps: int,
    halt_threshold: float,
) -> Solution:
    """`solve` for any number of puzzles, `batch_size` at a time. int32 [N, L], int32 [N] or None."""
    parts = []
    for start in range(0, len(tokens), batch_size):
        rows = slice(start, start + batch_size)
        ids = None if puzzle_ids is None else puzzle_ids[rows]
        parts.append(solve(tokens[rows], ids, max_steps=max_steps, halt_threshold=halt_threshold))
    if len(parts) == 1:
        return parts[0]
    return Solution(
        np.concatenate([part.answer for part in parts]),
        np.concatenate([part.steps for part in parts]),
        np.concatenate([part.halt_logit for part in parts]),
        np.concatenate([part.logits for part in parts]),
    )
