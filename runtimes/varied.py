"""A runtime that asks each question of a puzzle of its own, for comparisons: what all ask of puzzle 0 shows nothing of
the other rows of a puzzle-embedding table.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trm_deploy.runtimes.base import Int32, Runtime, Solution, StepResult, StepRuntime


def puzzle_ids_of(tokens: Int32, puzzles: int) -> Int32:
    """A puzzle id int32 [B] for each question int32 [B, L]: by its tokens alone, whatever else is in the batch."""
    factors = np.random.default_rng(0).integers(1 << 31, size=tokens.shape[1], dtype=np.int64)
    return np.asarray((tokens * factors).sum(1) % puzzles, np.int32)


class VariedRuntime:
    """Another runtime, asked with `puzzle_ids_of` where no ids are given."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.spec = runtime.spec
        self.precision = runtime.precision
        self.arithmetic = runtime.arithmetic
        self.description = runtime.description
        self.fixed_steps = runtime.fixed_steps
        self.largest_batch = runtime.largest_batch

    def _ids(self, tokens: Int32, puzzle_ids: Int32 | None) -> Int32:
        return puzzle_ids_of(tokens, self.spec.task.puzzle_identifiers) if puzzle_ids is None else puzzle_ids

    def solve(
        self, tokens: Int32, puzzle_ids: Int32 | None = None, *, max_steps: int, halt_threshold: float
    ) -> Solution:
        """See `Runtime.solve`."""
        ids = self._ids(tokens, puzzle_ids)
        return self._runtime.solve(tokens, ids, max_steps=max_steps, halt_threshold=halt_threshold)


class VariedStepRuntime(VariedRuntime):
    """The same with single steps."""

    _runtime: StepRuntime

    def step(
        self, tokens: Int32, reset: NDArray[np.bool_], y: Any, z: Any, puzzle_ids: Int32 | None = None
    ) -> StepResult:
        """See `StepRuntime.step`."""
        return self._runtime.step(tokens, reset, y, z, self._ids(tokens, puzzle_ids))


def varied(runtime: Runtime) -> Runtime:
    """The runtime, asked for different puzzles where its model tells any apart."""
    return varied_steps(runtime) if isinstance(runtime, StepRuntime) else _varied(runtime)


def varied_steps(runtime: StepRuntime) -> StepRuntime:
    """`varied` of a runtime that can do single steps."""
    return VariedStepRuntime(runtime) if runtime.spec.task.puzzle_identifiers > 1 else runtime


def _varied(runtime: Runtime) -> Runtime:
    return VariedRuntime(runtime) if runtime.spec.task.puzzle_identifiers > 1 else runtime
