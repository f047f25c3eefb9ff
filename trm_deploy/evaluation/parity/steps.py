"""Supervision steps side by side: from PyTorch's state, and each runtime from its own.

B samples, S positions, D hidden size, L tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trm_deploy.runtimes.base import Float32, Int32, StepResult, StepRuntime, initial_numpy_state

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
        """Of a logit."""
        return largest_of(self.logits)

    @property
    def median(self) -> float:
        """Over puzzles, of each one's largest difference of a logit."""
        return float(np.median(self.logits))


@dataclass(frozen=True)
class Outputs:
    """What a step or a whole solution gives, state apart."""

    logits: Float32  # [B, L, V]
    halt_logit: Float32  # [B]


@dataclass
class Followed:
    """One runtime beside PyTorch.

    Attributes:
        runtime: does single steps.
        same_state: the difference after each step from PyTorch's state; after the first alone where not asked for more.
        free: after each step of a free run with halting off.
    """

    runtime: StepRuntime
    same_state: list[Difference] = field(default_factory=list)
    free: list[Difference] = field(default_factory=list)


def follow(
    reference: StepRuntime,
    controls: Sequence[StepRuntime],
    engines: Sequence[StepRuntime],
    tokens: Int32,
    *,
    steps: int,
    rtol: float,
) -> tuple[list[Outputs], list[Followed], list[Followed]]:
    """Run everything that can do single steps through the same puzzles, halting off.

    Args:
        reference: PyTorch.
        controls: PyTorch with weights moved. Without engines they start from PyTorch's state at the first step alone.
        engines: the engines with a step form.
        tokens: int32 [B, L].
        steps: how many.
        rtol: see `Difference.excess`; of the engines.

    Returns:
        What the reference gave after each step; the controls; the engines.
    """
    trail = []
    moved, followed = [Followed(control) for control in controls], [Followed(engine) for engine in engines]
    own: dict[int, tuple[Any, Any]] = {}
    y, z = initial_numpy_state(reference.spec, len(tokens))
    for step in range(1, steps + 1):
        reset = np.full(len(tokens), step == 1)
        expected = reference.step(tokens, reset, y, z)
        for place, entry in enumerate((*moved, *followed)):
            tolerance = 0.0 if place < len(moved) else rtol
            result = entry.runtime.step(tokens, reset, *own.get(place, (y, z)))
            entry.free.append(difference_of_outputs(expected, result))
            if step == 1:
                entry.same_state.append(difference(expected, result, tolerance))
            # Read at once: an engine's next step, from another state, may overwrite what lies on its device.
            own[place] = host(result.y), host(result.z)
            if step > 1 and engines:
                entry.same_state.append(difference(expected, entry.runtime.step(tokens, reset, y, z), tolerance))
        trail.append(Outputs(host(expected.logits), host(expected.halt_logit)))
        y, z = host(expected.y), host(expected.z)
    return trail, moved, followed


def difference(expected: StepResult, actual: StepResult, rtol: float = 0.0) -> Difference:
    """Of logits and state."""
    outputs = difference_of_outputs(expected, actual, rtol)
    excess, where = outputs.excess, outputs.where
    cosines = []
    # A state that is off would show in the logits only one step later, and after the last step never.
    for name, ours, theirs in (("y", host(expected.y), host(actual.y)), ("z", host(expected.z), host(actual.z))):
        state = _excess(ours, theirs, rtol).max((1, 2))
        if not largest_of(state) <= largest_of(excess):
            where = f"puzzle {argmax(state) + 1}, state {name}"
        excess = np.maximum(excess, state)
        cosines.append(_cosine(ours, theirs))
    return Difference(outputs.logits, excess, where, *cosines)


def difference_of_outputs(expected: Any, actual: Any, rtol: float = 0.0) -> Difference:
    """Of logits alone: of anything that has `logits` [B, L, V] and `halt_logit` [B]."""
    ours, theirs = host(expected.logits), host(actual.logits)
    our_halting, their_halting = host(expected.halt_logit), host(actual.halt_logit)
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


def host(result: Any) -> NDArray[Any]:
    """A result's values: numpy has no way to PyTorch's tensors on a GPU, and knows no bfloat16."""
    return np.asarray(result.cpu().float() if hasattr(result, "cpu") else result)


def argmax(values: Floats) -> int:
    """Place of the largest value; one that is no number counts as infinite."""
    return int(np.argmax(np.nan_to_num(values, nan=np.inf)))


def largest_of(values: Floats) -> float:
    """The largest value; infinite where any is no number, so that no comparison lets it pass."""
    return float(np.nan_to_num(values, nan=np.inf).max())


def _excess(expected: Floats, actual: Floats, rtol: float) -> Floats:
    found: Floats = np.abs(expected - actual)
    return found - rtol * np.abs(expected) if rtol else found


def _cosine(expected: Floats, actual: Floats) -> Floats:
    """Of [B, S, D] with [B, S, D], as one vector a puzzle; float64 [B]. Infinite values have none: not a number."""
    ours, theirs = (state.reshape(len(state), -1).astype(np.float64) for state in (expected, actual))
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine: Floats = (ours * theirs).sum(1) / lengths
    return np.minimum(cosine, 1.0)  # rounding alone goes beyond
