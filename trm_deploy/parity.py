"""Does an engine compute what PyTorch computes? Compares runtimes step by step and in solved puzzles.

A recursive network feeds its own rounding back hundreds of times. On puzzles that the model cannot solve, two sound
float32 runtimes drift apart to whole logits within 16 steps, so raw logits after a free run say nothing. Parity has
two parts instead:

same state in   every step of the engine starts from PyTorch's y and z, so that rounding cannot add up: bounds on the
                logits. Needs the step form. Of a loop or unrolled engine only the first step starts from a known
                state; its later steps are measured against the control's drift.
free running    solved share, steps and agreement with PyTorch, against a control: PyTorch float32 with every weight
                moved by one unit in the last place. What that much noise does to the model is not the engine's fault.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trm_deploy import checkpoint as checkpoints
from trm_deploy import puzzles as tasks
from trm_deploy.checkpoint import Checkpoint
from trm_deploy.errors import ArtefactError, InputError
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.parity_report import EngineParity, FreeRun, Report, StepDifference
from trm_deploy.progress import progress
from trm_deploy.runtimes import load
from trm_deploy.runtimes.base import (
    Device,
    Float32,
    Int32,
    Runtime,
    Solution,
    StepResult,
    StepRuntime,
    initial_numpy_state,
)
from trm_deploy.runtimes.batching import solve_in_batches
from trm_deploy.runtimes.torch_runtime import TorchRuntime
from trm_deploy.runtimes.varied import varied, varied_steps

BATCH = 32
# Puzzles for the comparison of single steps; every one of them costs N_sup steps in each runtime.
STEP_PUZZLES = 32


@dataclass(frozen=True)
class Bounds:
    """What an engine may differ by.

    Attributes:
        logits: largest absolute difference of a logit (answer or halting) or of the state, in one step from the same
            state.
        sensitivity: times the largest difference that a control shows in one step from the same state; holds in place
            of `logits` where it is more. A step of many recursions amplifies the last bit by itself: the shipped
            model, with T = 8, by up to 3e-4 (measured).
        drift: of a loop engine's later steps: times the control's drift, in the median over puzzles.
        solved: points of the solved share that the engine may lie below the worst control, beside scatter.
        agreement: points of the share of puzzles with PyTorch's answer and steps that it may lie below the worst
            control, beside scatter; None where a control, which is float32, says nothing of them: the last bits decide
            about wrong answers, and a narrower precision has fewer. The share that halts is held to `solved` then.
    """

    logits: float
    sensitivity: float
    drift: float
    solved: float
    agreement: float | None

    def of_a_step(self, sensitivity: float) -> float:
        """What one step from the same state may differ by, of a model that a control differs from by `sensitivity`."""
        return max(self.logits, self.sensitivity * sensitivity)


# Standard deviations by which the number of puzzles that noise decides about may scatter between two runs.
SCATTER = 2.0

FP16_ULPS = 2.0**13
BF16_ULPS = 2.0**16

BOUNDS: dict[str, Bounds] = {
    # One float32 step differs by 3e-5 between PyTorch and ONNX Runtime (measured); 1e-4 leaves room for other
    # processors' sums. A control moves weights, an engine every intermediate result, hence ten times its drift.
    "fp32": Bounds(logits=1e-4, sensitivity=2.0, drift=10.0, solved=0.5, agreement=1.0),
    # float16's last bit weighs FP16_ULPS of float32's, and so may what follows from it. The shipped model, whose
    # controls differ by up to 3e-4 in one step, differed by up to 0.6, in the median over puzzles by 0.03 (measured).
    "fp16": Bounds(logits=0.1, sensitivity=FP16_ULPS, drift=10 * FP16_ULPS, solved=2.0, agreement=None),
    # bfloat16 has three bits fewer than float16. The shipped model differed by 0.2 in the first step (measured).
    "bf16": Bounds(logits=0.5, sensitivity=BF16_ULPS, drift=10 * BF16_ULPS, solved=0.5, agreement=None),
    # An int8 value has as many bits as a bfloat16, but its last one weighs as much as the row's largest value has it
    # weigh, and few values are that large: twice as much is allowed for. The shipped model differed by 1.3 in the first
    # step (measured). How many puzzles it may lose is the project's goal, a point.
    "int8": Bounds(logits=2.0, sensitivity=2 * BF16_ULPS, drift=20 * BF16_ULPS, solved=1.0, agreement=None),
}


Solved = Callable[[Int32], NDArray[np.bool_]]
Progress = Callable[[int], None]


def compare(
    model: RecursiveReasoner,
    engines: Sequence[tuple[str, Runtime]],
    tokens: Int32,
    *,
    solved: Solved | None,
    max_steps: int,
    halt_threshold: float,
    controls: int = 3,
    report_work: Progress = lambda count: None,
    known: dict[int, tuple[Solution, list[Solution]]] | None = None,
) -> Report:
    """Compare engines with PyTorch.

    Args:
        model: the reference, float32 on the CPU.
        engines: names and runtimes of the same model.
        tokens: int32 [N, L] questions; each is asked of a puzzle id of its own.
        solved: tells from the answers int32 [N, L] which are right; None where nobody knows.
        max_steps: supervision steps at the most; an unrolled engine is compared at its own number.
        halt_threshold: as for `Runtime.solve`.
        controls: how many times the weights are moved.
        report_work: is told how many units of `work` were done.
        known: filled with the runs of the reference and the controls, by their step limit; a caller that compares
            one engine after the other with all else the same passes it again.

    Returns:
        The report; what failed is in it, nothing is raised for that.
    """
    reference = varied_steps(TorchRuntime(model))
    moved = [varied_steps(TorchRuntime(moved_by_one_ulp(model, seed))) for seed in range(controls)]
    engines = [(name, varied(engine)) for name, engine in engines]
    runs = {} if known is None else known

    def free_run(limit: int) -> tuple[Solution, list[Solution]]:
        if limit not in runs:
            solutions = []
            for runtime in (reference, *moved):
                solutions.append(_solve(runtime, tokens, limit, halt_threshold))
                report_work(1)
            runs[limit] = (solutions[0], solutions[1:])
        return runs[limit]

    base, control_solutions = free_run(max_steps)
    report = Report(
        puzzles=len(tokens),
        max_steps=max_steps,
        halt_threshold=halt_threshold,
        reference=_summary(base, base, solved, halt_threshold),
        controls=[_summary(solution, base, solved, halt_threshold) for solution in control_solutions],
    )
    sample = tokens[:STEP_PUZZLES]
    for name, engine in engines:
        limit = engine.fixed_steps or max_steps
        if engine.precision not in BOUNDS:
            raise InputError(
                f"{name}: its precision is {engine.precision}, expected one of {', '.join(BOUNDS)}",
                hint="put its build record (the .json that export wrote) beside it",
            )
        bounds = BOUNDS[engine.precision]
        if isinstance(engine, StepRuntime):
            differences = _same_state(reference, moved, engine, sample[: engine.largest_batch], limit, bounds)
        else:
            differences = _free_steps(reference, moved, engine, sample, limit, bounds)
        report_work(1)
        base, control_solutions = free_run(limit)
        solution = _solve(engine, tokens, limit, halt_threshold)
        report_work(1)
        free = _summary(solution, base, solved, halt_threshold)
        expected = [_summary(control, base, solved, halt_threshold) for control in control_solutions]
        failures = _step_failures(differences) + _free_failures(free, expected, bounds, len(tokens))
        report.engines.append(EngineParity(name, engine.description, differences, free, failures))
    return report


def work(engines: int, controls: int) -> int:
    """Units of work that `compare` reports, where no engine is unrolled to another number of steps."""
    return 1 + controls + 2 * engines


def compare_files(
    checkpoint: Path,
    engines: Sequence[Path],
    *,
    puzzles: str | None = None,
    limit: int | None = None,
    max_steps: int | None = None,
    halt_threshold: float | None = None,
    settings: Sequence[str] = (),
    device: Device = "cpu",
    allow_host_code: bool = False,
) -> Report:
    """`compare` for files.

    Args:
        checkpoint: the reference.
        engines: artefacts of the same model.
        puzzles: a file with puzzles; those that come with the package where None.
        limit: use the first so many.
        max_steps, halt_threshold: those of the checkpoint's spec where None.
        settings: KEY=VALUE, see `trm_deploy.published.parse_flags`.
        device: where the engines run; the reference runs on the CPU, a plan on the GPU.
        allow_host_code: see `trm_deploy.runtimes.load`.

    Raises:
        InputError: a file cannot be read, or an engine is of another model.
    """
    loaded = checkpoints.load(checkpoint, settings)
    runtimes = [(str(path), _load_engine(path, loaded, device, allow_host_code=allow_host_code)) for path in engines]
    tokens = questions(loaded, puzzles, limit)
    controls = 3
    with progress("comparing", work(len(engines), controls), unit="runs") as advance:
        return compare(
            loaded.model(),
            runtimes,
            tokens,
            solved=_rules(loaded, tokens),
            max_steps=max_steps or loaded.spec.halting.max_steps,
            halt_threshold=loaded.spec.halting.threshold if halt_threshold is None else halt_threshold,
            controls=controls,
            report_work=advance,
        )


# What the check after an export may cost, in GFLOP: about five seconds on two cores.
EXPORT_BUDGET = 800.0
# Puzzles below which steps are given up instead.
FEW_PUZZLES = 4


def affordable(model: RecursiveReasoner, puzzles: int, max_steps: int) -> tuple[int, int]:
    """How many puzzles and steps of `compare` with one engine and one control stay within `EXPORT_BUDGET`.

    All of them for a small model; a large one gives up puzzles first, then steps. At least one puzzle and two steps.
    """
    spec = model.spec
    weights = sum(weight.numel() for weight in model.networks.parameters()) / len(model.networks)
    # GFLOP of one network call on one puzzle: a multiplication and an addition a weight and position; attention's two
    # products of positions by positions, which are most of a small network on a long question, besides.
    call = 2e-9 * weights * model.positions
    if spec.architecture.mixer == "attention":
        call += 4e-9 * model.positions**2 * spec.architecture.hidden_size * spec.architecture.layers
    step = call * spec.recursion.network_calls
    steps = max_steps
    while True:
        # Free runs and trajectories of reference, control and engine, and the engine's first 1, 2, 4 ... steps.
        count = int(EXPORT_BUDGET / (step * 7 * steps))
        if count >= min(FEW_PUZZLES, puzzles) or steps <= 2:
            return min(puzzles, max(count, 1)), steps
        steps //= 2


def verify_export(loaded: Checkpoint, engine: Path, name: str) -> Report:
    """The check after every export: a few puzzles that come with the package, one control.

    A large model gets fewer puzzles and steps, see `affordable`; the report says how many.
    """
    model = loaded.model()
    tokens = questions(loaded, None, None)
    count, steps = affordable(model, len(tokens), loaded.spec.halting.max_steps)
    tokens = tokens[:count]
    return compare(
        model,
        [(name, _load_engine(engine, loaded, "cpu", allow_host_code=True))],  # it was built a moment ago
        tokens,
        solved=_rules(loaded, tokens),
        max_steps=steps,
        halt_threshold=loaded.spec.halting.threshold,
        controls=1,
    )


def _load_engine(path: Path, loaded: Checkpoint, device: Device, *, allow_host_code: bool) -> Runtime:
    runtime = load(path, device=device, allow_host_code=allow_host_code)
    ours, theirs = loaded.spec.to_json(), runtime.spec.to_json()
    if ours != theirs:
        given = "give both the same --set flags" if loaded.settings else None
        raise ArtefactError(f"{path}: is of another model than the checkpoint (their specs differ)", hint=given)
    return runtime


# Random tokens stand in for puzzles where nothing names the task.
RANDOM_PUZZLES = 16


def questions(loaded: Checkpoint, file: str | None, limit: int | None) -> Int32:
    """int32 [N, L]: the puzzles of a file, else the task's examples, else random tokens where nothing names the task.

    Raises:
        InputError: a puzzle that cannot be read, or a file for a model whose task nothing names.
    """
    task = loaded.spec.task
    if not task.name:
        if file is not None:
            raise InputError(
                f"{file}: the checkpoint names no task, so puzzles cannot be read", hint="leave out --puzzles"
            )
        shape = (min(limit or RANDOM_PUZZLES, RANDOM_PUZZLES), task.sequence_length)
        return np.random.default_rng(0).integers(len(task.vocabulary), size=shape).astype(np.int32)
    puzzle = tasks.get(task.name)
    if file is None:
        return puzzle.examples()[:limit]
    found = list(itertools.islice(tasks.questions(file, puzzle), limit))
    for question in found:
        if question.tokens is None:
            raise InputError(question.error)
    return np.stack([question.tokens for question in found if question.tokens is not None])


def _rules(loaded: Checkpoint, tokens: Int32) -> Solved | None:
    """Tells which answers obey the task's rules; None where nothing names the task, or it has none."""
    if not loaded.spec.task.name:
        return None
    puzzle = tasks.get(loaded.spec.task.name)
    if not puzzle.has_rules:
        return None

    def solved(answers: Int32) -> NDArray[np.bool_]:
        return np.array([not puzzle.answer_faults(*pair) for pair in zip(tokens, answers)])

    return solved


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


def _solve(runtime: Runtime, tokens: Int32, max_steps: int, halt_threshold: float) -> Solution:
    return solve_in_batches(runtime.solve, tokens, batch_size=BATCH, max_steps=max_steps, halt_threshold=halt_threshold)


def _summary(
    solution: Solution,
    base: Solution,
    solved: Solved | None,
    halt_threshold: float,
) -> FreeRun:
    return FreeRun(
        solved=None if solved is None else float(solved(solution.answer).mean()),
        halted=float((solution.halt_logit > halt_threshold).mean()),
        mean_steps=float(solution.steps.mean()),
        same_answer=float((solution.answer == base.answer).all(1).mean()),
        same_steps=float((solution.steps == base.steps).mean()),
        steps=np.bincount(solution.steps)[1:].tolist(),
    )


def _same_state(
    reference: StepRuntime,
    controls: list[StepRuntime],
    engine: StepRuntime,
    tokens: Int32,
    max_steps: int,
    bounds: Bounds,
) -> list[StepDifference]:
    """Every step of the engine from PyTorch's state."""
    found = []
    sensitivity = 0.0
    y, z = initial_numpy_state(reference.spec, len(tokens))
    for step in range(1, max_steps + 1):
        reset = np.full(len(tokens), step == 1)
        expected = reference.step(tokens, reset, y, z)
        found.append((step, *_step_difference(expected, engine.step(tokens, reset, y, z))))
        for control in controls:
            largest, _ = _step_difference(expected, control.step(tokens, reset, y, z))
            sensitivity = max(sensitivity, _largest_of(largest))
        y, z = _host(expected.y), _host(expected.z)
    bound = bounds.of_a_step(sensitivity)
    differences = []
    for step, largest, where in found:
        top = _largest_of(largest)
        differences.append(
            StepDifference(step, True, top, float(np.median(largest)), 0.0, where, bound, bool(top <= bound))
        )
    return differences


def _step_difference(expected: StepResult, actual: StepResult) -> tuple[Float32, str]:
    """Each puzzle's largest difference of a logit or of the state, float32 [B], and the place of the largest of all."""
    largest, where = _largest(expected, actual)
    # A state that is off would show in the logits only one step later, and after the last step never.
    for name, ours, theirs in (("y", expected.y, actual.y), ("z", expected.z, actual.z)):
        state = np.abs(_host(ours) - _host(theirs)).max((1, 2))
        if not _largest_of(state) <= _largest_of(largest):
            where = f"puzzle {_argmax(state) + 1}, state {name}"
        largest = np.maximum(largest, state)
    return largest, where


def _host(result: Any) -> NDArray[Any]:
    """A result's values: numpy has no way to PyTorch's tensors on a GPU."""
    return np.asarray(result.cpu() if hasattr(result, "cpu") else result)


def _free_steps(
    reference: StepRuntime,
    controls: list[StepRuntime],
    engine: Runtime,
    tokens: Int32,
    max_steps: int,
    bounds: Bounds,
) -> list[StepDifference]:
    """The first k steps of a loop engine with halting off, for k = 1, 2, 4 ...; of an unrolled one for its own k."""
    expected, moved = (_trajectory(runtime, tokens, max_steps) for runtime in (reference, controls[0]))
    first_steps = [moved, *(_trajectory(control, tokens, 1) for control in controls[1:])]
    sensitivity = max(_largest_of(_largest(expected[0], first[0])[0]) for first in first_steps)
    differences = []
    for step in [max_steps] if engine.fixed_steps else _doubling(max_steps):
        actual = _solve(engine, tokens, step, math.inf)
        largest, where = _largest(expected[step - 1], actual)
        drift, _ = _largest(expected[step - 1], moved[step - 1])
        median, control_median = float(np.median(largest)), float(np.median(drift))
        bound = bounds.of_a_step(sensitivity) if step == 1 else max(bounds.logits, bounds.drift * control_median)
        checked = _largest_of(largest if step == 1 else np.array(median))
        differences.append(
            StepDifference(
                step, step == 1, _largest_of(largest), median, control_median, where, bound, bool(checked <= bound)
            )
        )
    return differences


def _doubling(last: int) -> list[int]:
    """1, 2, 4 ... and `last`."""
    return sorted({1 << k for k in range(last.bit_length())} | {last})


def _trajectory(runtime: StepRuntime, tokens: Int32, max_steps: int) -> list[StepResult]:
    """A free run with halting off, step by step."""
    results = []
    y, z = initial_numpy_state(runtime.spec, len(tokens))
    for step in range(1, max_steps + 1):
        results.append(runtime.step(tokens, np.full(len(tokens), step == 1), y, z))
        y, z = results[-1].y, results[-1].z
    return results


def _largest(expected: Any, actual: Any) -> tuple[Float32, str]:
    """Each puzzle's largest difference of a logit, float32 [B], and the place of the largest of all."""
    logits = np.abs(_host(expected.logits) - _host(actual.logits))  # [B, L, V]
    halting = np.abs(expected.halt_logit - actual.halt_logit)  # [B]
    per_puzzle = np.maximum(logits.max((1, 2)), halting)
    puzzle = _argmax(per_puzzle)
    if halting[puzzle] >= logits[puzzle].max():
        return per_puzzle, f"puzzle {puzzle + 1}, halting logit"
    cell, token = np.unravel_index(_argmax(logits[puzzle]), logits[puzzle].shape)
    return per_puzzle, f"puzzle {puzzle + 1}, cell {cell + 1}, token {token}"


def _argmax(values: NDArray[np.floating[Any]]) -> int:
    """Place of the largest value; one that is no number counts as infinite."""
    return int(np.argmax(np.nan_to_num(values, nan=np.inf)))


def _largest_of(values: NDArray[np.floating[Any]]) -> float:
    """The largest value; infinite where any is no number, so that no comparison lets it pass."""
    return float(np.nan_to_num(values, nan=np.inf).max())


def _step_failures(differences: list[StepDifference]) -> list[str]:
    failures = []
    for difference in differences:
        if not difference.passed:
            measured = difference.largest if difference.same_state else difference.median
            kind = "from the same state" if difference.same_state else "free running, median over puzzles"
            failures.append(
                f"step {difference.step}: differs by {measured:.2g} ({kind}) at {difference.where},"
                f" expected at most {difference.bound:.2g}"
            )
    return failures[:1]  # the first step that fails explains the rest


def _free_failures(free: FreeRun, controls: list[FreeRun], bounds: Bounds, puzzles: int) -> list[str]:
    failures = []

    def check(what: str, share: float, others: list[float], points: float, sensitive: float) -> None:
        # Where noise alone decides about some puzzles, their number scatters by its square root.
        allowed = points / 100 + SCATTER * math.sqrt(sensitive * puzzles) / puzzles
        if share < min(others) - allowed - 1e-9:
            failures.append(
                f"free running: {what} {share:.1%}, the control {min(others):.1%},"
                f" expected at most {100 * allowed:.1f} points below it"
            )

    # The share of puzzles that a control answers otherwise than PyTorch does: those that noise decides about.
    fickle = 1 - min(run.same_answer for run in controls)
    if free.solved is not None:
        solved = [run.solved for run in controls if run.solved is not None]
        check("solved", free.solved, solved, bounds.solved, fickle)
    if bounds.agreement is None:
        check("halted", free.halted, [run.halted for run in controls], bounds.solved, fickle)
        return failures
    for what, name in (("PyTorch's answer in", "same_answer"), ("PyTorch's number of steps in", "same_steps")):
        shares = [getattr(run, name) for run in controls]
        check(what, getattr(free, name), shares, bounds.agreement, 1 - min(shares))
    return failures
