"""`trm-deploy run`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from trm_deploy.cli.options import (
    AllowHostCode,
    Compile,
    Device,
    HaltThreshold,
    Json,
    MaxSteps,
    TorchPrecision,
    resumable,
)
from trm_deploy.cli.values import whole
from trm_deploy.errors import InputError
from trm_deploy.support.files import refuse_folder
from trm_deploy.support.jsontext import dumps
from trm_deploy.support.terminal import use_colour


def run(
    puzzles: Annotated[
        list[str], typer.Argument(metavar="PUZZLES...", help="Files with puzzles; - reads standard input.")
    ],
    engine: Annotated[
        Optional[Path],
        typer.Option(
            "-e",
            "--engine",
            metavar="FILE",
            help="ONNX file, TensorRT plan or checkpoint.",
            show_default="the model shipped with the package",
        ),
    ] = None,
    attempts: Annotated[
        Optional[int],
        typer.Option(
            "--attempts",
            **whole(1),
            help="Maximum number of attempts at a puzzle; each one after the first solves a symmetric form of it.",
            show_default="1; for ARC every augmentation the model was trained on",
        ),
    ] = None,
    max_steps: MaxSteps = None,
    halt_threshold: HaltThreshold = None,
    batch: Annotated[
        Optional[int],
        typer.Option(
            "--batch", **whole(1), help="Number of puzzles to compute together.", show_default="8 in flight, else 1"
        ),
    ] = None,
    in_flight: Annotated[
        Optional[bool],
        typer.Option(
            "--in-flight/--no-in-flight",
            help="Start the next puzzle as soon as one halts, instead of batch by batch; needs the step form.",
            show_default="on if the file has the step form",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", **whole(0), help="Random seed for the symmetry transforms.")] = 0,
    solutions: Annotated[
        Optional[list[str]],
        typer.Option(
            "--solutions", metavar="FILE", help="ARC solutions file: count how many answers are right; repeatable."
        ),
    ] = None,
    output: Annotated[
        Optional[Path],
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="File for the answers, one JSON object per line; for ARC the submission file.",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue an interrupted run: solve the last answers in the output file again to check them, then the"
            " puzzles that are not in it.",
        ),
    ] = False,
    device: Device = "cpu",
    precision: TorchPrecision = None,
    compiled: Compile = False,
    allow_host_code: AllowHostCode = False,
    as_json: Json = False,
    png: Annotated[
        Optional[Path],
        typer.Option("--png", metavar="FOLDER", help="Folder for pictures of the answers: 0001.png and so on."),
    ] = None,
) -> None:
    """Solve puzzles and verify the answers; for ARC, vote over augmentations."""
    from trm_deploy.runtimes.solving import session as running

    if png is not None:
        from trm_deploy.support.figures import require_matplotlib

        require_matplotlib()
    settings = running.RunSettings(
        attempts=attempts,
        max_steps=max_steps,
        halt_threshold=halt_threshold,
        batch_size=batch,
        in_flight=in_flight,
        seed=seed,
    )
    if resume and output is None:
        raise InputError("--resume goes with -o: a file whose end tells where to go on", hint="add -o FILE")
    opened = running.open_engine(
        engine,
        device=device,
        allow_host_code=allow_host_code,
        precision=precision,
        compiled=compiled,
    )
    show: Callable[..., None] = _RUNS.get(opened.puzzle.name, _run_verified)
    show(opened, puzzles, settings, as_json=as_json, png=png, solutions=solutions, output=output, resume=resume)


def _run_verified(
    opened: Any,
    puzzles: list[str],
    settings: Any,
    *,
    as_json: bool,
    png: Optional[Path],
    solutions: Optional[list[str]],
    output: Optional[Path],
    resume: bool,
) -> None:
    from contextlib import ExitStack

    from trm_deploy.runtimes.solving import session as running
    from trm_deploy.runtimes.solving.answer_file import AnswerFile, count_puzzles
    from trm_deploy.runtimes.solving.scheduling import Work
    from trm_deploy.support.progress import progress

    if solutions is not None:
        raise InputError(
            f"--solutions goes with ARC, the engine is for {opened.puzzle.name}", hint="leave out --solutions"
        )
    work = Work()
    with ExitStack() as stack:
        file = None
        if output is not None:
            stack.enter_context(resumable(output))
            file = stack.enter_context(AnswerFile(output, opened, puzzles, settings, resume=resume))
        done, unreadable, solved = (file.done, file.unreadable, 0) if file else (0, 0, 0)
        # Where the answers themselves do not show how far it has come.
        silent = (file is not None and not as_json) or not sys.stdout.isatty()
        advance = None
        if silent:
            advance = stack.enter_context(progress("solving", count_puzzles(puzzles), done=done, unit="puzzles"))
        number = done
        for number, outcome in enumerate(running.run(opened, puzzles, settings, done=done, work=work), start=done + 1):
            unreadable += outcome.answer is None
            solved += outcome.answer is not None and outcome.answer.verified
            if file is not None:
                file.write(outcome)
            if as_json:
                print(dumps(outcome.to_plain()), flush=True)
            elif file is None and outcome.answer is not None:
                print(outcome.to_text(colour=use_colour(sys.stdout)), flush=True)
            if outcome.answer is None and not as_json:
                print(f"error: {outcome.question.error}", file=sys.stderr)
            if png is not None:
                outcome.write_png(png / f"{number:04}.png")
            if advance is not None:
                advance(1, f"{(number - done) / max(work.seconds, 1e-9):.1f} puzzles a second")
    if number - done > 1 or file is not None:
        print(
            f"{number - done} puzzles, {solved} verified, in {work.seconds:.1f} s of computing:"
            f" {(number - done) / max(work.seconds, 1e-9):.1f} puzzles a second, {work.to_text()}",
            file=sys.stderr,
        )
    if unreadable:
        raise typer.Exit(InputError.exit_code)


def _run_arc(
    opened: Any,
    puzzles: list[str],
    settings: Any,
    *,
    as_json: bool,
    png: Optional[Path],
    solutions: Optional[list[str]],
    output: Optional[Path],
    resume: bool,
) -> None:
    from trm_deploy.puzzles.arc_tasks import read_solutions, read_tasks, with_solutions
    from trm_deploy.runtimes.solving import voting as arc_running
    from trm_deploy.support.files import write_atomic

    if resume:
        raise InputError("--resume goes with puzzles that are verified one by one, not with ARC", hint="leave it out")
    refuse_folder(output)
    answers = read_solutions(solutions or ())
    tasks = [with_solutions(task, answers) for task in read_tasks(puzzles)]
    outcomes = []
    for number, outcome in enumerate(arc_running.run(opened, tasks, settings), start=1):
        outcomes.append(outcome)
        if not as_json:
            print(outcome.to_text(colour=use_colour(sys.stdout)), flush=True)
        if png is not None:
            outcome.write_png(png / f"{number:04}.png")
    document = dumps(arc_running.submission(outcomes))
    if as_json:
        print(document)
    if output is not None:
        write_atomic(output, document)
        print(f"wrote {output}", file=sys.stderr)
    for line in arc_running.summary(outcomes):
        print(line, file=sys.stderr)


# How the puzzles of a task are run, where it is not by verifying each answer.
_RUNS: dict[str, Callable[..., None]] = {"arc": _run_arc}
