"""One pass with halting off records the halting logit, and whether the answer is right, after each step: what every
threshold would give is counted from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trm_deploy.errors import InputError
from trm_deploy.evaluation.accuracy import right_answers
from trm_deploy.puzzles.base import Puzzle
from trm_deploy.runtimes.base import Int32, Runtime, StepRuntime, host_values, initial_numpy_state
from trm_deploy.support.progress import progress

BATCH = 32
# Number of thresholds that are tried, at the quantiles of the logits that decide.
CANDIDATES = 400

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Point:
    """What a threshold gives.

    Attributes:
        threshold: a sample halts when its halting logit exceeds it.
        solved: share of puzzles with a right answer, 0 to 1.
        mean_steps: supervision steps a puzzle.
        halted_wrong: share of puzzles that halted by themselves on a wrong answer.
    """

    threshold: float
    solved: float
    mean_steps: float
    halted_wrong: float


@dataclass(frozen=True)
class Pass:
    """What one pass with halting off recorded: N puzzles, K steps.

    Attributes:
        halt_logit: float32 [N, K], after each step.
        right: bool [N, K], whether the answer obeyed the rules then.
    """

    halt_logit: NDArray[np.float32]
    right: NDArray[np.bool_]

    def at(self, threshold: float) -> Point:
        """What the threshold would give."""
        over = self.halt_logit[:, :-1] > threshold  # after the last step a sample stops in any case
        last = self.halt_logit.shape[1] - 1
        step = np.where(over.any(1), over.argmax(1), last) if last else np.zeros(len(over), np.intp)
        rows = np.arange(len(step))
        right = self.right[rows, step]
        halted = self.halt_logit[rows, step] > threshold
        return Point(
            threshold=threshold,
            solved=float(right.mean()),
            mean_steps=float((step + 1).mean()),
            halted_wrong=float((halted & ~right).mean()),
        )

    def candidates(self) -> list[float]:
        """Finite thresholds, from one that every sample exceeds at once to one that none exceeds."""
        # A logit below an earlier one decides nothing: whatever it exceeds, the earlier one has exceeded.
        deciding = np.unique(np.maximum.accumulate(self.halt_logit, axis=1))
        deciding = deciding[np.isfinite(deciding)].astype(np.float64)
        if not len(deciding):
            raise InputError("no halting logit is a finite number", hint="check the engine: trm-deploy parity")
        between = np.concatenate([[deciding[0] - 1], (deciding[1:] + deciding[:-1]) / 2, [deciding[-1] + 1]])
        places = np.unique(np.linspace(0, len(between) - 1, CANDIDATES).round().astype(int))
        # float32, as the graphs take it; a short decimal, so that what is printed is what is meant.
        return sorted({float(f"{value:.4g}") for value in between[places]})


def record_pass(runtime: Runtime, puzzle: Puzzle, tokens: Int32, max_steps: int) -> Pass:
    """Run questions int32 [N, L] for `max_steps` steps with halting off.

    A step form is run once, step by step. A loop shows its last step alone: it is run for 1, 2, ... steps, which is
    (max_steps + 1) / 2 times the work.
    """
    steps = record_step_by_step if isinstance(runtime, StepRuntime) else record_by_rerunning
    logits, right = [], []
    with progress("tuning", len(tokens) * max_steps, unit="steps") as advance:
        for rows in _batches(tokens, runtime.largest_batch):
            recorded = list(steps(runtime, rows, max_steps, advance))
            logits.append(np.stack([halt_logit for _, halt_logit in recorded], axis=1))
            right.append(np.stack([right_answers(puzzle, rows, answer) for answer, _ in recorded], axis=1))
    return Pass(np.concatenate(logits), np.concatenate(right))


def costs_more(runtime: Runtime, max_steps: int) -> str:
    """The warning for a loop engine; empty for a step form."""
    if isinstance(runtime, StepRuntime):
        return ""
    return (
        f"a loop graph shows its last step alone: it is run for 1, 2, ... {max_steps} steps,"
        f" {(max_steps + 1) / 2:g} times the work of a step graph (trm-deploy export CHECKPOINT --graph step)"
    )


def _batches(tokens: Int32, largest: int | None) -> Iterator[Int32]:
    size = min(BATCH, largest or BATCH)
    for start in range(0, len(tokens), size):
        yield tokens[start : start + size]


Recorded = Iterator[tuple[Any, NDArray[np.float32]]]


def record_step_by_step(runtime: Any, tokens: Int32, max_steps: int, advance: Advance) -> Recorded:
    """Answers int32 [B, L] and halting logits float32 [B] after each step of a step form."""
    y, z = initial_numpy_state(runtime.spec, len(tokens))
    for step in range(1, max_steps + 1):
        result = runtime.step(tokens, np.full(len(tokens), step == 1), y, z)
        y, z = result.y, result.z
        advance(len(tokens))
        yield host_values(result.answer), np.array(result.halt_logit, np.float32)


def record_by_rerunning(runtime: Any, tokens: Int32, max_steps: int, advance: Advance) -> Recorded:
    """The same of a loop form, which is run anew for each number of steps."""
    for step in range(1, max_steps + 1):
        solution = runtime.solve(tokens, max_steps=step, halt_threshold=math.inf)
        advance(len(tokens))
        yield solution.answer, solution.halt_logit
