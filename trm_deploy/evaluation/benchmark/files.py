"""A benchmark of files."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from trm_deploy import puzzles as tasks
from trm_deploy.artefacts import record
from trm_deploy.errors import InputError
from trm_deploy.evaluation.benchmark.contestants import contestants, spec_of
from trm_deploy.evaluation.benchmark.measure import Settings, benchmark
from trm_deploy.evaluation.benchmark.report import Report
from trm_deploy.puzzles.base import Puzzle, Tokens
from trm_deploy.runtimes.base import Device


def benchmark_files(
    files: Sequence[Path],
    *,
    puzzles: str | None = None,
    limit: int | None = None,
    repeats: int = 3,
    batch: int | None = None,
    max_steps: int | None = None,
    halt_threshold: float | None = None,
    settings: Sequence[str] = (),
    device: Device = "cpu",
    allow_host_code: bool = False,
    only: Sequence[str] = (),
) -> Report:
    """Measure every way to run what files hold.

    Args:
        files: checkpoints, ONNX files and plans of one model; a checkpoint is measured in PyTorch and exported.
        puzzles: a file with puzzles; those that come with the package where None.
        limit: use the first so many.
        repeats: of the measurements in batches.
        batch: puzzles at a time; what is fastest of each where None.
        max_steps, halt_threshold: those of the first file where None.
        settings: KEY=VALUE, see `trm_deploy.checkpoints.published.parse_overrides`.
        device: where to run.
        allow_host_code: see `trm_deploy.runtimes.load`.
        only: names of the rows to measure; all where empty.

    Raises:
        InputError: a file cannot be read, or the model's task has no rules to tell right answers by.
        CannotRunHere: a file needs a package or device that is missing.
    """
    with tempfile.TemporaryDirectory(prefix="trm-deploy-") as folder:
        found = contestants(
            files,
            folder=Path(folder),
            settings=settings,
            device=device,
            batch=batch,
            allow_host_code=allow_host_code,
            only=only,
        )
        spec = spec_of(found)
        if not spec.task.name or not tasks.get(spec.task.name).has_rules:
            raise InputError(
                f"{files[0]}: no rules tell which answers to {spec.task.name or 'a task without a name'} are right",
                hint="benchmark a model whose task is a Sudoku or a maze",
            )
        puzzle = tasks.get(spec.task.name)
        threshold = spec.halting.threshold if halt_threshold is None else halt_threshold
        if halt_threshold is None and not files[0].is_dir():
            threshold = record.halting_threshold(None, files[0], spec)
        asked = Settings(
            repeats=repeats,
            max_steps=max_steps or spec.halting.max_steps,
            halt_threshold=threshold,
            device=device,
        )
        return benchmark(found, puzzle, _questions(puzzle, puzzles, limit), asked)


def _questions(puzzle: Puzzle, file: str | None, limit: int | None) -> Tokens:
    """int32 [N, L]."""
    if file is None:
        return puzzle.examples()[:limit]
    return tasks.read_tokens(file, puzzle, limit)
