"""The comparison of files: a checkpoint, engines made from it, and the puzzles to ask them."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import trm_deploy
from trm_deploy import checkpoints
from trm_deploy import puzzles as tasks
from trm_deploy.artefacts.kind import is_checkpoint
from trm_deploy.checkpoints import Checkpoint
from trm_deploy.errors import ArtefactError, InputError
from trm_deploy.evaluation.parity import baseline as baselines
from trm_deploy.evaluation.parity.compare import Solved, Tolerance, compare, digest, work
from trm_deploy.evaluation.parity.report import Report
from trm_deploy.flops import step_flops
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.puzzles.base import Puzzle
from trm_deploy.runtimes import load
from trm_deploy.runtimes.backends.pytorch import TorchRuntime
from trm_deploy.runtimes.base import Device, Int32, Runtime
from trm_deploy.signature import Precision
from trm_deploy.spec import ModelSpec
from trm_deploy.support.progress import progress


@dataclass(frozen=True)
class ParitySettings:
    """How files are compared.

    Attributes:
        puzzles: a file with puzzles; those that come with the package where None.
        limit: use the first so many.
        max_steps, halt_threshold: those of the checkpoint's spec where None.
        controls: how many times the weights are moved.
        attempts: tries a puzzle, under its symmetries, for the verified share.
        baseline: the report.json of the last accepted comparison, see `trm_deploy.evaluation.parity.baseline`.
        atol, rtol: in place of the precisions' bounds on a step from the same state, see `Tolerance`; where one is
            given, the other is 0.
        precision, compiled: how PyTorch runs the engines that are checkpoints, the reference itself for one.
    """

    puzzles: str | None = None
    limit: int | None = None
    max_steps: int | None = None
    halt_threshold: float | None = None
    controls: int = 3
    attempts: int = 1
    baseline: Path | None = None
    atol: float | None = None
    rtol: float | None = None
    precision: Precision | None = None
    compiled: bool = False

    def tolerance(self) -> Tolerance | None:
        """What --atol and --rtol say.

        Raises:
            InputError: not numbers of 0 or more.
        """
        for flag, value in (("--atol", self.atol), ("--rtol", self.rtol)):
            if value is not None and not 0 <= value < math.inf:
                raise InputError(f"{flag} is {value:g}, expected a number of 0 or more")
        return None if self.atol is None and self.rtol is None else Tolerance(self.atol or 0.0, self.rtol or 0.0)


def compare_files(
    checkpoint: Path,
    engines: Sequence[Path],
    *,
    settings: Sequence[str] = (),
    device: Device = "cpu",
    allow_host_code: bool = False,
    **how: Any,
) -> Report:
    """`compare` for files.

    Args:
        checkpoint: the reference.
        engines: artefacts of the same model.
        settings: KEY=VALUE, see `trm_deploy.checkpoints.published.parse_overrides`.
        device: where the engines run; the reference runs on the CPU, a plan on the GPU.
        allow_host_code: see `trm_deploy.runtimes.load`.
        how: see `ParitySettings`.

    Raises:
        InputError: a file cannot be read, an engine is of another model, a setting makes no sense, or the baseline is
            none of this comparison.
    """
    asked = ParitySettings(**how)
    tolerance = asked.tolerance()
    accepted = None if asked.baseline is None else baselines.read(asked.baseline)
    loaded = checkpoints.load(checkpoint, settings)
    runtimes: list[tuple[str, Runtime]] = []
    for path in engines:
        if is_checkpoint(path):
            other = checkpoints.load(path, settings)
            _require_same_model(path, other.spec, loaded)
            in_torch = TorchRuntime(
                other.model(), device=device, precision=asked.precision or "fp32", compiled=asked.compiled
            )
            runtimes.append((f"{path} in {in_torch.description}", in_torch))
        else:
            runtimes.append((str(path), _load_engine(path, loaded, device, allow_host_code=allow_host_code)))
    if (asked.precision or asked.compiled) and not any(isinstance(runtime, TorchRuntime) for _, runtime in runtimes):
        flag = "--precision" if asked.precision else "--compile"
        raise InputError(
            f"{flag} goes with a checkpoint as an engine: an exported file has its own",
            hint=f"leave it out, or type: trm-deploy parity {checkpoint} {checkpoint} {flag} ...",
        )
    tokens = questions(loaded, asked.puzzles, asked.limit)
    puzzle = _task_with_rules(loaded)
    if asked.attempts > 1 and puzzle is None:
        raise InputError(
            f"--attempts {asked.attempts}: the checkpoint's task has no rules that verify an answer",
            hint="leave out --attempts",
        )
    max_steps = asked.max_steps or loaded.spec.halting.max_steps
    halt_threshold = loaded.spec.halting.threshold if asked.halt_threshold is None else asked.halt_threshold
    if accepted is not None:
        accepted.refuse_other(
            {
                "questions_sha256": digest(tokens),
                "puzzles": len(tokens),
                "max_steps": max_steps,
                "halt_threshold": halt_threshold,
                "attempts": asked.attempts,
            },
            [name for name, _ in runtimes],
        )
    with progress("comparing", work(len(tokens), len(engines), asked.controls), unit="puzzles") as advance:
        report = compare(
            loaded.model(),
            runtimes,
            tokens,
            solved=_rules(puzzle, tokens),
            max_steps=max_steps,
            halt_threshold=halt_threshold,
            controls=asked.controls,
            attempts=asked.attempts,
            puzzle=puzzle,
            tolerance=tolerance,
            report_work=advance,
        )
    report.sources.update(_sources(checkpoint, loaded, asked.puzzles))
    return report if accepted is None else accepted.judge(report)


def _sources(checkpoint: Path, loaded: Checkpoint, puzzles: str | None) -> dict[str, Any]:
    versions = {"trm-deploy": trm_deploy.__version__}
    for package in ("torch", "numpy", "onnxruntime", "tensorrt", "tensorrt-rtx"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "checkpoint": checkpoint.name,
        "checkpoint_sha256": loaded.sha256,
        "puzzles": "those that come with the package" if puzzles is None else Path(puzzles).name,
        "versions": versions,
    }


# What the check after an export may cost, in GFLOP: about five seconds on two cores.
EXPORT_BUDGET = 800.0
# Puzzles below which steps are given up instead.
FEW_PUZZLES = 4


def affordable(model: RecursiveReasoner, puzzles: int, max_steps: int) -> tuple[int, int]:
    """How many puzzles and steps of `compare` with one engine and one control stay within `EXPORT_BUDGET`.

    All of them for a small model; a large one gives up puzzles first, then steps. At least one puzzle and two steps.
    """
    step = step_flops(model.spec) / 1e9
    steps = max_steps
    while True:
        # Free runs and trajectories of reference, control and engine, and the engine's first 1, 2, 4 ... steps.
        count = int(EXPORT_BUDGET / (step * 8 * steps))
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
        solved=_rules(_task_with_rules(loaded), tokens),
        max_steps=steps,
        halt_threshold=loaded.spec.halting.threshold,
        controls=1,
    )


def _load_engine(path: Path, loaded: Checkpoint, device: Device, *, allow_host_code: bool) -> Runtime:
    runtime = load(path, device=device, allow_host_code=allow_host_code)
    _require_same_model(path, runtime.spec, loaded)
    return runtime


def _require_same_model(path: Path, spec: ModelSpec, loaded: Checkpoint) -> None:
    if loaded.spec.model_json() != spec.model_json():
        given = "give both the same --set flags" if loaded.settings else None
        raise ArtefactError(f"{path}: is of another model than the checkpoint (their specs differ)", hint=given)


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
    return tasks.read_tokens(file, puzzle, limit)


def _task_with_rules(loaded: Checkpoint) -> Puzzle | None:
    """The checkpoint's task; None where nothing names it, or it has no rules."""
    puzzle = tasks.get(loaded.spec.task.name) if loaded.spec.task.name else None
    return puzzle if puzzle is not None and puzzle.has_rules else None


def _rules(puzzle: Puzzle | None, tokens: Int32) -> Solved | None:
    """Tells which answers obey the task's rules; None where there are none."""
    if puzzle is None:
        return None

    def solved(answers: Int32) -> NDArray[np.bool_]:
        return np.array([not puzzle.answer_faults(*pair) for pair in zip(tokens, answers)])

    return solved
