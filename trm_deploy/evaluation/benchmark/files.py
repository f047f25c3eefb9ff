"""A benchmark of files."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from trm_deploy import puzzles as tasks
from trm_deploy.artefacts import record, shipped
from trm_deploy.errors import InputError
from trm_deploy.evaluation.benchmark.candidates import Candidate, candidates
from trm_deploy.evaluation.benchmark.measure import BenchmarkSettings, benchmark
from trm_deploy.evaluation.benchmark.report import BenchmarkReport
from trm_deploy.evaluation.defaults import REPEATS
from trm_deploy.evaluation.threshold import threshold_in_force
from trm_deploy.puzzles.base import Puzzle
from trm_deploy.puzzles.sampling import sample_questions
from trm_deploy.runtimes.base import Device
from trm_deploy.runtimes.solving.attempts import Schedule
from trm_deploy.runtimes.solving.session import SolveOptions, SolvingSession

logger = logging.getLogger(__name__)


def benchmark_files(
    files: Sequence[Path],
    *,
    puzzles: str | None = None,
    limit: int | None = None,
    repeats: int = REPEATS,
    batch: int | None = None,
    max_steps: int | None = None,
    options: SolveOptions | None = None,
    halt_threshold: float | None = None,
    overrides: Sequence[str] = (),
    device: Device = "cpu",
    allow_host_code: bool = False,
    only: Sequence[str] = (),
    input_format: str | None = None,
    column: str | None = None,
) -> BenchmarkReport:
    """Measure every way to run what files hold.

    Args:
        files: checkpoints, ONNX files and plans of one model; a checkpoint is measured in PyTorch and exported.
        puzzles: a file with puzzles; those that come with the package where None.
        limit: use the first N; all where None.
        repeats: number of times that each measurement in batches is repeated.
        batch: puzzles at a time; what is fastest of each where None.
        max_steps: maximum number of supervision steps of the measurements of one attempt; the model's own where None.
        options: the schedule of the measurement of verified puzzles, see `schedule_in_force`, and whether idle slots
            compute attempts ahead of their turn.
        halt_threshold: that in force where None, see `threshold_in_force`.
        overrides: KEY=VALUE, see `trm_deploy.checkpoints.published.parse_overrides`.
        device: where to run.
        allow_host_code: see `trm_deploy.runtimes.load`.
        only: names of the rows to measure; all where empty.
        input_format, column: of the file with puzzles, see `trm_deploy.puzzles.questions`.

    Raises:
        InputError: a file cannot be read, or the model's task has no rules to tell right answers by.
        CannotRunHere: a file needs a package or device that is missing.
    """
    files = [shipped.local(file, "checkpoint") for file in files]
    with tempfile.TemporaryDirectory(prefix="trm-deploy-") as folder:
        found = candidates(
            files,
            folder=Path(folder),
            overrides=overrides,
            device=device,
            batch=batch,
            allow_host_code=allow_host_code,
            only=only,
        )
        for note in found.notes:
            logger.warning("%s", note)
        spec = found.spec
        if not spec.task.name or not tasks.get(spec.task.name).has_rules:
            raise InputError(
                f"{files[0]}: no rules tell which answers to {spec.task.name or 'a task without a name'} are right",
                hint="benchmark a model whose task is a Sudoku or a maze",
            )
        puzzle = tasks.get(spec.task.name)
        options = replace(options or SolveOptions(), halt_threshold=threshold_in_force(halt_threshold, files, spec))
        settings = BenchmarkSettings(
            repeats=repeats,
            max_steps=max_steps or spec.halting.max_steps,
            halt_threshold=options.halt_threshold or 0.0,
            device=device,
            schedules={row.name: schedule_in_force(row, files, puzzle, options) for row in found.found},
            speculate=options.speculate,
        )
        tokens = sample_questions(
            spec.task.name,
            spec.task.sequence_length,
            len(spec.task.vocabulary),
            puzzles,
            limit,
            input_format=input_format,
            column=column,
        )
        return benchmark(found.found, puzzle, tokens, settings)


def schedule_in_force(
    candidate: Candidate, files: Sequence[Path], puzzle: Puzzle, options: SolveOptions
) -> Schedule | None:
    """The schedule by which a candidate solves puzzles: as `run` would choose it.

    The flags decide; else the candidate's own build record, else the first record with a schedule beside one of the
    files, so that what is made of a checkpoint is compared with the file that is shipped; else the task's default. An
    unrolled file keeps its own number of steps.

    Returns:
        None for a candidate that solves puzzles as the published evaluation does, in one attempt.

    Raises:
        InputError: steps that an unrolled file cannot keep.
        ArtefactError: a record that cannot be read.
    """
    if candidate.way == "fixed":
        return None
    own = [] if candidate.path is None else [candidate.path]
    others = files if candidate.runtime.fixed_steps is None else ()
    records = (record.read_matching(path) for path in (*own, *others) if not path.is_dir())
    built = next((found for found in records if found is not None and found.schedule is not None), None)
    session = SolvingSession(candidate.path or files[0], candidate.runtime, puzzle, built)
    return session.schedule(options)
