"""The comparison itself: runtimes and tokens in, a report out."""

from __future__ import annotations

import copy
import hashlib
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trm_deploy.errors import CheckpointError, InputError
from trm_deploy.evaluation.parity.bounds import BOUNDS, Bounds, free_failures, step_failures
from trm_deploy.evaluation.parity.report import (
    ControlStep,
    Cosine,
    Drift,
    EngineParity,
    FreeRun,
    Noise,
    Report,
    StepDifference,
)
from trm_deploy.evaluation.parity.steps import Difference, Followed, Outputs, difference_of_outputs, follow, largest_of
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.puzzles.base import Puzzle
from trm_deploy.runtimes.backends.pytorch import TorchRuntime
from trm_deploy.runtimes.base import Int32, Runtime, Solution, StepRuntime
from trm_deploy.runtimes.solving.attempts import Schedule, solve_stream
from trm_deploy.runtimes.solving.scheduling import Batches, Limits, executor, solve_all
from trm_deploy.runtimes.varied import puzzle_ids_of, varied, varied_steps

BATCH = 32
# Puzzles for the comparison of single steps; every one of them costs N_sup steps in each runtime.
STEP_PUZZLES = 32

Bools = NDArray[np.bool_]
Solved = Callable[[Int32], Bools]
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Tolerance:
    """In place of a precision's bound on a step from the same state: |difference| <= atol + rtol * |expected|."""

    atol: float
    rtol: float


@dataclass(frozen=True)
class Outcome:
    """A free run and what is right of it: bool [N], None where nobody knows."""

    solution: Solution
    solved: Bools | None
    verified: Bools | None
    halted: Bools


Known = dict[int, list[Outcome]]


@dataclass(frozen=True)
class Questions:
    """What every runtime is asked.

    Attributes:
        tokens: int32 [N, L]; each is asked of a puzzle id of its own.
        solved: tells from the answers int32 [N, L] which are right; None where nobody knows.
        puzzle: the task, whose symmetries further attempts need.
        attempts: tries a puzzle at the most.
        halt_threshold: as for `Runtime.solve`.
    """

    tokens: Int32
    solved: Solved | None
    puzzle: Puzzle | None
    attempts: int
    halt_threshold: float

    def ask(self, runtime: Runtime, max_steps: int, report_work: Progress, *, reference: bool = False) -> Outcome:
        """A free run, and further attempts at what it leaves open."""
        limits = Limits(max_steps, self.halt_threshold)
        size = min(BATCH, len(self.tokens), runtime.largest_batch or BATCH)
        # The reference takes halted puzzles out of its batches by itself; an engine is run as `run` runs it.
        computing = Batches(runtime, size) if reference else executor(runtime, size)
        ids = puzzle_ids_of(self.tokens, runtime.spec.task.puzzle_identifiers)
        rows = solve_all(computing, self.tokens, limits, ids, report=report_work)
        solution = Solution(
            answer=np.stack([row.answer for row in rows]),
            steps=np.array([row.steps for row in rows], np.int32),
            halt_logit=np.array([row.halt_logit for row in rows], np.float32),
            logits=np.zeros((0, 0, 0), np.float32),  # nobody looks at those of a free run, and they are large
        )
        solved = None if self.solved is None else self.solved(solution.answer)
        verified = solved
        if solved is not None and self.puzzle is not None and self.attempts > 1:
            verified = self._try_again(runtime, self.puzzle, solved, max_steps, ids)
        return Outcome(solution, solved, verified, np.asarray(solution.halt_logit > self.halt_threshold))

    def _try_again(self, runtime: Runtime, puzzle: Puzzle, solved: Bools, max_steps: int, ids: Int32) -> Bools:
        verified: Bools = solved.copy()
        schedule = Schedule(attempts=self.attempts, attempt_steps=(max_steps,), halt_threshold=self.halt_threshold)
        unsolved = np.flatnonzero(~solved)
        # All that are open share batches, further attempts of one with first ones of another.
        size = min(BATCH, runtime.largest_batch or BATCH, max(len(unsolved), 1))
        found = solve_stream(
            executor(runtime, size),
            puzzle,
            unsolved,
            schedule,
            tokens=lambda row: self.tokens[row],
            puzzle_id=lambda row: int(ids[row]),
        )
        for row, answer in found:
            verified[row] = answer is not None and answer.verified
        return verified


def compare(
    model: RecursiveReasoner,
    engines: Sequence[tuple[str, Runtime]],
    tokens: Int32,
    *,
    solved: Solved | None,
    max_steps: int,
    halt_threshold: float,
    controls: int = 3,
    attempts: int = 1,
    puzzle: Puzzle | None = None,
    tolerance: Tolerance | None = None,
    report_work: Progress = lambda count: None,
    known: Known | None = None,
) -> Report:
    """Compare engines with PyTorch.

    Args:
        model: the reference, float32 on the CPU.
        engines: names and runtimes of the same model.
        tokens: int32 [N, L] questions; each is asked of a puzzle id of its own.
        solved: tells from the answers int32 [N, L] which are right; None where nobody knows.
        max_steps: supervision steps at the most; an unrolled engine is compared at its own number.
        halt_threshold: as for `Runtime.solve`.
        controls: how many times the weights are moved, at least once.
        attempts: tries a puzzle, for the verified share.
        puzzle: the task; needed for more attempts than one.
        tolerance: in place of the precisions' bounds on a step from the same state.
        report_work: is told how many units of `work` were done.
        known: filled with the runs of the reference and the controls, by their step limit; a caller that compares
            one engine after the other with all else the same passes it again.

    Returns:
        The report; what failed is in it, nothing is raised for that.

    Raises:
        InputError: an engine whose precision is unknown.
        CheckpointError: the model itself gives logits that are no numbers.
    """
    for name, engine in engines:
        if engine.precision not in BOUNDS:
            raise InputError(
                f"{name}: its precision is {engine.precision}, expected one of {', '.join(BOUNDS)}",
                hint="put its build record (the .json that export wrote) beside it",
            )
    asked = Questions(tokens, solved, puzzle, attempts, halt_threshold)
    reference = varied_steps(TorchRuntime(model))
    moved = [varied_steps(TorchRuntime(moved_by_one_ulp(model, seed))) for seed in range(controls)]
    limits = [engine.fixed_steps or max_steps for _, engine in engines]
    runs = {} if known is None else known

    def free_runs(limit: int) -> list[Outcome]:
        if limit not in runs:
            runs[limit] = [asked.ask(runtime, limit, report_work, reference=True) for runtime in (reference, *moved)]
        return runs[limit]

    batches = [engine.largest_batch for _, engine in engines if isinstance(engine, StepRuntime)]
    sample = tokens[: min([STEP_PUZZLES, *(batch for batch in batches if batch)])]
    together = [varied(engine) for _, engine in engines]
    trail, moved_steps, engine_steps = follow(
        reference,
        moved,
        [engine for engine in together if isinstance(engine, StepRuntime)],
        sample,
        steps=max([max_steps, *limits]),
        rtol=tolerance.rtol if tolerance else 0.0,
    )
    report_work(len(sample))
    _require_numbers(trail)
    stepped = iter(engine_steps)
    base, *others = free_runs(max_steps)
    report = Report(
        puzzles=len(tokens),
        questions_sha256=digest(tokens),
        step_puzzles=len(sample),
        max_steps=max_steps,
        halt_threshold=halt_threshold,
        attempts=attempts,
        reference=_summary(base, base),
        controls=[_summary(other, base) for other in others],
        noise=_noise(base, others),
    )
    for (name, original), engine, limit in zip(engines, together, limits):
        bounds = BOUNDS[engine.precision]
        if isinstance(engine, StepRuntime):
            differences, drift = _from_the_same_state(moved_steps, next(stepped), bounds, tolerance)
        else:
            differences, drift = _running_on(trail, moved_steps, engine, sample, limit, bounds, tolerance)
        base, *others = free_runs(limit)
        free = _summary(asked.ask(engine, limit, report_work), base)
        beside = [_summary(other, base) for other in others]
        failures = step_failures(differences) + free_failures(
            free,
            beside,
            _noise(base, others),
            bounds,
            puzzles=len(tokens),
            attempts=attempts,
        )
        arithmetic = arithmetic_of(original)
        report.engines.append(
            EngineParity(
                name=name,
                description=engine.description,
                precision=engine.precision,
                arithmetic=arithmetic,
                step_differences=differences,
                drift=drift,
                free=free,
                failures=failures,
                notes=_notes(engine.precision, arithmetic, limit, max_steps) + _unjudged(free, beside, bounds),
            )
        )
    return report


def work(puzzles: int, engines: int, controls: int) -> int:
    """Units of work that `compare` reports, where no engine is unrolled to another number of steps."""
    return puzzles * (1 + controls + engines) + min(puzzles, STEP_PUZZLES)


def digest(tokens: Int32) -> str:
    """SHA-256 of questions int32 [N, L]: of the same puzzles in the same order it is the same on every machine."""
    return hashlib.sha256(f"{tokens.shape}".encode() + tokens.astype("<i4").tobytes()).hexdigest()


def _require_numbers(trail: Sequence[Outputs]) -> None:
    """Where PyTorch itself computes no numbers, nothing an engine does could be wrong."""
    for step, outputs in enumerate(trail, start=1):
        if not (np.isfinite(outputs.logits).all() and np.isfinite(outputs.halt_logit).all()):
            raise CheckpointError(
                f"the checkpoint in PyTorch float32 gives logits that are no numbers in supervision step {step}",
                hint="its training diverged or its weights are damaged: take an earlier checkpoint",
            )


def arithmetic_of(runtime: Runtime) -> str | None:
    """What a runtime computes in where that is not its file's precision, as in "fp32 between casts"; else None."""
    said = getattr(runtime, "arithmetic", None)
    return None if said in (None, runtime.precision) else str(said)


def moved_by_one_ulp(model: RecursiveReasoner, seed: int) -> RecursiveReasoner:
    """A copy whose every float32 weight is the next representable number above or below, by chance."""
    import torch

    moved = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*moved.parameters(), *moved.buffers()):
            up = torch.rand(tensor.shape, generator=generator) < 0.5
            target = torch.where(up, torch.full_like(tensor, torch.inf), torch.full_like(tensor, -torch.inf))
            tensor.copy_(torch.nextafter(tensor, target))
    return moved


def _notes(precision: str, arithmetic: str | None, limit: int, max_steps: int) -> list[str]:
    notes = []
    if arithmetic is not None:
        notes.append(
            f"this runtime computes in {arithmetic}: what is compared is the {precision} file as it runs here, which"
            f" is no {precision} parity and says nothing of hardware that computes in {precision}"
        )
    if limit != max_steps:
        notes.append(f"unrolled to {limit} steps, and compared with PyTorch and its controls at {limit} steps")
    return notes


def _unjudged(free: FreeRun, controls: Sequence[FreeRun], bounds: Bounds) -> list[str]:
    """What a narrow precision changes where nobody knows which answers are right."""
    expected = min(control.same_answer for control in controls)
    if free.solved is not None or bounds.agreement is not None or free.same_answer >= expected:
        return []
    return [
        f"{free.same_answer:.1%} of the answers are PyTorch's, {expected:.1%} at the least of a control's; no rule"
        " tells which are right, so whether the others are worse is not judged here"
    ]


def _summary(run: Outcome, base: Outcome) -> FreeRun:
    solution = run.solution
    known = run.solved is not None and base.solved is not None
    return FreeRun(
        solved=_share(run.solved),
        verified=_share(run.verified),
        halted=float(run.halted.mean()),
        mean_steps=float(solution.steps.mean()),
        same_answer=float(_same_answer(run, base).mean()),
        same_steps=float((solution.steps == base.solution.steps).mean()),
        steps=np.bincount(solution.steps)[1:].tolist(),
        lost=_numbers(base.solved, run.solved) if known else None,
        gained=_numbers(run.solved, base.solved) if known else None,
    )


def _share(right: Bools | None) -> float | None:
    return None if right is None else float(right.mean())


def _numbers(ours: Any, theirs: Any) -> list[int]:
    return [int(row) + 1 for row in np.flatnonzero(ours & ~theirs)]


def _same_answer(run: Outcome, base: Outcome) -> Bools:
    same: Bools = (run.solution.answer == base.solution.answer).all(1)
    return same


def _noise(base: Outcome, others: Sequence[Outcome]) -> Noise:
    def most(name: str) -> int:
        ours = getattr(base, name)
        return 0 if ours is None else max(int((getattr(other, name) != ours).sum()) for other in others)

    agreeing = [_same_answer(other, base) for other in others]
    return Noise(
        answers=max(int((~same).sum()) for same in agreeing),
        solved=most("solved"),
        verified=most("verified"),
        halted=most("halted"),
        # Of a single draw nobody knows; its own answers that differ from PyTorch's are more than two would differ by.
        agreement=max(
            (int((one != other).sum()) for one, other in itertools.combinations(agreeing, 2)),
            default=int((~agreeing[0]).sum()),
        ),
    )


def _from_the_same_state(
    moved: Sequence[Followed], engine: Followed, bounds: Bounds, tolerance: Tolerance | None
) -> tuple[list[StepDifference], list[Drift]]:
    """Every step of the engine from PyTorch's state."""
    sensitivity = max(largest_of(found.excess) for control in moved for found in control.same_state)
    differences = []
    for place, found in enumerate(engine.same_state):
        control = _control_step([control.same_state[place] for control in moved])
        differences.append(_checked_step(place + 1, found, control, sensitivity, bounds, tolerance))
    drift = [
        _drift(place + 1, found, [control.free[place] for control in moved]) for place, found in enumerate(engine.free)
    ]
    return differences, drift


def _running_on(
    trail: Sequence[Outputs],
    moved: Sequence[Followed],
    engine: Runtime,
    tokens: Int32,
    max_steps: int,
    bounds: Bounds,
    tolerance: Tolerance | None,
) -> tuple[list[StepDifference], list[Drift]]:
    """The first k steps of a loop engine with halting off, for k = 1, 2, 4 ...; of an unrolled one for its own k."""
    sensitivity = max(largest_of(control.same_state[0].excess) for control in moved)
    differences, drift = [], []
    for step in [max_steps] if engine.fixed_steps else _doubling(max_steps):
        found = difference_of_outputs(
            trail[step - 1], _run_to(engine, tokens, step), tolerance.rtol if tolerance and step == 1 else 0.0
        )
        beside = [control.free[step - 1] for control in moved]
        drift.append(_drift(step, found, beside))
        if step == 1:
            control = _control_step([control.same_state[0] for control in moved])
            differences.append(_checked_step(step, found, control, sensitivity, bounds, tolerance))
            continue
        bound = max(bounds.logits, bounds.drift * drift[-1].control_high)
        differences.append(
            StepDifference(
                step=step,
                same_state=False,
                largest=found.largest,
                median=found.median,
                where=found.where,
                checked=found.median if math.isfinite(found.median) else math.inf,
                bound=bound,
            )
        )
    return differences, drift


def _run_to(engine: Runtime, tokens: Int32, steps: int) -> Solution:
    return engine.solve(tokens, max_steps=steps, halt_threshold=math.inf)


def _doubling(last: int) -> list[int]:
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
    # The median of anything with a value that is no number is none either, and says so.
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
