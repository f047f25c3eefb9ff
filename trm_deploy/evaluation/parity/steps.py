"""Supervision steps side by side: teacher-forced, from the reference's state, and each runtime from its own.

B samples, S positions, D hidden size, L tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trm_deploy.runtimes.base import Float32, Int32, StepResult, StepRuntime, host_values, initial_numpy_state

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Difference:
    """What one step of a runtime differs by, for each puzzle.

    Attributes:
        logits: [B], the largest absolute difference of a logit (answer or halting).
        excess: [B], the same of logits and state, less rtol times what was expected.
        where: the place of the largest excess.
        cosine_y, cosine_z: [B], of the states; None where the runtime does not show them.
    """

    logits: Floats
    excess: Floats
    where: str
    cosine_y: Floats | None = None
    cosine_z: Floats | None = None

    @property
    def largest(self) -> float:
        """The largest difference of a logit over all puzzles."""
        return largest_of(self.logits)

    @property
    def median(self) -> float:
        """The median over puzzles of each one's largest difference of a logit."""
        return float(np.median(self.logits))


@dataclass(frozen=True)
class Outputs:
    """What a step or a whole solution gives, except for the state."""

    logits: Float32  # [B, L, V]
    halt_logit: Float32  # [B]


@dataclass
class Trajectory:
    """One runtime beside the reference.

    Attributes:
        teacher_forced: the difference after each step that starts from the reference's state; after the first alone
            where no engine needs more.
        free: the difference after each step of a free run with halting off.
    """

    teacher_forced: list[Difference] = field(default_factory=list)
    free: list[Difference] = field(default_factory=list)


def run_side_by_side(
    reference: StepRuntime,
    controls: Sequence[StepRuntime],
    engines: Sequence[StepRuntime],
    tokens: Int32,
    puzzle_ids: Int32,
    *,
    steps: int,
    rtol: float,
    on_step: Callable[[int, StepResult], None] = lambda step, expected: None,
) -> tuple[list[Outputs], list[Trajectory], list[Trajectory]]:
    """Run everything that can do single steps through the same puzzles, halting off.

    Args:
        reference: what the others are compared with.
        controls: the ulp-perturbed controls. Without engines, only their first step is teacher-forced.
        engines: those with a step form.
        tokens: int32 [B, L].
        puzzle_ids: int32 [B].
        steps: number of supervision steps.
        rtol: of the engines, see `Difference.excess`.
        on_step: is given every step, from 1, with what the reference computed.

    Returns:
        The reference's outputs after each step; the controls' trajectories; the engines'.
    """
    reference_outputs = []
    runtimes = (*controls, *engines)
    trajectories = [Trajectory() for _ in runtimes]
    # y and z of each trajectory's own free run, by its place.
    own_state: dict[int, tuple[Any, Any]] = {}
    y, z = initial_numpy_state(reference.spec, len(tokens))
    for step in range(1, steps + 1):
        reset = np.full(len(tokens), step == 1)
        expected = reference.step(tokens, reset, y, z, puzzle_ids)
        on_step(step, expected)
        for place, (runtime, entry) in enumerate(zip(runtimes, trajectories)):
            tolerance = 0.0 if place < len(controls) else rtol
            result = runtime.step(tokens, reset, *own_state.get(place, (y, z)), puzzle_ids)
            entry.free.append(difference_of_outputs(expected, result))
            if step == 1:
                entry.teacher_forced.append(difference(expected, result, tolerance))
            # Read at once: an engine's next step, from another state, may overwrite what is on its device.
            own_state[place] = host_values(result.y), host_values(result.z)
            if step > 1 and engines:
                forced = runtime.step(tokens, reset, y, z, puzzle_ids)
                entry.teacher_forced.append(difference(expected, forced, tolerance))
        reference_outputs.append(Outputs(host_values(expected.logits), host_values(expected.halt_logit)))
        y, z = host_values(expected.y), host_values(expected.z)
    return reference_outputs, trajectories[: len(controls)], trajectories[len(controls) :]


def difference(expected: StepResult, actual: StepResult, rtol: float = 0.0) -> Difference:
    """The difference of logits and state."""
    outputs = difference_of_outputs(expected, actual, rtol)
    excess, where = outputs.excess, outputs.where
    cosines = []
    # A state that is off would show in the logits only one step later, and after the last step never.
    for name, ours, theirs in (
        ("y", host_values(expected.y), host_values(actual.y)),
        ("z", host_values(expected.z), host_values(actual.z)),
    ):
        state = _excess(ours, theirs, rtol).reshape(len(ours), -1).max(1)
        if not largest_of(state) <= largest_of(excess):
            where = f"puzzle {argmax(state) + 1}, state {name}"
        excess = np.maximum(excess, state)
        cosines.append(_cosine(ours, theirs))
    return Difference(outputs.logits, excess, where, *cosines)


def difference_of_outputs(expected: Any, actual: Any, rtol: float = 0.0) -> Difference:
    """The difference of logits alone, between anything that has `logits` [B, L, V] and `halt_logit` [B]."""
    ours, theirs = host_values(expected.logits), host_values(actual.logits)
    our_halting, their_halting = host_values(expected.halt_logit), host_values(actual.halt_logit)
    logits, halting = _excess(ours, theirs, rtol), _excess(our_halting, their_halting, rtol)
    excess = np.maximum(logits.max((1, 2)), halting)
    puzzle = argmax(excess)
    if halting[puzzle] >= logits[puzzle].max():
        where = f"puzzle {puzzle + 1}, halting logit"
    else:
        cell, token = np.unravel_index(argmax(logits[puzzle]), logits[puzzle].shape)
        where = f"puzzle {puzzle + 1}, cell {cell + 1}, token {token}"
    plain = np.maximum(_excess(ours, theirs, 0.0).max((1, 2)), _excess(our_halting, their_halting, 0.0))
    return Difference(plain, excess, where)


def argmax(values: Floats) -> int:
    """Place of the largest value; NaN counts as infinite."""
    return int(np.argmax(np.nan_to_num(values, nan=np.inf)))


def largest_of(values: Floats) -> float:
    """The largest value; infinite where any is NaN, so that no comparison lets it pass."""
    return float(np.nan_to_num(values, nan=np.inf).max())


def _excess(expected: Floats, actual: Floats, rtol: float) -> Floats:
    found: Floats = np.abs(expected - actual)
    return found - rtol * np.abs(expected) if rtol else found


def _cosine(expected: Floats, actual: Floats) -> Floats:
    """The cosine of [B, S, D] and [B, S, D], each puzzle as one vector; float64 [B], NaN where a value is infinite."""
    ours, theirs = (state.reshape(len(state), -1).astype(np.float64) for state in (expected, actual))
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine: Floats = (ours * theirs).sum(1) / lengths
    return np.minimum(cosine, 1.0)  # rounding alone goes beyond
