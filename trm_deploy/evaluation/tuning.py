"""The halting threshold, tuned: what every threshold would give follows from one pass with halting off.

The pass records the halting logit and whether the answer is right, by the rules, after each step. A sample halts at the
first step whose logit exceeds the threshold, else at the last; so a threshold's solved share and mean steps can be
counted without another run.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trm_deploy import puzzles
from trm_deploy.artefacts import record
from trm_deploy.artefacts.kind import is_checkpoint
from trm_deploy.errors import InputError
from trm_deploy.puzzles.base import Puzzle
from trm_deploy.runtimes.base import Int32, Runtime, StepRuntime, initial_numpy_state
from trm_deploy.runtimes.solving.session import OpenEngine, RunSettings
from trm_deploy.support.figures import require_matplotlib, write_figure
from trm_deploy.support.files import write_atomic
from trm_deploy.support.jsontext import dumps
from trm_deploy.support.progress import progress

SCHEMA = 1
BATCH = 32
# Thresholds that are tried: at the quantiles of the logits that decide.
CANDIDATES = 400
# Of thresholds whose mean steps are within this factor of the fewest, the middle one is recommended: at the lower end
# other puzzles would halt on wrong answers, and beyond the upper end, where the logits of solved puzzles lie, some
# would not halt at all.
CLOSE = 1.02
TABLE_ROWS = 16
DEFAULT_MAX_LOSS = 0.2

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Pass:
    """What a pass with halting off recorded of N puzzles and K steps.

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
class TuneSettings:
    """What is asked for.

    Attributes:
        max_loss: points of the solved share that may be lost against the best threshold; None: see `budget`.
        mean_steps: supervision steps a puzzle at the most; None where it does not matter.
        limit: use the first so many puzzles.
        max_steps: supervision steps at the most; the engine's own where None.
    """

    max_loss: float | None = None
    mean_steps: float | None = None
    limit: int | None = None
    max_steps: int | None = None


@dataclass(frozen=True)
class Tuned:
    """The trade-off, and what is recommended.

    Attributes:
        engine: its file.
        description: runtime, graph form and precision.
        puzzles: how many.
        max_steps: supervision steps at the most.
        max_loss, budget: as asked for; points, and steps a puzzle.
        never: with halting off.
        now: with the threshold in force.
        recommended: with the threshold that is recommended.
        curve: by threshold, from low to high.
    """

    engine: str
    description: str
    puzzles: int
    max_steps: int
    max_loss: float | None
    budget: float | None
    never: Point
    now: Point
    recommended: Point
    curve: list[Point]

    def to_plain(self) -> dict[str, Any]:
        """For JSON."""
        return {"schema": SCHEMA, **asdict(self)}

    def rows(self) -> list[tuple[str, Point]]:
        """A few thresholds across the range of mean steps, and those with a name, each with its remark."""
        steps = np.array([point.mean_steps for point in self.curve])
        wanted = np.linspace(steps.min(), steps.max(), TABLE_ROWS - 3)
        chosen = {int(np.abs(steps - want).argmin()) for want in wanted}
        named = [("now", self.now), ("recommended", self.recommended)]
        plain = [("", self.curve[place]) for place in chosen]
        plain = [entry for entry in plain if entry[1] not in (self.now, self.recommended)]
        return [*sorted([*named, *plain], key=lambda entry: entry[1].threshold), ("halting off", self.never)]

    def table(self) -> str:
        """For a terminal."""
        lines = [f"{self.engine} ({self.description}), {self.puzzles} puzzles, at most {self.max_steps} steps", ""]
        lines.append(f"{'threshold':>10} {'solved':>7} {'mean steps':>11} {'halted wrong':>13}")
        for remark, point in self.rows():
            line = (
                f"{point.threshold:>10.4g} {point.solved:>7.1%} {point.mean_steps:>11.2f} {point.halted_wrong:>13.1%}"
            )
            lines.append(f"{line}  {remark}".rstrip())
        return "\n".join([*lines, "", self.sentence()])

    def sentence(self) -> str:
        """What is recommended and why."""
        asked = []
        if self.max_loss is not None:
            asked.append(f"at most {self.max_loss:g} points below the best threshold")
        if self.budget is not None:
            asked.append(f"at most {self.budget:g} steps a puzzle")
        best = self.recommended
        return (
            f"recommended for {' and '.join(asked)}: --halt-threshold {best.threshold:g}"
            f" ({best.solved:.1%} solved in {best.mean_steps:.2f} steps)"
        )

    def markdown(self, picture: str) -> str:
        """As a page that shows a picture."""
        lines = [
            f"# Halting threshold of {Path(self.engine).name}",
            "",
            f"{self.description}, {self.puzzles} puzzles, at most {self.max_steps} supervision steps;"
            f" {self.sentence()}.",
            "",
            "| threshold | solved | mean steps | halted on a wrong answer | |",
            "| --- | --- | --- | --- | --- |",
        ]
        for remark, point in self.rows():
            lines.append(
                f"| {point.threshold:.4g} | {point.solved:.1%} | {point.mean_steps:.2f} | {point.halted_wrong:.1%}"
                f" | {remark} |"
            )
        return "\n".join([*lines, "", f"![solved share against mean steps]({picture})"]) + "\n"

    def write(self, folder: Path) -> None:
        """tune.md, tune.json and tune.png in a folder; errors as of `write_png`."""
        self.write_png(folder / "tune.png")
        write_atomic(folder / "tune.md", self.markdown("tune.png"))
        write_atomic(folder / "tune.json", dumps(self.to_plain(), indent=2) + "\n")

    def write_png(self, path: Path) -> None:
        """Solved share against mean steps.

        Raises:
            MissingPackage: matplotlib is not installed.
            TrmDeployError: the file cannot be written.
        """
        require_matplotlib()
        write_figure(path, self._draw, width=7.5, height=4.5)

    def _draw(self, figure: Any) -> None:
        axis = figure.subplots()
        steps = [point.mean_steps for point in self.curve]
        axis.plot(steps, [100 * point.solved for point in self.curve], "-", color="#7aa6c2", label="every threshold")
        named = (
            ("now", self.now, "o", "#333333"),
            ("recommended", self.recommended, "D", "#d95f02"),
            ("halting off", self.never, "s", "#7aa6c2"),
        )
        for word, point, marker, colour in named:
            threshold = "" if math.isinf(point.threshold) else f" (threshold {point.threshold:g})"
            shown = f"{word}{threshold}: {point.solved:.1%} in {point.mean_steps:.2f} steps"
            axis.plot([point.mean_steps], [100 * point.solved], marker, color=colour, markersize=8, label=shown)
        if self.budget is not None:
            axis.axvline(self.budget, color="#333333", linewidth=1, linestyle=":", label=f"{self.budget:g} steps")
        axis.set_xlabel("mean supervision steps a puzzle")
        axis.set_ylabel("puzzles solved, %")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, loc="lower right")
        axis.set_title(f"{Path(self.engine).name}: {self.description}, {self.puzzles} puzzles", fontsize=10)


def tune(opened: OpenEngine, file: str, settings: TuneSettings) -> Tuned:
    """Record a pass over a file's puzzles and choose a threshold.

    Raises:
        InputError: the task has no rules, the graph is unrolled, a puzzle cannot be read, the engine solves none, or no
            threshold is within both the loss and the budget.
    """
    puzzle, runtime = opened.puzzle, opened.runtime
    if not puzzle.has_rules:
        raise InputError(f"{opened.path}: its task, {puzzle.name}, has no rules that tell which answers are right")
    if runtime.fixed_steps is not None:
        raise InputError(
            f"{opened.path}: is unrolled to {runtime.fixed_steps} steps and shows the last alone",
            hint="type: trm-deploy export CHECKPOINT --graph step -o step.onnx, and tune that",
        )
    tokens = puzzles.read_tokens(file, puzzle, settings.limit)
    max_steps = opened.max_steps(RunSettings(max_steps=settings.max_steps))
    if warning := costs_more(runtime, max_steps):
        print(f"note: {warning}", file=sys.stderr)
    recorded = record_pass(runtime, puzzle, tokens, max_steps)
    # Without anything asked for, a small loss.
    asked_nothing = settings.max_loss is None and settings.mean_steps is None
    max_loss = DEFAULT_MAX_LOSS if asked_nothing else settings.max_loss
    curve = [recorded.at(threshold) for threshold in recorded.candidates()]
    never = recorded.at(math.inf)
    return Tuned(
        engine=str(opened.path),
        description=runtime.description,
        puzzles=len(tokens),
        max_steps=max_steps,
        max_loss=max_loss,
        budget=settings.mean_steps,
        never=never,
        now=recorded.at(opened.halt_threshold(RunSettings())),
        recommended=recommend(curve, max_loss=max_loss, mean_steps=settings.mean_steps),
        curve=curve,
    )


def recommend(curve: Sequence[Point], *, max_loss: float | None, mean_steps: float | None) -> Point:
    """The point of a curve with the fewest steps within a loss, or with the most solved within a budget.

    Args:
        curve: what is to be had.
        max_loss: points of the solved share below the best of the curve, at the most; None: as many as solve most
            within the budget.
        mean_steps: at the most; None where they do not matter.

    Returns:
        Of points whose steps are close, the one in the middle of their thresholds.

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
    close = [point for point in enough if point.mean_steps <= CLOSE * fewest]
    middle = (min(point.threshold for point in close) + max(point.threshold for point in close)) / 2
    return min(close, key=lambda point: abs(point.threshold - middle))


def record_pass(runtime: Runtime, puzzle: Puzzle, tokens: Int32, max_steps: int) -> Pass:
    """Run questions int32 [N, L] for `max_steps` steps with halting off.

    A step form is run once, step by step. A loop shows its last step alone: it is run for 1, 2, ... steps, which is
    (max_steps + 1) / 2 times the work.
    """
    steps = _step_by_step if isinstance(runtime, StepRuntime) else _again_and_again
    logits, right = [], []
    with progress("tuning", len(tokens) * max_steps, unit="steps") as advance:
        for rows in _batches(tokens, runtime.largest_batch):
            recorded = list(steps(runtime, rows, max_steps, advance))
            logits.append(np.stack([halt_logit for _, halt_logit in recorded], axis=1))
            right.append(np.stack([_right(puzzle, rows, answer) for answer, _ in recorded], axis=1))
    return Pass(np.concatenate(logits), np.concatenate(right))


def costs_more(runtime: Runtime, max_steps: int) -> str:
    """What to tell whoever tunes a loop engine; empty for a step form."""
    if isinstance(runtime, StepRuntime):
        return ""
    return (
        f"a loop graph shows its last step alone: it is run for 1, 2, ... {max_steps} steps,"
        f" {(max_steps + 1) / 2:g} times the work of a step graph (trm-deploy export CHECKPOINT --graph step)"
    )


def check_writable(opened: OpenEngine) -> None:
    """Before the work: what would keep `write_threshold` from writing; errors as there."""
    if is_checkpoint(opened.path):
        from trm_deploy.checkpoints import native

        native.require_native_format(opened.path)
    elif record.read_matching(opened.path) is None:
        raise InputError(
            f"{opened.path}: has no build record {record.path_of(opened.path).name} to write a threshold into",
            hint="export it again, or tune without --write and give --halt-threshold to run",
        )


def write_threshold(opened: OpenEngine, threshold: float) -> str:
    """Make a threshold the artefact's default: in the build record beside it, or in a checkpoint's own spec.

    Returns:
        What was written, in words.

    Raises:
        InputError: there is no build record, or it is of other bytes; or the checkpoint is a published one.
    """
    check_writable(opened)
    path = opened.path
    if is_checkpoint(opened.path):
        from trm_deploy.checkpoints import native

        native.rewrite_spec(path, lambda spec: replace(spec, halting=replace(spec.halting, threshold=threshold)))
        return f"wrote the halting threshold {threshold:g} into the spec of {path}"
    built = record.read_matching(path)
    assert built is not None
    record.write(path, replace(built, halting_threshold=threshold))
    return f"wrote the halting threshold {threshold:g} into {record.path_of(path)}"


def _batches(tokens: Int32, largest: int | None) -> Iterator[Int32]:
    size = min(BATCH, largest or BATCH)
    for start in range(0, len(tokens), size):
        yield tokens[start : start + size]


def _right(puzzle: Puzzle, questions: Int32, answers: Any) -> NDArray[np.bool_]:
    return np.array([not puzzle.answer_faults(*pair) for pair in zip(questions, np.asarray(answers))])


Recorded = Iterator[tuple[Any, NDArray[np.float32]]]


def _step_by_step(runtime: Any, tokens: Int32, max_steps: int, advance: Advance) -> Recorded:
    y, z = initial_numpy_state(runtime.spec, len(tokens))
    for step in range(1, max_steps + 1):
        result = runtime.step(tokens, np.full(len(tokens), step == 1), y, z)
        y, z = result.y, result.z
        advance(len(tokens))
        yield np.asarray(result.answer), np.array(result.halt_logit, np.float32)


def _again_and_again(runtime: Any, tokens: Int32, max_steps: int, advance: Advance) -> Recorded:
    for step in range(1, max_steps + 1):
        solution = runtime.solve(tokens, max_steps=step, halt_threshold=math.inf)
        advance(len(tokens))
        yield solution.answer, solution.halt_logit
