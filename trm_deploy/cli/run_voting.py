"""`trm-deploy run` for ARC: answers vote, and a submission is written."""

from __future__ import annotations

import itertools
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Optional

import typer

from trm_deploy.errors import InputError
from trm_deploy.support.jsontext import dumps
from trm_deploy.support.terminal import use_colour

if TYPE_CHECKING:
    from trm_deploy.runtimes.solving.session import SolveOptions, SolvingSession

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFlags:
    """The flags on what to write and when to fail."""

    as_json: bool
    png: Optional[Path]
    solutions: list[str]
    output: Optional[Path]
    resume: bool
    force: bool
    strict: bool
    input_format: Optional[str]
    column: Optional[str]


def run_voting(session: SolvingSession, puzzles: list[str], options: SolveOptions, flags: RunFlags) -> None:
    """Solve the tasks of files; a task that cannot be read is complained about in its place."""
    from trm_deploy.puzzles.arc import Arc
    from trm_deploy.runtimes.solving import voting
    from trm_deploy.support.files import check_output_folder, write_atomic

    for flag in ("--input-format", "--column"):
        if getattr(flags, flag.strip("-").replace("-", "_")) is not None:
            raise InputError(f"{flag} is for puzzles in text, ARC's tasks are JSON", hint="leave it out")
    for flag, on in (("--resume", flags.resume), ("--strict", flags.strict)):
        if on:
            raise InputError(f"{flag} needs answers that are verified one by one, not ARC's votes", hint="leave it out")
    if flags.output is not None:
        voting.check_submission_file(flags.output, inputs=[*puzzles, *flags.solutions, session.path], force=flags.force)
    if flags.png is not None:
        check_output_folder(flags.png, flag="--png")
    answers = []
    assert isinstance(session.puzzle, Arc)
    found = voting.read_each(puzzles, flags.solutions, side=session.puzzle.side)
    solved = voting.run(session, [task for task in found if not isinstance(task, InputError)], options)
    for task in found:
        if isinstance(task, InputError):
            print(f"error: {task}", file=sys.stderr)
            continue
        for answer in itertools.islice(solved, len(task.test)):
            answers.append(answer)
            if not flags.as_json:
                print(answer.to_text(colour=use_colour(sys.stdout)), flush=True)
            if flags.png is not None:
                answer.write_png(flags.png / f"{len(answers):04}.png")
    document = dumps(voting.submission(answers))
    if flags.as_json:
        print(document)
    if flags.output is not None:
        write_atomic(flags.output, document)
        log.info(f"wrote {flags.output}")
    for line in voting.summary(answers):
        log.info(line)
    if any(isinstance(task, InputError) for task in found):
        raise typer.Exit(InputError.exit_code)
