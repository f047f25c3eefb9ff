"""What an engine may differ by, for each precision, in one place, each with its reason; and what fails by it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trm_deploy.evaluation.parity.report import FreeRun, Noise, StepDifference
from trm_deploy.signature import Precision


@dataclass(frozen=True)
class Bounds:
    """What an engine may differ by.

    Attributes:
        logits: largest absolute difference of a logit (answer or halting) or of the state, in one teacher-forced step.
        sensitivity: times the largest difference that a control shows in one teacher-forced step; holds in place of
            `logits` where it is more. A step of many recursions amplifies the last bit by itself: the shipped
            model, with T = 8, by up to 3e-4 (measured).
        median: times the median that a control shows in one teacher-forced step; the engine's median over puzzles is
            held to it, or to `logits` where that is more. The largest difference is that of the one puzzle that
            amplifies most, and in narrow precisions its bound is beyond any logit; the median is steady.
        drift: for a loop engine's later steps: times the control's drift, in the median over puzzles.
        solved: points of the solved share that the engine may be below the worst control, in addition to scatter.
        agreement: points of the share of puzzles with PyTorch's answer and steps that it may be below the worst
            control, in addition to scatter; None where a control, which is float32, says nothing of them: the last
            bits decide about wrong answers, and a narrower precision has fewer. The share that halts is held to
            `solved` then.
        verified: as `solved`, of the share verified within several attempts.
        reason: why these, in a sentence or two; the report prints it.
    """

    logits: float
    sensitivity: float
    median: float
    drift: float
    solved: float
    agreement: float | None
    verified: float = 0.3
    reason: str = ""

    def of_a_step(self, sensitivity: float) -> float:
        """What one teacher-forced step may differ by, of a model that a control differs from by `sensitivity`."""
        return max(self.logits, self.sensitivity * sensitivity)

    def of_the_median(self, control: float) -> float:
        """What the median over puzzles of one step may be, where a control's is `control`."""
        return max(self.logits, self.median * control)


# How much more the last bit weighs than float32's.
FP16_ULPS = 2.0**13
BF16_ULPS = 2.0**16

BOUNDS: dict[str, Bounds] = {
    "fp32": Bounds(
        logits=1e-4,
        sensitivity=2.0,
        median=10.0,
        drift=10.0,
        solved=0.5,
        agreement=1.0,
        reason="One float32 step differs by 3e-5 between PyTorch and ONNX Runtime (measured); 1e-4 leaves room for"
        " other processors' sums. A control moves weights, an engine every intermediate result, hence ten times its"
        " drift.",
    ),
    "fp16": Bounds(
        logits=0.1,
        sensitivity=FP16_ULPS,
        median=FP16_ULPS,
        drift=10 * FP16_ULPS,
        solved=0.5,
        agreement=None,
        reason="float16's last bit weighs 2^13 of float32's, and so may what follows from it. The shipped model"
        " differed by up to 1.1 in one step, in the median over puzzles by 0.01 to 0.02: a thousand times the control's"
        " (measured). Answers count: half a point of the solved share, 0.3 of the verified.",
    ),
    "bf16": Bounds(
        logits=0.5,
        sensitivity=BF16_ULPS,
        median=BF16_ULPS,
        drift=10 * BF16_ULPS,
        solved=0.5,
        agreement=None,
        reason="bfloat16 has three bits fewer than float16: its last bit weighs 2^16 of float32's. The shipped model"
        " differed by up to 9 in one step, in the median over puzzles by 0.1 to 0.3: 12,000 to 18,000 times the"
        " control's (measured). On answers the bounds are float16's.",
    ),
    "int8": Bounds(
        logits=2.0,
        sensitivity=2 * BF16_ULPS,
        median=2 * BF16_ULPS,
        drift=20 * BF16_ULPS,
        solved=1.0,
        agreement=None,
        verified=1.0,
        reason="An int8 value has as many bits as a bfloat16, but its last one weighs as much as the row's largest"
        " value has it weigh, and few values are that large: twice as much is allowed for. The shipped model differed"
        " by up to 17 in one step, in the median over puzzles by 0.6 to 1.3: 58,000 to 96,000 times the control's"
        " (measured). Answers count: a point of the solved and of the verified share.",
    ),
}


def bounds_name(precision: str, arithmetic: str | None) -> str:
    """The name in `BOUNDS` that an engine is held to: of what it computes in, where that is narrower than its file.

    Args:
        precision: the file's.
        arithmetic: as a runtime words it; None where it is the file's precision.
    """
    widest_first: tuple[Precision, ...] = ("fp32", "fp16", "bf16", "int8")
    named = [name for name in widest_first if name in (precision, arithmetic)]
    return named[-1] if precision in named else precision


# Standard deviations by which the number of puzzles that noise decides about may scatter between two runs. If noise
# turns k puzzles, each as likely one way as the other, the difference of the two counts is a sum of k steps of +-1: its
# standard deviation is the root of k. k is counted between PyTorch and its controls. Counting is a measurement too: k
# seen may be k + 3 at 95 % confidence (the "rule of three" where none was seen), but turned verdicts are never more
# than the puzzles whose answer noise changes at all. With 1,000 puzzles of which 30 turn, this allows 1.1 points beside
# a precision's own; with 20 it allows several puzzles, so few tell little.
SCATTER = 2.0
UNSEEN = 3


def scattered(turned: int, changed: int) -> float:
    """Puzzles by which two runs may differ by noise: `turned` of one verdict to the other, `changed` in any way."""
    return SCATTER * math.sqrt(min(turned + UNSEEN, changed))


def step_failures(differences: Sequence[StepDifference]) -> list[str]:
    """The first step that breaks its bound, in words: it explains the rest."""
    for difference in differences:
        if difference.passed:
            continue
        kind = "teacher-forced" if difference.same_state else "free-running, median over puzzles"
        if difference.within_bound:
            return [
                f"step {difference.step}: differs by {difference.median:.2g} ({kind}, median over puzzles),"
                f" expected at most {difference.median_bound:.2g}"
            ]
        relative = f" + {difference.rtol:.2g} * |expected|" if difference.rtol else ""
        return [
            f"step {difference.step}: differs by {difference.checked:.2g} ({kind}) at {difference.where},"
            f" expected at most {difference.bound:.2g}{relative}"
        ]
    return []


def free_failures(
    free: FreeRun, controls: Sequence[FreeRun], noise: Noise, bounds: Bounds, *, puzzles: int, attempts: int
) -> list[str]:
    """What of a free run is below the worst control by more than the bounds and scatter allow, in words."""
    failures = []

    def check(what: str, share: float, others: Sequence[float], points: float, scatter: float) -> None:
        allowed = points / 100 + scatter / puzzles
        if share < min(others) - allowed - 1e-9:
            failures.append(
                f"free-running: {what} {share:.1%}, the control {min(others):.1%},"
                f" expected at most {100 * allowed:.1f} points below it"
            )

    if free.solved is not None:
        shares = [run.solved for run in controls if run.solved is not None]
        check("solved", free.solved, shares, bounds.solved, scattered(noise.solved, noise.answers))
    if free.verified is not None and attempts > 1:
        shares = [run.verified for run in controls if run.verified is not None]
        check("verified", free.verified, shares, bounds.verified, scattered(noise.verified, noise.answers))
    if bounds.agreement is None:
        halted = [run.halted for run in controls]
        check("halted", free.halted, halted, bounds.solved, scattered(noise.halted, noise.answers))
        return failures
    for what, name in (("PyTorch's answer in", "same_answer"), ("PyTorch's number of steps in", "same_steps")):
        shares = [getattr(run, name) for run in controls]
        check(what, getattr(free, name), shares, bounds.agreement, SCATTER * math.sqrt((1 - min(shares)) * puzzles))
    return failures
