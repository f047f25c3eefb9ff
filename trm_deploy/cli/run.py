"""`trm-deploy run`."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from trm_deploy.cli.options import (
    AllowHostCode,
    Attempts,
    AttemptSteps,
    Batch,
    Budget,
    Column,
    Compile,
    Device,
    Force,
    HaltThreshold,
    InFlight,
    InputFormat,
    Json,
    Overrides,
    Runtime,
    Seed,
    Speculate,
    TorchPrecision,
    resumable,
)
from trm_deploy.cli.ray_options import Actors, GpusPerActor, Ray
from trm_deploy.cli.run_trace import Trace, TraceFile, Watch, check_watch, refuse_unverified, run_watched
from trm_deploy.cli.run_voting import RunFlags, run_voting
from trm_deploy.errors import InputError
from trm_deploy.support.jsontext import dumps
from trm_deploy.support.terminal import use_colour

if TYPE_CHECKING:
    from trm_deploy.runtimes.solving.session import SolveOptions, SolvingSession

log = logging.getLogger(__name__)


def run(
    puzzles: Annotated[
        list[str],
        typer.Argument(metavar="PUZZLES...", help="Files with puzzles, or puzzles themselves; - reads standard input."),
    ],
    engine: Annotated[
        Optional[list[Path]],
        typer.Option(
            "-e",
            "--engine",
            metavar="FILE",
            help="ONNX file, TensorRT plan or checkpoint; or the name of a shipped model, see `trm-deploy models`.",
            show_default="the shipped model whose task the puzzles are of",
        ),
    ] = None,
    attempts: Attempts = None,
    attempt_steps: AttemptSteps = None,
    budget: Budget = None,
    halt_threshold: HaltThreshold = None,
    batch: Batch = None,
    in_flight: InFlight = None,
    speculate: Speculate = None,
    seed: Seed = 0,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Exit with code 5 if any answer is not verified; without it, such a run exits with 0."
        ),
    ] = False,
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
            help="Continue an interrupted run: compare every puzzle in the output file with the input, solve up to 8 of"
            " its last answers again to check them, then solve the puzzles that are not in it.",
        ),
    ] = False,
    force: Force = False,
    input_format: InputFormat = None,
    column: Column = None,
    device: Device = "cpu",
    precision: TorchPrecision = None,
    compiled: Compile = False,
    runtime: Runtime = None,
    overrides: Overrides = None,
    allow_host_code: AllowHostCode = False,
    ray: Ray = None,
    actors: Actors = None,
    gpus_per_actor: GpusPerActor = None,
    as_json: Json = False,
    png: Annotated[
        Optional[Path],
        typer.Option("--png", metavar="FOLDER", help="Folder for pictures of the answers: 0001.png and so on."),
    ] = None,
    trace: Trace = None,
    watch: Watch = False,
) -> None:
    """Solve puzzles and verify the answers; for ARC, vote over augmentations.

    Exit code 0: every puzzle has an answer, verified or not (with --strict: every answer is verified). 2: a puzzle or
    file cannot be read. 5: --strict, and an answer is not verified.
    """
    from trm_deploy.runtimes.solving.choosing import choose
    from trm_deploy.runtimes.solving.session import SolveOptions, open_session
    from trm_deploy.runtimes.solving.trace import check_shows_steps

    if engine and len(engine) > 1:
        raise InputError(
            f"--engine is given {len(engine)} times ({', '.join(map(str, engine))}): run takes one engine",
            hint="to compare engines, type: trm-deploy parity CHECKPOINT ENGINE ENGINE",
        )
    if resume and output is None:
        raise InputError("--resume needs -o: a file whose end tells where to go on", hint="add -o FILE")
    if resume and force:
        raise InputError("--resume goes on with a file and --force writes it anew", hint="leave out one of them")
    if png is not None:
        from trm_deploy.support.figures import require_matplotlib

        require_matplotlib()
    options = SolveOptions(
        attempts=attempts,
        attempt_steps=attempt_steps,
        budget=budget,
        speculate=speculate,
        halt_threshold=halt_threshold,
        batch_size=batch,
        in_flight=in_flight,
        seed=seed,
    )
    named = engine[0] if engine else choose(puzzles, input_format=input_format, column=column)
    opening: dict[str, Any] = {
        "device": device,
        "allow_host_code": allow_host_code,
        "precision": precision,
        "compiled": compiled,
        "overrides": overrides or (),
        "runtime": runtime,
    }
    flags = RunFlags(as_json, png, solutions or [], output, resume, force, strict, input_format, column)
    if watch:
        check_watch(flags, ray=ray is not None)
    if trace is not None and ray is not None:
        raise InputError("--trace records on this machine, and --ray solves elsewhere", hint="leave out one of them")
    file = None if trace is None else TraceFile(trace, puzzles, force=force)
    if ray is not None:
        from trm_deploy.cluster.session import open_cluster

        with open_cluster(
            named, options, address=ray, actors=actors, gpus_per_actor=gpus_per_actor, **opening
        ) as on_cluster:
            _run_verified(on_cluster, puzzles, options, flags)
        return
    for flag, value in (("--actors", actors), ("--gpus-per-actor", gpus_per_actor)):
        if value is not None:
            raise InputError(f"{flag} applies to --ray", hint=f"add --ray local, or leave out {flag}")
    session = open_session(named, **opening)
    if watch:
        run_watched(session, puzzles, options, flags, file)
    elif session.puzzle.has_rules:
        _run_verified(session, puzzles, options, flags, file)
    elif file is not None:
        check_shows_steps(session)
    else:
        run_voting(session, puzzles, options, flags)


def _run_verified(
    session: SolvingSession,
    puzzles: list[str],
    options: SolveOptions,
    flags: RunFlags,
    trace: Optional[TraceFile] = None,
) -> None:
    from trm_deploy.runtimes.solving.files import FileRun
    from trm_deploy.runtimes.solving.trace import check_shows_steps
    from trm_deploy.support.progress import progress

    if flags.solutions:
        raise InputError(f"--solutions is for ARC, the engine is for {session.puzzle.name}", hint="leave it out")
    if trace is not None:
        check_shows_steps(session)
    going_on = contextlib.nullcontext() if flags.output is None else resumable(flags.output)
    # Where the answers themselves do not show how far it has come.
    silent = (flags.output is not None and not flags.as_json) or not sys.stdout.isatty()
    with going_on, contextlib.ExitStack() as stack:
        solving = stack.enter_context(
            FileRun(
                session,
                puzzles,
                options,
                output=flags.output,
                resume=flags.resume,
                force=flags.force,
                pictures=flags.png,
                input_format=flags.input_format,
                column=flags.column,
            )
        )
        advance: Callable[..., Any] = lambda count, note: None  # noqa: E731
        if silent:
            advance = stack.enter_context(progress("solving", solving.expected, done=solving.done, unit="puzzles"))
        for answer in solving:
            if flags.as_json:
                print(dumps(answer.to_plain()), flush=True)
            elif answer.error:
                log.error("%s", answer.error)
            elif flags.output is None:
                print(answer.to_text(colour=use_colour(sys.stdout)), flush=True)
            if trace is not None and answer.question is not None:
                trace.take(answer.place, answer.question)
            advance(1, solving.totals.rate)
    if trace is not None:
        trace.record(session, options, slots=solving.slots)
    totals = solving.totals
    if totals.puzzles > 1 or (flags.output is not None and totals.puzzles):
        log.info(totals.to_text())
    if solving.unreadable:
        raise typer.Exit(InputError.exit_code)
    if flags.strict:
        refuse_unverified(solving.unverified, solving.done + totals.answered)
