"""Replays the golden vectors beside an artefact in its own runtime. Needs neither PyTorch, onnx nor the checkpoint.

What PyTorch and its ulp-perturbed controls computed was recorded by the export (`trm_deploy.artefacts.golden`); the
functions that judge it, and the report that comes of it, are those of the comparison with PyTorch itself.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from trm_deploy import puzzles
from trm_deploy.artefacts import embeddings, golden, kind, onnx_file, shipped
from trm_deploy.artefacts.golden import GoldenVectors
from trm_deploy.artefacts.kind import Kind
from trm_deploy.errors import ArtefactError, InputError, SpecError
from trm_deploy.evaluation.accuracy import Accuracy, by_rules
from trm_deploy.evaluation.parity.bounds import Bounds
from trm_deploy.evaluation.parity.compare import Questions, judge, report_of
from trm_deploy.evaluation.parity.judged_steps import free_running, steps_to_compare, teacher_forced
from trm_deploy.evaluation.parity.recording import recorded_controls
from trm_deploy.evaluation.parity.rendering import number
from trm_deploy.evaluation.parity.report import Drift, FreeRun, ParityReport, StepDifference
from trm_deploy.evaluation.parity.steps import Outputs, Trajectory, difference, difference_of_outputs
from trm_deploy.runtimes import load
from trm_deploy.runtimes.base import Device, Runtime, StepResult, StepRuntime, initial_numpy_state
from trm_deploy.support import npy
from trm_deploy.support.plain import from_plain


def verify(
    path: Path, runtime: str | None = None, *, device: Device = "cpu", allow_host_code: bool = False
) -> ParityReport:
    """Whether an artefact computes here what PyTorch computed when it was exported.

    A step engine is teacher-forced: each recorded step starts from PyTorch's y and z. A loop engine runs to max_steps =
    1, 2, 4 ... with halting off, an unrolled one to its own steps; one whose limits are constants halts, and each
    puzzle is compared after its own number of steps. All of them are compared in the answers and steps of a free run.

    Args:
        path: the artefact, with its golden vectors beside it.
        runtime: a name in `trm_deploy.runtimes.registry`; the default of the kind of file where None.
        device: where to run it; a plan always runs on the GPU.
        allow_host_code: see `trm_deploy.runtimes.load`.

    Returns:
        The report, of one engine; what failed is in it, nothing is raised for that.

    Raises:
        InputError: a checkpoint, for which there is parity.
        ArtefactError: no golden vectors, or they are cut, altered, of a newer schema or of another model.
        CannotRunHere: the package or device that the artefact needs is missing.
    """
    path = shipped.local(path)
    if kind.of(path) is Kind.checkpoint:
        raise InputError(
            f"{path}: is a checkpoint, and verify replays in an exported file what the checkpoint computes",
            hint=f"to compare exported files with it, type: trm-deploy parity {path} FILE...",
        )
    golden.require(path)
    engine = load(path, runtime, device=device, allow_host_code=allow_host_code)
    vectors = golden.read_for(path, engine.spec, engine.graph, engine.precision)
    _check_table(path, vectors)
    try:
        bounds = from_plain(Bounds, vectors.meta.bounds, "meta.bounds")
    except SpecError as error:
        raise ArtefactError(f"{golden.path_of(path)}: {error}", hint=golden.AGAIN) from error
    report = replay(str(path), engine, vectors, bounds)
    if onnx_file.is_changed(path):
        report.engines[0].notes.append(onnx_file.CHANGED)
    return report


def replay(name: str, engine: Runtime, vectors: GoldenVectors, bounds: Bounds) -> ParityReport:
    """The report of one engine against golden vectors that fit it."""
    spec, meta = engine.spec, vectors.meta
    solved = by_rules(puzzles.get(spec.task.name) if spec.task.name else None, vectors.tokens)
    ids = np.zeros(len(vectors.tokens), np.int32) if vectors.puzzle_ids is None else vectors.puzzle_ids
    questions = Questions(vectors.tokens, ids, solved, None, 1, meta.halt_threshold)
    runs = [
        Accuracy(answer, steps, halted, right, right, np.ones_like(steps), steps)
        for answer, steps, halted in zip(vectors.answers, vectors.answer_steps, vectors.halted)
        for right in [None if solved is None else solved(answer)]
    ]
    step_form = isinstance(engine, StepRuntime)
    rows = min(vectors.recorded, (step_form and engine.largest_batch) or vectors.recorded)
    report = report_of(
        runs,
        vectors.tokens,
        step_puzzles=rows,
        step_controls=len(runs) - 1,
        max_steps=meta.max_steps,
        halt_threshold=meta.halt_threshold,
    )
    steps = _replay_steps(engine, vectors, bounds, rows)
    run = questions.engine_run(engine, meta.max_steps, lambda count: None)
    judged = judge(name, engine, steps, run, runs, bounds, limit=meta.max_steps, max_steps=meta.max_steps)
    report.engines.append(replace(judged, precision=meta.precision))
    report.sources.update(golden=golden.path_of(Path(name)).name, checkpoint_sha256=meta.checkpoint)
    return report


def _replay_steps(
    engine: Runtime, vectors: GoldenVectors, bounds: Bounds, rows: int
) -> tuple[list[StepDifference], list[Drift]]:
    """The recorded steps of an engine, on the first puzzles."""
    tokens = vectors.tokens[:rows]
    ids = None if vectors.puzzle_ids is None else vectors.puzzle_ids[:rows]
    controls = recorded_controls(vectors, rows)
    recorded = {
        int(step): Outputs(logits[:rows], halt_logits[:rows])
        for step, logits, halt_logits in zip(vectors.steps, vectors.logits, vectors.halt_logits)
    }
    if not isinstance(engine, StepRuntime):
        limit = vectors.meta.max_steps
        wanted = [step for step in steps_to_compare(engine, limit) if step in recorded]
        return free_running(
            recorded,
            controls,
            engine,
            tokens,
            np.zeros(rows, np.int32) if ids is None else ids,
            wanted,
            bounds,
            None,
            sensitivity=vectors.meta.sensitivity,
        )
    states = {int(step): (y[:rows], z[:rows]) for step, y, z in zip(vectors.state_steps, vectors.y, vectors.z)}
    forced = Trajectory()
    for step, expected in recorded.items():
        y, z = initial_numpy_state(engine.spec, rows) if step == 1 else states[step - 1]
        found = engine.step(tokens, np.full(rows, step == 1), y, z, ids)
        if step in states:
            whole = StepResult(*states[step], None, expected.halt_logit, expected.logits)
            forced.teacher_forced.append(difference(whole, found))
        else:  # where only the logits after it are recorded
            forced.teacher_forced.append(difference_of_outputs(expected, found))
    return teacher_forced(controls, forced, bounds, None, sensitivity=vectors.meta.sensitivity, steps=list(recorded))


def _check_table(path: Path, vectors: GoldenVectors) -> None:
    """Refuse a puzzle-embedding table whose rows are not those that PyTorch computed with."""
    if vectors.puzzle_embedding is None or vectors.puzzle_ids is None:
        return
    place = embeddings.path_of(path)
    if not np.array_equal(npy.open_array(place)[vectors.puzzle_ids], vectors.puzzle_embedding):
        raise ArtefactError(
            f"{place}: its rows are not those that {golden.path_of(path).name} was recorded with",
            hint="copy the files of one export together",
        )


def table(report: ParityReport) -> str:
    """The report of `verify` as text for a terminal."""
    (engine,) = report.engines
    lines = [
        f"{engine.name} ({engine.description})",
        f"{report.step_puzzles} puzzles step by step, {report.puzzles} in a free run of up to {report.max_steps} steps",
        "",
        f"{'step':>4}  {'starts from':20} {'largest':>9} {'bound':>9} {'median':>9} {'bound':>9}",
    ]
    for step in engine.step_differences:
        bounds = (step.bound, step.median_bound) if step.same_state else (None, step.bound)
        start = f"PyTorch's step {step.step - 1}" if step.same_state and step.step > 1 else "the question"
        # Teacher-forced, what is bounded is the larger of logits and state.
        largest = step.checked if step.same_state else step.largest
        numbers = (largest, bounds[0], step.median, bounds[1])
        shown = " ".join(f"{'-' if value is None else number(value):>9}" for value in numbers)
        lines.append(f"{step.step:>4}  {start:20} {shown}{'' if step.passed else '  FAILED'}")
    lines += ["", f"{'free run':32} {'solved':>7} {'halted':>7} {'same answer':>12} {'same steps':>11}"]
    for name, run in (*_runs(report), (engine.description, engine.free)):
        solved = "-" if run.solved is None else f"{run.solved:.1%}"
        lines.append(f"{name:32} {solved:>7} {run.halted:>7.1%} {run.same_answer:>12.1%} {run.same_steps:>11.1%}")
    lines += ["", *(f"note: {note}" for note in engine.notes)]
    lines += [f"FAILED {failure}" for failure in engine.failures] or ["verified: it computes what PyTorch computed"]
    return "\n".join(lines)


def _runs(report: ParityReport) -> list[tuple[str, FreeRun]]:
    rows = [("PyTorch fp32, as recorded", report.reference)]
    return rows + [(f"control {place} (weights 1 ulp off)", run) for place, run in enumerate(report.controls, start=1)]
