"""The comparison of files: a checkpoint, engines made from it, and the puzzles to compare them on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trm_deploy
from trm_deploy import checkpoints
from trm_deploy import puzzles as tasks
from trm_deploy.artefacts import onnx_file, shipped
from trm_deploy.artefacts.kind import Kind, is_checkpoint
from trm_deploy.checkpoints import Checkpoint
from trm_deploy.errors import CannotRunHere, InputError
from trm_deploy.evaluation.accuracy import by_rules
from trm_deploy.evaluation.defaults import ATTEMPTS, CONTROLS
from trm_deploy.evaluation.parity import baseline as baselines
from trm_deploy.evaluation.parity.compare import compare, digest, work
from trm_deploy.evaluation.parity.judged_steps import Tolerance
from trm_deploy.evaluation.parity.pytorch import reference_and_controls
from trm_deploy.evaluation.parity.report import NotCompared, ParityReport
from trm_deploy.evaluation.parity.same_model import require_same_model
from trm_deploy.evaluation.threshold import threshold_in_force
from trm_deploy.puzzles.base import Puzzle
from trm_deploy.puzzles.sampling import sample_questions
from trm_deploy.runtimes import load, registry
from trm_deploy.runtimes.backends.pytorch import TorchRuntime
from trm_deploy.runtimes.base import Device, Runtime
from trm_deploy.signature import Precision
from trm_deploy.support import machine
from trm_deploy.support.progress import progress


@dataclass(frozen=True)
class ParitySettings:
    """How files are compared.

    Attributes:
        puzzles: a file with puzzles; those that come with the package where None.
        input_format, column: of that file, see `trm_deploy.puzzles.questions`.
        limit: use the first N puzzles; all where None.
        max_steps: maximum number of supervision steps; the checkpoint's own where None.
        halt_threshold: that in force where None, see `threshold_in_force`.
        controls: number of ulp-perturbed controls, each of which answers every puzzle; None: `CONTROLS`, which share
            the puzzles of the free run, see `compare`.
        attempts: maximum number of attempts a puzzle, under its symmetries, for the verified share.
        baseline: the report.json of the last accepted comparison, see `trm_deploy.evaluation.parity.baseline`.
        atol, rtol: in place of the precisions' bounds on a teacher-forced step, see `Tolerance`; where one is given,
            the other is 0.
        precision, compiled: how PyTorch runs the engines that are checkpoints, the reference itself for one;
            `precision` also what a `runtime` computes exported files in, where it can be told.
        runtime: name of the back end for the exported files; the default of each one's kind where None.
    """

    puzzles: str | None = None
    limit: int | None = None
    max_steps: int | None = None
    halt_threshold: float | None = None
    controls: int | None = None
    attempts: int = ATTEMPTS
    baseline: Path | None = None
    atol: float | None = None
    rtol: float | None = None
    precision: Precision | None = None
    compiled: bool = False
    runtime: str | None = None
    input_format: str | None = None
    column: str | None = None

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
    overrides: Sequence[str] = (),
    device: Device = "cpu",
    allow_host_code: bool = False,
    **how: Any,
) -> ParityReport:
    """`compare` for files.

    An engine that cannot run here does not end the comparison of the others: `ParityReport.not_compared` names it.

    Args:
        checkpoint: the reference.
        engines: artefacts of the same model.
        overrides: KEY=VALUE, see `trm_deploy.checkpoints.published.parse_overrides`.
        device: where the engines run; the reference runs on the CPU, a plan on the GPU.
        allow_host_code: see `trm_deploy.runtimes.load`.
        how: see `ParitySettings`.

    Raises:
        InputError: a file cannot be read, an engine is of another model, a setting makes no sense, or the baseline is
            of another comparison.
        CannotRunHere: none of the engines can run here.
    """
    checkpoint, engines = shipped.local(checkpoint, "checkpoint"), [shipped.local(engine) for engine in engines]
    settings = ParitySettings(**how)
    tolerance = settings.tolerance()
    accepted = None if settings.baseline is None else baselines.read(settings.baseline)
    loaded = checkpoints.load(checkpoint, overrides)
    _check_torch_flags(checkpoint, engines, settings)
    runtimes, not_compared = _load_engines(engines, loaded, settings, overrides, device, allow_host_code)
    task = loaded.spec.task
    tokens = sample_questions(
        task.name,
        task.sequence_length,
        len(task.vocabulary),
        settings.puzzles,
        settings.limit,
        input_format=settings.input_format,
        column=settings.column,
    )
    puzzle = _task_with_rules(loaded)
    if settings.attempts > 1 and puzzle is None:
        raise InputError(
            f"--attempts {settings.attempts}: the checkpoint's task has no rules that verify an answer",
            hint="leave out --attempts",
        )
    max_steps = settings.max_steps or loaded.spec.halting.max_steps
    halt_threshold = threshold_in_force(settings.halt_threshold, engines, loaded.spec)
    if accepted is not None:
        accepted.refuse_other(
            {
                "questions_sha256": digest(tokens),
                "puzzles": len(tokens),
                "max_steps": max_steps,
                "halt_threshold": halt_threshold,
                "attempts": settings.attempts,
            },
            [name for name, _ in runtimes],
        )
    in_turn, controls = settings.controls is None, settings.controls or CONTROLS
    units = work(len(tokens), len(runtimes), controls, in_turn=in_turn)
    with progress("comparing", units, unit="puzzles") as advance:
        report = compare(
            *reference_and_controls(loaded.model(), controls),
            runtimes,
            tokens,
            solved=by_rules(puzzle, tokens),
            max_steps=max_steps,
            halt_threshold=halt_threshold,
            attempts=settings.attempts,
            puzzle=puzzle,
            in_turn=in_turn,
            tolerance=tolerance,
            report_work=advance,
        )
    changed = {str(path) for path in engines if path.is_file() and onnx_file.is_changed(path)}
    for engine in report.engines:
        if engine.name in changed:
            engine.notes.append(onnx_file.CHANGED)
    report.not_compared.extend(not_compared)
    report.sources.update(_sources(checkpoint, loaded, settings.puzzles))
    return report if accepted is None else accepted.judge(report)


def _check_torch_flags(checkpoint: Path, engines: Sequence[Path], settings: ParitySettings) -> None:
    """Refuse --precision and --compile where no engine is a checkpoint, and --runtime where all are."""
    if all(is_checkpoint(path) for path in engines):
        registry.choose(engines[0], Kind.checkpoint, settings.runtime)
    told = settings.runtime is not None and bool(registry.get(settings.runtime).arithmetics)
    if (settings.compiled or (settings.precision and not told)) and not any(is_checkpoint(path) for path in engines):
        flag = "--precision" if settings.precision else "--compile"
        raise InputError(
            f"{flag} is for a checkpoint as an engine: an exported file has its own",
            hint=f"leave it out, or type: trm-deploy parity {checkpoint} {checkpoint} {flag} ...",
        )


def _load_engines(
    engines: Sequence[Path],
    loaded: Checkpoint,
    settings: ParitySettings,
    overrides: Sequence[str],
    device: Device,
    allow_host_code: bool,
) -> tuple[list[tuple[str, Runtime]], list[NotCompared]]:
    """The engines that can run here, and those that cannot; raises as the last of them where none can."""
    runtimes: list[tuple[str, Runtime]] = []
    not_compared: list[NotCompared] = []
    refused: CannotRunHere | None = None
    for path in engines:
        try:
            if is_checkpoint(path):
                other = checkpoints.load(path, overrides)
                require_same_model(path, other.spec, loaded)
                in_torch = TorchRuntime(
                    other.model(), device=device, precision=settings.precision or "fp32", compiled=settings.compiled
                )
                runtimes.append((f"{path} in {in_torch.description}", in_torch))
            else:
                precision = settings.precision if settings.runtime else None
                engine = load_engine(
                    path, loaded, device, allow_host_code=allow_host_code, runtime=settings.runtime, precision=precision
                )
                runtimes.append((str(path), engine))
        except CannotRunHere as error:
            refused = error
            not_compared.append(NotCompared(str(path), str(error)))
    if refused is not None and not runtimes:
        raise refused
    return runtimes, not_compared


def _sources(checkpoint: Path, loaded: Checkpoint, puzzles: str | None) -> dict[str, Any]:
    return {
        "checkpoint": checkpoint.name,
        "checkpoint_sha256": loaded.sha256,
        "puzzles": "those that come with the package" if puzzles is None else Path(puzzles).name,
        "versions": {"trm-deploy": trm_deploy.__version__, **machine.versions(registry.packages())},
    }


def load_engine(
    path: Path,
    loaded: Checkpoint,
    device: Device,
    *,
    allow_host_code: bool,
    runtime: str | None = None,
    precision: Precision | None = None,
) -> Runtime:
    """The runtime of an artefact that is to be compared with a checkpoint; see `trm_deploy.runtimes.load`.

    Raises:
        ArtefactError: it cannot be read, or is of another model.
        CannotRunHere: this machine cannot run it.
    """
    engine = load(path, runtime, device=device, allow_host_code=allow_host_code, precision=precision)
    require_same_model(path, engine.spec, loaded)
    return engine


def _task_with_rules(loaded: Checkpoint) -> Puzzle | None:
    """The checkpoint's task; None where nothing names it, or it has no rules."""
    puzzle = tasks.get(loaded.spec.task.name) if loaded.spec.task.name else None
    return puzzle if puzzle is not None and puzzle.has_rules else None
