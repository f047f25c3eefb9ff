"""Which threshold to recommend."""

from __future__ import annotations

from collections.abc import Sequence

from trm_deploy.errors import InputError
from trm_deploy.evaluation.tuning.passes import Point

# Of thresholds whose mean steps are within this factor of the fewest, the middle one is recommended: at the lower end
# other puzzles would halt on wrong answers, and beyond the upper end, where the logits of solved puzzles are, some
# would not halt at all.
CLOSE = 1.02


def equally_good(curve: Sequence[Point], *, max_loss: float | None, mean_steps: float | None) -> list[Point]:
    """The points of a curve with the fewest steps within a loss, or with the most solved within a budget.

    Args:
        curve: a point a threshold.
        max_loss: maximum loss of the solved share against the best of the curve, in points; None: no loss against the
            best within the budget.
        mean_steps: maximum mean steps a puzzle; None where they do not matter.

    Returns:
        All whose steps are within a factor of `CLOSE` of the fewest, in the order of the curve.

    Raises:
        InputError: no point is within both; or none solves anything.
    """
    best = max(point.solved for point in curve)
    if best == 0:
        raise InputError("the engine solves none of the puzzles, so no threshold is better than another")
    within = [point for point in curve if mean_steps is None or point.mean_steps <= mean_steps]
    if not within:
        fewest = min(point.mean_steps for point in curve)
        raise InputError(f"--mean-steps is {mean_steps:g}, expected at least {fewest:.2f}")
    floor = max(point.solved for point in within) if max_loss is None else best - max_loss / 100
    # 1e-9: shares are quotients, and must not fail by their last bit.
    enough = [point for point in within if point.solved >= floor - 1e-9]
    if not enough:
        most = max(within, key=lambda point: point.solved)
        raise InputError(
            f"no threshold loses at most {max_loss:g} points within {mean_steps:g} steps a puzzle:"
            f" there {most.solved:.1%} are solved, the best threshold solves {best:.1%}",
            hint="raise --max-loss or --mean-steps",
        )
    fewest = min(point.mean_steps for point in enough)
    return [point for point in enough if point.mean_steps <= CLOSE * fewest]


def recommend(curve: Sequence[Point], *, max_loss: float | None, mean_steps: float | None) -> Point:
    """Of the points that are equally good, the one in the middle of their thresholds; see `equally_good`."""
    close = equally_good(curve, max_loss=max_loss, mean_steps=mean_steps)
    middle = (min(point.threshold for point in close) + max(point.threshold for point in close)) / 2
    return min(close, key=lambda point: abs(point.threshold - middle))


def rule_in_words(close: Sequence[Point], chosen: Point) -> str:
    """Why a point was chosen that does not have the fewest steps; empty where it has."""
    if chosen.mean_steps <= min(point.mean_steps for point in close):
        return ""
    low, high = (extreme(point.threshold for point in close) for extreme in (min, max))
    return (
        f"thresholds from {low:g} to {high:g} need within {CLOSE - 1:.0%} of the fewest steps, and of those the middle"
        " one is recommended: it is farthest from halting too early and from not halting"
    )
