"""What a parity comparison found: as data, as JSON, as a table for people."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from trm_deploy.errors import ParityFailure

SCHEMA = 1


@dataclass(frozen=True)
class StepDifference:
    """One supervision step of an engine against PyTorch's.

    Attributes:
        step: from 1.
        same_state: whether both started from the same state.
        largest: largest absolute difference of a logit, over all puzzles.
        median: median over puzzles of each one's largest difference.
        control_median: the same of the control; 0 where both start from the same state.
        where: the place of the largest difference.
        bound: what `largest` (same state in) or `median` (free running) may be.
        passed: whether it is.
    """

    step: int
    same_state: bool
    largest: float
    median: float
    control_median: float
    where: str
    bound: float
    passed: bool


@dataclass(frozen=True)
class FreeRun:
    """Shares are of all puzzles, 0 to 1; solved is None where the right answers are unknown.

    Attributes:
        solved: answers that are right.
        halted: samples whose halting logit exceeded the threshold.
        mean_steps: supervision steps a puzzle.
        same_answer, same_steps: puzzles with PyTorch's answer, and with its number of steps.
        steps: how many puzzles took 1, 2, ... steps.
    """

    solved: float | None
    halted: float
    mean_steps: float
    same_answer: float
    same_steps: float
    steps: list[int]


@dataclass(frozen=True)
class EngineParity:
    """One engine against PyTorch."""

    name: str
    description: str
    step_differences: list[StepDifference]
    free: FreeRun
    failures: list[str]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not self.failures


@dataclass(frozen=True)
class Report:
    """The whole comparison."""

    puzzles: int
    max_steps: int
    halt_threshold: float
    reference: FreeRun
    controls: list[FreeRun]
    engines: list[EngineParity] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every engine passed."""
        return all(engine.passed for engine in self.engines)

    def raise_if_failed(self) -> None:
        """Raises `ParityFailure` with the first failure of the first engine that failed."""
        for engine in self.engines:
            if not engine.passed:
                raise ParityFailure(f"{engine.name}: parity with PyTorch fails: {engine.failures[0]}")

    def summary(self) -> dict[str, Any]:
        """For a build record: whether it passed, and the largest difference from the same state."""
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
        return document

    def table(self) -> str:
        """The report as text for people."""
        lines = [
            f"{self.puzzles} puzzles, at most {self.max_steps} steps, halting threshold {self.halt_threshold:g}",
            "",
            f"{'free running':32} {'solved':>7} {'halted':>7} {'mean steps':>11}"
            f" {'same answer':>12} {'same steps':>11}",
        ]
        rows = [("PyTorch fp32", self.reference)]
        rows += [(f"control {number} (weights 1 ulp off)", run) for number, run in enumerate(self.controls, start=1)]
        rows += [(engine.description, engine.free) for engine in self.engines]
        for name, run in rows:
            solved = "-" if run.solved is None else f"{run.solved:.1%}"
            lines.append(
                f"{name:32} {solved:>7} {run.halted:>7.1%} {run.mean_steps:>11.2f}"
                f" {run.same_answer:>12.1%} {run.same_steps:>11.1%}"
            )
        for engine in self.engines:
            same = [d for d in engine.step_differences if d.same_state]
            free = [d for d in engine.step_differences if not d.same_state]
            lines += ["", f"{engine.name} ({engine.description})"]
            if same:
                worst = max(same, key=lambda d: d.largest)
                what = f"{len(same)} steps" if len(same) > 1 else f"step {same[0].step}"
                lines.append(
                    f"  from the same state, {what}: logits within {worst.largest:.1e} (bound {worst.bound:.0e})"
                )
            if free:
                last = free[-1]
                lines.append(
                    f"  free running to step {last.step}, halting off: median drift {last.median:.1e},"
                    f" the control's {last.control_median:.1e}"
                )
            lines += [f"  FAILED {failure}" for failure in engine.failures] or ["  parity holds"]
        return "\n".join(lines)
