"""The comparison itself: runtimes and tokens in, a report out. Nothing here needs PyTorch."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from trm_deploy.errors import CheckpointError, InputError
from trm_deploy.evaluation import accuracy
from trm_deploy.evaluation.accuracy import Accuracy, Bools, Judge, Progress
from trm_deploy.evaluation.parity.bounds import BOUNDS, Bounds, bounds_name, free_failures, step_failures
from trm_deploy.evaluation.parity.judged_steps import (
    Tolerance,
    free_running,
    sensitivity_of,
    steps_to_compare,
    teacher_forced,
)
from trm_deploy.evaluation.parity.puzzle_ids import puzzle_ids_of
from trm_deploy.evaluation.parity.recording import Recording
from trm_deploy.evaluation.parity.report import Drift, EngineParity, FreeRun, Noise, ParityReport, StepDifference
from trm_deploy.evaluation.parity.steps import KnownSteps, Outputs, StepAnswer, first_attempts, run_side_by_side
from trm_deploy.puzzles.base import Puzzle
from trm_deploy.runtimes.base import Int32, Runtime, StepRuntime, check_threshold
from trm_deploy.runtimes.solving.attempts import Schedule
from trm_deploy.runtimes.solving.scheduling import Finished, default_batch, executor, solve_all

# Puzzles for the comparison of single steps; every one of them costs N_sup steps in each runtime.
STEP_PUZZLES = 16

# Puzzles at a time in the reference and the controls. PyTorch takes new memory for every intermediate result: of 8
# puzzles it takes it from its own pool, of 32 from the system, and a puzzle takes 1.5 to 4 times as long (measured).
REFERENCE_BATCH = 8


@dataclass
class Known:
    """What the reference and the controls compute; `compare` fills it, or takes what is there.

    Attributes:
        runs: their free runs, by the step limit.
        steps: their single steps.
    """

    runs: dict[int, list[Accuracy]] = field(default_factory=dict)
    steps: KnownSteps = field(default_factory=KnownSteps)


@dataclass(frozen=True)
class Questions:
    """What every runtime solves.

    Attributes:
        tokens: int32 [N, L].
        puzzle_ids: int32 [N], of every attempt at each.
        solved: tells from the answers int32 [N, L] which are right; None where nobody knows.
        puzzle: the task, whose symmetries further attempts need.
        attempts: maximum number of attempts a puzzle.
        halt_threshold: as for `Runtime.solve`.
    """

    tokens: Int32
    puzzle_ids: Int32
    solved: Judge | None
    puzzle: Puzzle | None
    attempts: int
    halt_threshold: float

    def every(self, step: int, start: int) -> Questions:
        """The part of every `step`-th puzzle from the one at `start` on."""
        rows, judge = slice(start, None, step), self.solved

        def solved(answers: Int32) -> Bools:
            assert judge is not None
            among_all = self.tokens.copy()
            among_all[rows] = answers
            return judge(among_all)[rows]

        return replace(
            self,
            tokens=self.tokens[rows],
            puzzle_ids=self.puzzle_ids[rows],
            solved=None if judge is None else solved,
        )

    def reference_run(
        self, runtime: StepRuntime, max_steps: int, report: Progress, known: Sequence[StepAnswer]
    ) -> Accuracy:
        """A free run of the reference or of a control, and further attempts at what it leaves unsolved.

        Args:
            runtime: computes.
            max_steps: maximum number of supervision steps.
            report: is given the number of puzzles that were solved.
            known: what it answers to the first puzzles after each step, which is not computed again.
        """
        schedule = self._schedule(max_steps)
        begun = first_attempts(known, schedule.limits(0))
        return self._solve(runtime, schedule, report, batch=REFERENCE_BATCH, begun=begun)

    def engine_run(self, runtime: Runtime, max_steps: int, report: Progress) -> Accuracy:
        """A free run of an engine, and further attempts at what it leaves unsolved.

        As many at a time as `run` takes, save that of an engine whose batches wait for their slowest puzzle the first
        ones share a batch: that halting inside of one is right would show nowhere else.
        """
        schedule = self._schedule(max_steps)
        begun: list[Finished] = []
        if not isinstance(runtime, StepRuntime):
            count = min(STEP_PUZZLES, len(self.tokens))
            together = executor(runtime, min(count, runtime.largest_batch or count))
            begun = solve_all(together, self.tokens[:count], schedule.limits(0), self.puzzle_ids[:count])
        return self._solve(runtime, schedule, report, batch=default_batch(runtime), begun=begun)

    def _schedule(self, max_steps: int) -> Schedule:
        return Schedule(attempts=self.attempts, attempt_steps=(max_steps,), halt_threshold=self.halt_threshold)

    def _solve(
        self, runtime: Runtime, schedule: Schedule, report: Progress, *, batch: int, begun: Sequence[Finished] = ()
    ) -> Accuracy:
        return accuracy.solve(
            runtime,
            self.tokens,
            schedule,
            judge=self.solved,
            puzzle=self.puzzle,
            puzzle_ids=self.puzzle_ids,
            batch=batch,
            begun=begun,
            report=report,
        )


def compare(
    reference: StepRuntime,
    controls: Sequence[StepRuntime],
    engines: Sequence[tuple[str, Runtime]],
    tokens: Int32,
    *,
    solved: Judge | None,
    max_steps: int,
    halt_threshold: float,
    puzzle_ids: Int32 | None = None,
    attempts: int = 1,
    puzzle: Puzzle | None = None,
    in_turn: bool = False,
    tolerance: Tolerance | None = None,
    report_work: Progress = lambda count: None,
    known: Known | None = None,
    recording: Recording | None = None,
) -> ParityReport:
    """Compare engines with a reference, beside ulp-perturbed controls.

    Args:
        reference: usually PyTorch float32 on the CPU, see `pytorch.reference_and_controls`.
        controls: the reference with its weights perturbed, at least one.
        engines: names and runtimes of the same model.
        tokens: int32 [N, L] questions.
        solved: tells from the answers int32 [N, L] which are right; None where nobody knows.
        max_steps: maximum number of supervision steps; an unrolled engine is compared at its own number.
        halt_threshold: as for `Runtime.solve`.
        puzzle_ids: int32 [N]; those of `puzzle_ids_of` where None.
        attempts: maximum number of attempts a puzzle, for the verified share.
        puzzle: the task; needed for more attempts than one.
        in_turn: whether the controls share the puzzles of the free run where these are more than those of the
            comparison of single steps, so that each is answered by one control. What the last bit decides is counted
            over puzzles, and to one of them several controls say little more than one does.
        tolerance: in place of the precisions' bounds on a teacher-forced step.
        report_work: is given the number of units of `work` that were done.
        known: a caller that compares one engine after the other with all else the same passes it again.
        recording: filled with what golden vectors are made of.

    Returns:
        The report; what failed is in it, nothing is raised for that.

    Raises:
        InputError: an engine whose precision is unknown, or with another halting threshold baked in.
        CheckpointError: the reference itself gives logits that are not numbers.
    """
    for name, engine in engines:
        if engine.precision not in BOUNDS:
            raise InputError(
                f"{name}: its precision is {engine.precision}, expected one of {', '.join(BOUNDS)}",
                hint="put its build record (the .json that export wrote) beside it",
            )
        check_threshold(engine.baked, halt_threshold)
    if puzzle_ids is None:
        puzzle_ids = puzzle_ids_of(tokens, reference.spec.task.puzzle_identifiers)
    questions = Questions(tokens, puzzle_ids, solved, puzzle, attempts, halt_threshold)
    limits = [engine.fixed_steps or max_steps for _, engine in engines]
    runs = {} if known is None else known.runs

    def free_runs(limit: int) -> list[Accuracy]:
        if limit not in runs:
            known_answers = [outputs.to_answer() for outputs in reference_outputs]
            runs[limit] = [questions.reference_run(reference, limit, report_work, known_answers), *control_runs(limit)]
        return runs[limit]

    def control_runs(limit: int) -> list[Accuracy]:
        step = len(controls) if shared else 1
        found = []
        for number, (control, begun) in enumerate(zip(controls, perturbed)):
            start = number % step
            known_answers = [answers.every(step, start) for answers in begun.answers]
            found.append(questions.every(step, start).reference_run(control, limit, report_work, known_answers))
        return [_interleaved(found)] if shared else found

    batches = [engine.largest_batch for _, engine in engines if isinstance(engine, StepRuntime)]
    count = min([len(tokens), STEP_PUZZLES, *(batch for batch in batches if batch)])
    shared = _take_turns(in_turn, len(tokens))
    sample, sample_ids = tokens[:count], puzzle_ids[:count]
    reference_outputs, perturbed, compared = run_side_by_side(
        reference,
        controls,
        [engine for _, engine in engines if isinstance(engine, StepRuntime)],
        sample,
        sample_ids,
        steps=max([max_steps, *limits]),
        block=REFERENCE_BATCH,
        rtol=tolerance.rtol if tolerance else 0.0,
        known=None if known is None else known.steps,
        on_step=(lambda step, expected: None) if recording is None else recording.keep,
    )
    report_work(count)
    _require_numbers(reference_outputs)
    trajectories = iter(compared)
    report = report_of(
        free_runs(max_steps),
        tokens,
        step_puzzles=count,
        step_controls=len(controls),
        max_steps=max_steps,
        halt_threshold=halt_threshold,
        attempts=attempts,
    )
    for (name, engine), limit in zip(engines, limits):
        bounds = BOUNDS[bounds_name(engine.precision, arithmetic_of(engine))]
        sensitivity = sensitivity_of(perturbed, None if isinstance(engine, StepRuntime) else 1)
        if isinstance(engine, StepRuntime):
            steps = teacher_forced(perturbed, next(trajectories), bounds, tolerance, sensitivity=sensitivity)
        else:
            steps = free_running(
                dict(enumerate(reference_outputs, start=1)),
                perturbed,
                engine,
                sample,
                sample_ids,
                steps_to_compare(engine, limit),
                bounds,
                tolerance,
                sensitivity=sensitivity,
            )
        run = questions.engine_run(engine, limit, report_work)
        report.engines.append(
            judge(
                name, engine, steps, run, free_runs(limit), bounds, limit=limit, max_steps=max_steps, attempts=attempts
            )
        )
        if recording is not None:
            recording.finish(tokens, puzzle_ids, free_runs(limit), perturbed)
    return report


def report_of(
    runs: Sequence[Accuracy],
    tokens: Int32,
    *,
    step_puzzles: int,
    step_controls: int,
    max_steps: int,
    halt_threshold: float,
    attempts: int = 1,
) -> ParityReport:
    """A report without engines: the free runs of the reference and of the controls, and what differs between them."""
    base, *others = runs
    return ParityReport(
        puzzles=len(tokens),
        questions_sha256=digest(tokens),
        step_puzzles=step_puzzles,
        step_controls=step_controls,
        max_steps=max_steps,
        halt_threshold=halt_threshold,
        attempts=attempts,
        reference=_summary(base, base),
        controls=[_summary(other, base) for other in others],
        noise=_noise(base, others),
    )


def judge(
    name: str,
    engine: Runtime,
    steps: tuple[list[StepDifference], list[Drift]],
    run: Accuracy,
    runs: Sequence[Accuracy],
    bounds: Bounds,
    *,
    limit: int,
    max_steps: int,
    attempts: int = 1,
) -> EngineParity:
    """What came of one engine.

    Args:
        name: what to call it.
        engine: says what it is.
        steps: its compared steps, and its drift.
        run: its free run.
        runs: those of the reference and the controls, of the same limit.
        bounds: of its precision.
        limit: supervision steps of its free run.
        max_steps: those of the whole comparison.
        attempts: maximum number of attempts a puzzle.
    """
    differences, drift = steps
    base, *others = runs
    free = _summary(run, base)
    beside = [_summary(other, base) for other in others]
    # Of a single draw nobody knows whether it is a lucky one. PyTorch itself is another.
    draws = beside if len(beside) > 1 else [*beside, _summary(base, base)]
    failures = step_failures(differences) + free_failures(
        free, draws, _noise(base, others), bounds, puzzles=len(run.steps), attempts=attempts
    )
    arithmetic = arithmetic_of(engine)
    return EngineParity(
        name=name,
        description=engine.description,
        precision=engine.precision,
        arithmetic=arithmetic,
        step_differences=differences,
        drift=drift,
        free=free,
        failures=failures,
        notes=_notes(engine, arithmetic, limit, max_steps) + _unjudged(free, beside, bounds),
    )


def _interleaved(parts: Sequence[Accuracy]) -> Accuracy:
    """One run, of which each part has every n-th puzzle, n being the number of parts."""

    def whole(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        if values[0] is None:
            return None
        joined = np.empty((sum(map(len, values)), *values[0].shape[1:]), values[0].dtype)
        for start, part in enumerate(values):
            joined[start :: len(parts)] = part
        return joined

    return Accuracy(**{entry.name: whole(entry.name) for entry in fields(Accuracy)})


def _take_turns(in_turn: bool, puzzles: int) -> bool:
    """Whether controls that may share the puzzles do: what each has answered step by step costs nothing."""
    return in_turn and puzzles > STEP_PUZZLES


def work(puzzles: int, engines: int, controls: int, *, in_turn: bool = False) -> int:
    """Units of work that `compare` reports, where no engine is unrolled to another number of steps."""
    runs = 1 if _take_turns(in_turn, puzzles) else controls
    return puzzles * (1 + runs + engines) + min(puzzles, STEP_PUZZLES)


def digest(tokens: Int32) -> str:
    """SHA-256 of questions int32 [N, L]: of the same puzzles in the same order it is the same on every machine."""
    return hashlib.sha256(f"{tokens.shape}".encode() + tokens.astype("<i4").tobytes()).hexdigest()


def _require_numbers(reference_outputs: Sequence[Outputs]) -> None:
    """Where the reference itself computes NaN, nothing an engine does could be wrong."""
    for step, outputs in enumerate(reference_outputs, start=1):
        if not (np.isfinite(outputs.logits).all() and np.isfinite(outputs.halt_logit).all()):
            raise CheckpointError(
                f"the checkpoint in PyTorch float32 gives logits that are not numbers in supervision step {step}",
                hint="its training diverged or its weights are damaged: take an earlier checkpoint",
            )


def arithmetic_of(runtime: Runtime) -> str | None:
    """What a runtime computes in where that is not its file's precision, as in "fp32 between casts"; else None."""
    return None if runtime.arithmetic == runtime.precision else runtime.arithmetic


def _notes(engine: Runtime, arithmetic: str | None, limit: int, max_steps: int) -> list[str]:
    notes, precision = [], engine.precision
    if engine.baked is not None:
        notes.append(
            "its step limit and threshold are baked in: each puzzle is compared after the step at which it halts"
        )
    if arithmetic is not None:
        held = bounds_name(precision, arithmetic)
        notes.append(
            f"this runtime computes in {arithmetic}: what is compared is the {precision} file as it runs here, which"
            f" is not {precision} parity and says nothing of hardware that computes in {precision}"
            + (f"; it is held to the bounds of {held}" if held != precision else "")
        )
    if limit != max_steps:
        fixed = "unrolled to" if engine.graph == "unrolled" else "takes up to"
        notes.append(f"{fixed} {limit} steps, and compared with PyTorch and its controls at {limit} steps")
    return notes


def _unjudged(free: FreeRun, controls: Sequence[FreeRun], bounds: Bounds) -> list[str]:
    """What a narrow precision changes where nobody knows which answers are right."""
    expected = min(control.same_answer for control in controls)
    if free.solved is not None or bounds.agreement is not None or free.same_answer >= expected:
        return []
    return [
        f"{free.same_answer:.1%} of the answers are PyTorch's, of a control's {expected:.1%} or more; no rule tells"
        " which are right, so whether the others are worse is not judged here"
    ]


def _summary(run: Accuracy, base: Accuracy) -> FreeRun:
    known = run.solved is not None and base.solved is not None
    return FreeRun(
        solved=accuracy.share(run.solved),
        verified=accuracy.share(run.verified),
        halted=float(run.halted.mean()),
        mean_steps=float(run.steps.mean()),
        same_answer=float(_same_answer(run, base).mean()),
        same_steps=float((run.steps == base.steps).mean()),
        steps=np.bincount(run.steps)[1:].tolist(),
        lost=_numbers(base.solved, run.solved) if known else None,
        gained=_numbers(run.solved, base.solved) if known else None,
    )


def _numbers(ours: Any, theirs: Any) -> list[int]:
    return [int(row) + 1 for row in np.flatnonzero(ours & ~theirs)]


def _same_answer(run: Accuracy, base: Accuracy) -> Bools:
    same: Bools = (run.answer == base.answer).all(1)
    return same


def _noise(base: Accuracy, others: Sequence[Accuracy]) -> Noise:
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
