"""Supervision steps side by side: teacher-forced, from the reference's state, and each runtime from its own.

B samples, S positions, D hidden size, L tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trm_deploy.runtimes.base import Float32, Int32, StepResult, StepRuntime, host_values, initial_numpy_state
from trm_deploy.runtimes.solving.scheduling import Finished, Limits

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

    def to_answer(self) -> StepAnswer:
        """What a free run would answer if it ended here."""
        return StepAnswer(self.logits.argmax(-1).astype(np.int32), self.halt_logit)


@dataclass(frozen=True)
class StepAnswer:
    """What a free run would answer if it ended here: int32 [B, L] and the halting logit [B]."""

    answer: Int32
    halt_logit: Float32

    def every(self, step: int, start: int) -> StepAnswer:
        """Every `step`-th puzzle from the one at `start` on."""
        return StepAnswer(self.answer[start::step], self.halt_logit[start::step])


@dataclass
class Trajectory:
    """One runtime beside the reference.

    Attributes:
        teacher_forced: the difference after each step that starts from the reference's state; after the first alone
            where no engine needs more.
        free: the difference after each step of a free run with halting off.
        answers: after each step of that run.
    """

    teacher_forced: list[Difference] = field(default_factory=list)
    free: list[Difference] = field(default_factory=list)
    answers: list[StepAnswer] = field(default_factory=list)


@dataclass
class KnownSteps:
    """What the reference and the controls compute, for comparisons of further engines on the same puzzles.

    Attributes:
        reference: after each step; with the states of 16 puzzles, so tens of MB for a small model.
        controls: their trajectories.
    """

    reference: list[StepResult] = field(default_factory=list)
    controls: list[Trajectory] = field(default_factory=list)


def run_side_by_side(
    reference: StepRuntime,
    controls: Sequence[StepRuntime],
    engines: Sequence[StepRuntime],
    tokens: Int32,
    puzzle_ids: Int32,
    *,
    steps: int,
    rtol: float,
    block: int | None = None,
    known: KnownSteps | None = None,
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
        block: puzzles at a time in the reference and the controls; all where None. An engine gets all of them.
        known: filled, or, where it is filled already, taken instead of computing anew.
        on_step: is given every step, from 1, with what the reference computed.

    Returns:
        The reference's outputs after each step; the controls' trajectories; the engines'.
    """
    known_before = bool(known and known.reference)
    if known_before:
        controls = ()
    reference_outputs = []
    runtimes = (*controls, *engines)
    trajectories = [Trajectory() for _ in runtimes]
    # y and z of each trajectory's own free run, by its place.
    own_state: dict[int, tuple[Any, Any]] = {}
    y, z = initial_numpy_state(reference.spec, len(tokens))
    for step in range(1, steps + 1):
        reset = np.full(len(tokens), step == 1)
        if known is not None and known_before:
            expected = known.reference[step - 1]
        else:
            expected = step_in_blocks(reference, tokens, reset, y, z, puzzle_ids, block)
            if known is not None:
                known.reference.append(expected)
        on_step(step, expected)
        for place, (runtime, entry) in enumerate(zip(runtimes, trajectories)):
            tolerance, rows = (0.0, block) if place < len(controls) else (rtol, None)
            result = step_in_blocks(runtime, tokens, reset, *own_state.get(place, (y, z)), puzzle_ids, rows)
            entry.free.append(difference_of_outputs(expected, result))
            entry.answers.append(StepAnswer(host_values(result.answer), host_values(result.halt_logit)))
            if step == 1:
                entry.teacher_forced.append(difference(expected, result, tolerance))
            # Read at once: an engine's next step, from another state, may overwrite what is on its device.
            own_state[place] = host_values(result.y), host_values(result.z)
            if step > 1 and (engines or known is not None):
                forced = step_in_blocks(runtime, tokens, reset, y, z, puzzle_ids, rows)
                entry.teacher_forced.append(difference(expected, forced, tolerance))
        reference_outputs.append(Outputs(host_values(expected.logits), host_values(expected.halt_logit)))
        y, z = host_values(expected.y), host_values(expected.z)
    perturbed, compared = trajectories[: len(controls)], trajectories[len(controls) :]
    if known is not None and not known_before:
        known.controls = perturbed
    return reference_outputs, perturbed if known is None else known.controls, compared


def first_attempts(answers: Sequence[StepAnswer], limits: Limits) -> list[Finished]:
    """The first attempts [B] that a free run with these answers after each step, from the first on, gives."""
    halt_logits = np.stack([step.halt_logit for step in answers[: limits.max_steps]])  # [steps, B]
    halted = halt_logits > np.float32(limits.halt_threshold)
    last = np.where(halted.any(0), halted.argmax(0), len(halted) - 1)
    return [
        Finished(
            row, answers[step].answer[row], int(step) + 1, float(halt_logits[step, row]), bool(halted[step, row]), 0.0
        )
        for row, step in enumerate(last)
    ]


def step_in_blocks(
    runtime: StepRuntime,
    tokens: Int32,
    reset: NDArray[np.bool_],
    y: Any,
    z: Any,
    puzzle_ids: Int32,
    rows: int | None,
) -> StepResult:
    """`StepRuntime.step` of up to `rows` puzzles at a time, of all at once where None."""
    if rows is None or rows >= len(tokens):
        return runtime.step(tokens, reset, y, z, puzzle_ids)
    blocks = []
    for first in range(0, len(tokens), rows):
        part = slice(first, first + rows)
        blocks.append(runtime.step(tokens[part], reset[part], y[part], z[part], puzzle_ids[part]))
    return StepResult(
        *(np.concatenate([host_values(getattr(block, field.name)) for block in blocks]) for field in fields(StepResult))
    )


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
