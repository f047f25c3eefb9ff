"""From what runtimes differ by, step by step, to what is held to a bound."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trm_deploy.evaluation.parity.bounds import Bounds
from trm_deploy.evaluation.parity.report import ControlStep, Cosine, Drift, StepDifference
from trm_deploy.evaluation.parity.steps import Difference, Outputs, Trajectory, difference_of_outputs, largest_of
from trm_deploy.runtimes.base import Int32, Runtime


@dataclass(frozen=True)
class Tolerance:
    """In place of a precision's bound on a teacher-forced step: |difference| <= atol + rtol * |expected|."""

    atol: float
    rtol: float


def sensitivity_of(controls: Sequence[Trajectory], steps: int | None = None) -> float:
    """The largest difference, of a logit or the state, that a control shows in its first teacher-forced steps, or in
    all of them where None.
    """
    return max(largest_of(found.excess) for control in controls for found in control.teacher_forced[:steps])


def teacher_forced(
    controls: Sequence[Trajectory],
    engine: Trajectory,
    bounds: Bounds,
    tolerance: Tolerance | None,
    *,
    sensitivity: float,
    steps: Sequence[int] | None = None,
) -> tuple[list[StepDifference], list[Drift]]:
    """Steps of an engine from the reference's state, beside the controls', and its drift in a free run.

    Args:
        controls: of every step.
        engine: of the steps that were compared.
        bounds: of its precision.
        tolerance: in their place.
        sensitivity: see `sensitivity_of`.
        steps: the engine's teacher-forced steps, from 1; every one where None.
    """
    differences = []
    for step, found in zip(steps or range(1, len(engine.teacher_forced) + 1), engine.teacher_forced):
        control = _control_step([control.teacher_forced[step - 1] for control in controls])
        differences.append(_checked_step(step, found, control, sensitivity, bounds, tolerance))
    drift = [
        _drift(place + 1, found, [control.free[place] for control in controls])
        for place, found in enumerate(engine.free)
    ]
    return differences, drift


def free_running(
    reference_outputs: Mapping[int, Outputs],
    controls: Sequence[Trajectory],
    engine: Runtime,
    tokens: Int32,
    puzzle_ids: Int32,
    steps: Sequence[int],
    bounds: Bounds,
    tolerance: Tolerance | None,
    *,
    sensitivity: float,
) -> tuple[list[StepDifference], list[Drift]]:
    """The first k steps of a loop or unrolled engine with halting off, for each k of `steps`.

    `reference_outputs` has these steps by their number, from 1; the controls have every step. An engine whose limits
    are constants halts as it must, and each puzzle is compared after the step at which the engine halted, where the
    reference has that step.
    """
    if engine.baked is not None:
        return _as_halted(reference_outputs, controls, engine, tokens, puzzle_ids, bounds)
    differences, drift = [], []
    for step in steps:
        solution = engine.solve(tokens, puzzle_ids, max_steps=step, halt_threshold=math.inf)
        found = difference_of_outputs(
            reference_outputs[step], solution, tolerance.rtol if tolerance and step == 1 else 0.0
        )
        beside = [control.free[step - 1] for control in controls]
        drift.append(_drift(step, found, beside))
        if step == 1:
            control = _control_step([control.teacher_forced[0] for control in controls])
            differences.append(_checked_step(step, found, control, sensitivity, bounds, tolerance))
            continue
        differences.append(_drifted_step(found, drift[-1], bounds))
    return differences, drift


def _as_halted(
    reference_outputs: Mapping[int, Outputs],
    controls: Sequence[Trajectory],
    engine: Runtime,
    tokens: Int32,
    puzzle_ids: Int32,
    bounds: Bounds,
) -> tuple[list[StepDifference], list[Drift]]:
    """One run of an engine whose limits are constants, each puzzle after its own number of steps."""
    assert engine.baked is not None
    limits = engine.baked
    solution = engine.solve(tokens, puzzle_ids, max_steps=limits.max_steps, halt_threshold=limits.halt_threshold)
    rows = [row for row, step in enumerate(solution.steps) if int(step) in reference_outputs]
    if not rows:
        return [], []
    steps = [int(step) for step in solution.steps[rows]]
    expected = Outputs(
        np.stack([reference_outputs[step].logits[row] for row, step in zip(rows, steps)]),
        np.stack([reference_outputs[step].halt_logit[row] for row, step in zip(rows, steps)]),
    )
    found = difference_of_outputs(expected, Outputs(solution.logits[rows], solution.halt_logit[rows]))
    beside = [
        Difference(logits, logits, "")
        for control in controls
        for logits in [np.array([control.free[step - 1].logits[row] for row, step in zip(rows, steps)])]
    ]
    drift = _drift(max(steps), found, beside)
    return [_drifted_step(found, drift, bounds)], [drift]


def _drifted_step(found: Difference, drift: Drift, bounds: Bounds) -> StepDifference:
    """A step that did not start from the reference's state: its median is held to what the controls drift by."""
    return StepDifference(
        step=drift.step,
        same_state=False,
        largest=found.largest,
        median=found.median,
        where=found.where,
        checked=found.median if math.isfinite(found.median) else math.inf,
        bound=max(bounds.logits, bounds.drift * drift.control_high),
    )


def steps_to_compare(engine: Runtime, max_steps: int) -> list[int]:
    """The steps after which an engine is compared where not all are: 1, 2, 4 ... and the last; of an unrolled one its
    own.
    """
    return [engine.fixed_steps] if engine.fixed_steps else doubling(max_steps)


def doubling(last: int) -> list[int]:
    """1, 2, 4 ... and `last`."""
    return sorted({1 << k for k in range(last.bit_length())} | {last})


def _checked_step(
    step: int,
    found: Difference,
    control: ControlStep,
    sensitivity: float,
    bounds: Bounds,
    tolerance: Tolerance | None,
) -> StepDifference:
    return StepDifference(
        step=step,
        same_state=True,
        largest=found.largest,
        median=found.median,
        cosine_y=_cosine(found.cosine_y),
        cosine_z=_cosine(found.cosine_z),
        control=control,
        where=found.where,
        checked=largest_of(found.excess),
        bound=tolerance.atol if tolerance else bounds.of_a_step(sensitivity),
        rtol=tolerance.rtol if tolerance else 0.0,
        median_bound=None if tolerance else bounds.of_the_median(control.median_high),
    )


def _cosine(values: NDArray[Any] | None) -> Cosine | None:
    # The median of anything with a NaN is NaN too, and says so.
    return None if values is None else Cosine(float(values.min()), float(np.median(values)))


def _control_step(found: Sequence[Difference]) -> ControlStep:
    medians = [entry.median for entry in found]
    cosines = [_cosine(np.concatenate([getattr(entry, name) for entry in found])) for name in ("cosine_y", "cosine_z")]
    y, z = (cosine or Cosine(math.nan, math.nan) for cosine in cosines)
    return ControlStep(
        largest=max(entry.largest for entry in found),
        median_low=min(medians),
        median_high=max(medians),
        cosine_y=y,
        cosine_z=z,
    )


def _drift(step: int, found: Difference, controls: Sequence[Difference]) -> Drift:
    medians = [control.median for control in controls]
    return Drift(
        step=step,
        median=found.median,
        largest=found.largest,
        control_low=min(medians),
        control_high=max(medians),
    )
