"""Many puzzles through one runtime: halting decided by the host, and splitting into batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trm_deploy.runtimes.base import Int32, Runtime, Solution, StepRuntime, initial_numpy_state


def solve_by_steps(
    runtime: StepRuntime, tokens: Int32, puzzle_ids: Int32 | None, *, max_steps: int, halt_threshold: float
) -> Solution:
    """`Runtime.solve` for an engine that has only the step form: the host loops until every sample has halted.

    The whole batch is computed at every step; rows that have halted are frozen in what is kept of them.
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
        answer[active] = result.answer[active]
        steps[active] = step
        halt_logit[active] = result.halt_logit[active]
        logits[active] = result.logits[active]
        active &= ~(result.halt_logit > halt_threshold)
        if not active.any():
            break
    return Solution(answer, steps, halt_logit, logits)


def solve_in_batches(
    runtime: Runtime,
    tokens: Int32,
    puzzle_ids: Int32 | None = None,
    *,
    batch_size: int,
    max_steps: int,
    halt_threshold: float,
) -> Solution:
    """`Runtime.solve` for any number of puzzles, `batch_size` at a time. int32 [N, L], int32 [N] or None."""
    parts = []
    for start in range(0, len(tokens), batch_size):
        rows = slice(start, start + batch_size)
        ids = None if puzzle_ids is None else puzzle_ids[rows]
        parts.append(runtime.solve(tokens[rows], ids, max_steps=max_steps, halt_threshold=halt_threshold))
    return concatenate(parts)


def concatenate(parts: Sequence[Solution]) -> Solution:
    """Batches one behind the other."""
    return Solution(
        np.concatenate([part.answer for part in parts]),
        np.concatenate([part.steps for part in parts]),
        np.concatenate([part.halt_logit for part in parts]),
        np.concatenate([part.logits for part in parts]),
    )
