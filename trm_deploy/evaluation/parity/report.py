"""What a parity comparison found, as data alone; `rendering` turns it into text, Markdown and pictures."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trm_deploy.errors import ParityFailure

SCHEMA = 2

# Begins what fails against the last accepted report, and not against PyTorch.
AGAINST_BASELINE = "against the baseline: "


@dataclass(frozen=True)
class Cosine:
    """Cosine of a state with PyTorch's, over all positions of a puzzle: the smallest and the median over puzzles."""

    smallest: float
    median: float


@dataclass(frozen=True, kw_only=True)
class ControlStep:
    """One teacher-forced supervision step of the controls: what noise alone does, beside an engine's step.

    Attributes:
        largest: largest absolute difference of a logit, over all puzzles and draws.
        median_low, median_high: median over puzzles of each one's largest difference; lowest and highest of the draws.
        cosine_y, cosine_z: cosines of the state, the smallest and the median over draws.
    """

    largest: float
    median_low: float
    median_high: float
    cosine_y: Cosine
    cosine_z: Cosine


@dataclass(frozen=True, kw_only=True)
class StepDifference:
    """One supervision step of an engine against PyTorch's, as it is held to a bound.

    Attributes:
        step: from 1.
        same_state: whether it was teacher-forced: both started from the same state.
        largest: largest absolute difference of a logit (answer or halting), over all puzzles.
        median: median over puzzles of each one's largest difference.
        cosine_y, cosine_z: cosines of the state that comes out; None where the engine does not show its state.
        control: the controls' same step; None where the engine's was not teacher-forced.
        where: the place of what differs most beyond rtol.
        checked: what is held to the bound: teacher-forced the largest difference of a logit or of the state, less rtol
            times what was expected; free running the median.
        bound, rtol: `checked` may be `bound`.
        median_bound: `median` may be that; None where it is not held to anything.
    """

    step: int
    same_state: bool
    largest: float
    median: float
    cosine_y: Cosine | None = None
    cosine_z: Cosine | None = None
    control: ControlStep | None = None
    where: str
    checked: float
    bound: float
    rtol: float = 0.0
    median_bound: float | None = None

    @property
    def within_bound(self) -> bool:
        """Whether `checked` is within its bound: neither NaN nor infinity is, even where a control gives infinity."""
        return math.isfinite(self.checked) and self.checked <= self.bound

    @property
    def passed(self) -> bool:
        """Whether both bounds hold."""
        return self.within_bound and (self.median_bound is None or self.median <= self.median_bound)


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How far a free run with halting off is from PyTorch's after a step.

    Attributes:
        step: from 1.
        median, largest: median and largest over puzzles of each one's largest difference of a logit.
        control_low, control_high: the controls' medians, lowest and highest of the draws.
    """

    step: int
    median: float
    largest: float
    control_low: float
    control_high: float


@dataclass(frozen=True, kw_only=True)
class FreeRun:
    """Shares are of all puzzles, 0 to 1; what needs the right answers is None where they are unknown.

    Attributes:
        solved: answers that are right at the first attempt.
        verified: puzzles with a right answer within the attempts.
        halted: samples whose halting logit exceeded the threshold.
        mean_steps: supervision steps of the first attempt, a puzzle.
        same_answer, same_steps: puzzles with PyTorch's answer, and with its number of steps.
        steps: the number of puzzles that took 1, 2, ... steps.
        lost, gained: numbers, from 1, of the puzzles that PyTorch solves and this does not, and the reverse.
    """

    solved: float | None
    verified: float | None
    halted: float
    mean_steps: float
    same_answer: float
    same_steps: float
    steps: list[int]
    lost: list[int] | None
    gained: list[int] | None


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Puzzles about which the last bit decides: the number by which PyTorch and a control differ, at the worst draw.

    Attributes:
        answers: the answer is another.
        solved, verified, halted: the verdict is another.
        agreement: two controls differ in whether the answer is PyTorch's.
    """

    answers: int
    solved: int
    verified: int
    halted: int
    agreement: int


@dataclass(frozen=True)
class EngineParity:
    """One engine against PyTorch.

    Attributes:
        name: its file.
        description: runtime, graph form and precision.
        precision: the file's, as the flag names it.
        arithmetic: what the runtime really computes in, where that is not the file's precision; else None.
        step_differences: what is held to bounds.
        drift: free running with halting off; of a loop engine after the steps that it was run to.
        free: the free run.
        failures: empty where parity holds.
        notes: what else a reader has to know.
        baseline: measure -> [share in the last accepted report, share now]; empty without one.
    """

    name: str
    description: str
    precision: str
    arithmetic: str | None
    step_differences: list[StepDifference]
    drift: list[Drift]
    free: FreeRun
    failures: list[str]
    notes: list[str] = field(default_factory=list)
    baseline: dict[str, list[float]] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not self.failures

    @property
    def file_name(self) -> str:
        """The name without its folder."""
        return Path(self.name).name


@dataclass(frozen=True)
class NotCompared:
    """An engine that cannot run here.

    Attributes:
        name: its file.
        reason: why, and what to do about it.
    """

    name: str
    reason: str


@dataclass(frozen=True)
class ParityReport:
    """The whole comparison.

    Attributes:
        puzzles: their number.
        questions_sha256: digest of their tokens: the same puzzles in the same order have the same.
        step_puzzles: the first N took part in the comparison of single steps.
        step_controls: number of controls there.
        max_steps, halt_threshold, attempts: of every free run.
        reference: the free run of PyTorch float32.
        controls: the same with every weight one unit in the last place off; a single one where `step_controls` is
            more: the controls took turns, so that each puzzle is answered by one of them.
        noise: what differs between those.
        engines: one entry an engine.
        sources: what was compared, for readers: file names, digests, versions.
        not_compared: engines that cannot run here.
    """

    puzzles: int
    questions_sha256: str
    step_puzzles: int
    step_controls: int
    max_steps: int
    halt_threshold: float
    attempts: int
    reference: FreeRun
    controls: list[FreeRun]
    noise: Noise
    engines: list[EngineParity] = field(default_factory=list)
    sources: dict[str, Any] = field(default_factory=dict)
    not_compared: list[NotCompared] = field(default_factory=list)

    @property
    def in_turn(self) -> bool:
        """Whether each puzzle of the free run was answered by one of several controls."""
        return len(self.controls) < self.step_controls

    @property
    def passed(self) -> bool:
        """Whether every engine that was compared passed."""
        return all(engine.passed for engine in self.engines)

    def raise_if_failed(self) -> None:
        """Raises `ParityFailure` with the first failure of the first engine that failed."""
        for engine in self.engines:
            if not engine.passed:
                failure = engine.failures[0]
                what = "" if failure.startswith(AGAINST_BASELINE) else "parity with PyTorch fails: "
                raise ParityFailure(f"{engine.name}: {what}{failure}")

    def summary(self) -> dict[str, Any]:
        """For a build record: whether it passed, and the largest teacher-forced difference of a logit."""
        same_state = [d.largest for engine in self.engines for d in engine.step_differences if d.same_state]
        return {
            "passed": self.passed,
            "puzzles": self.puzzles,
            "largest_logit_difference": max(same_state, default=None),
        }

    def to_plain(self) -> dict[str, Any]:
        """For JSON."""
        document = {"schema": SCHEMA, "passed": self.passed, **asdict(self)}
        for plain, engine in zip(document["engines"], self.engines):
            plain["passed"] = engine.passed
            for step, difference in zip(plain["step_differences"], engine.step_differences):
                step["passed"] = difference.passed
        return document
