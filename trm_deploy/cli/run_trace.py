"""`trm-deploy run --trace` and `--watch`: each supervision step, in a file or in the terminal."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from trm_deploy.cli.run_voting import RunFlags
from trm_deploy.errors import InputError, UnverifiedAnswers
from trm_deploy.support.files import is_regular_file
from trm_deploy.support.terminal import can_move, use_colour

if TYPE_CHECKING:
    from trm_deploy.puzzles.base import Tokens
    from trm_deploy.runtimes.solving.session import SolveOptions, SolvingSession
    from trm_deploy.tracing.recording import Recording

log = logging.getLogger(__name__)

Trace = Annotated[
    Optional[Path],
    typer.Option(
        "--trace",
        metavar="FILE",
        help="File that shows each supervision step: FILE.html (a page that plays them) or .json of the first 20"
        " puzzles, .gif or .png of the first.",
    ),
]
Watch = Annotated[
    bool,
    typer.Option("--watch", help="Draw each supervision step in the terminal as it is computed, doubt as shade."),
]


class TraceFile:
    """The file that --trace names, and the puzzles that it will show: the first ones that can be read."""

    def __init__(self, path: Path, puzzles: list[str], *, force: bool) -> None:
        """Check before any work that it can be written; raises as `writer_of` does."""
        from trm_deploy.tracing.files import writer_of

        self._path = path
        self._writer = writer_of(path, inputs=[Path(name) for name in puzzles if is_regular_file(name)], force=force)
        self._chosen: list[tuple[str, Tokens]] = []
        self._seen = 0

    def take(self, place: str, question: Tokens) -> bool:
        """One more puzzle [L] is solved; whether the file will show it."""
        self._seen += 1
        if self._seen <= self._writer.most:
            self._chosen.append((place, question))
        return self._seen <= self._writer.most

    def record(self, session: SolvingSession, options: SolveOptions, *, slots: int) -> None:
        """Compute the steps of the puzzles, and write the file."""
        from trm_deploy.support.progress import progress
        from trm_deploy.tracing.recording import Recording

        recordings = []
        with progress("recording", len(self._chosen), unit="puzzles") as advance:
            for place, question in self._chosen:
                recording = Recording(session, question, options, place=place, slots=slots)
                for _ in recording.follow():
                    pass
                recordings.append(recording)
                advance(1)
        self.write(recordings)

    def write(self, recordings: list[Recording]) -> None:
        """Write the file, and say which puzzles it shows where it does not show all."""
        if not recordings:
            log.warning("%s is not written: no puzzle was solved", self._path)
            return
        self._writer.write(self._path, recordings)
        shown = "the first" if len(recordings) == 1 else f"the first {len(recordings)}"
        if self._seen > len(recordings):
            log.warning("%s shows %s of %d puzzles; name the one that you want", self._path, shown, self._seen)
        log.info("wrote %s", self._path)


def check_watch(flags: RunFlags, *, ray: bool) -> None:
    """What --watch goes with; raises `InputError` before the work."""
    for flag, given in (
        ("--json", flags.as_json),
        ("-o", flags.output is not None),
        ("--resume", flags.resume),
        ("--png", flags.png is not None),
        ("--solutions", bool(flags.solutions)),
        ("--ray", ray),
    ):
        if given:
            raise InputError(f"--watch draws in the terminal and does not go with {flag}", hint=f"leave out {flag}")
    if not can_move(sys.stdout):
        raise InputError(
            "--watch draws over its own lines, and standard output is not a terminal that can",
            hint="to write the steps to a page, use --trace FILE.html",
        )


def run_watched(
    session: SolvingSession, puzzles: list[str], options: SolveOptions, flags: RunFlags, trace: Optional[TraceFile]
) -> None:
    """Solve the puzzles one after the other, each step drawn as it is computed."""
    from trm_deploy.runtimes.solving.trace import check_shows_steps
    from trm_deploy.tracing import live
    from trm_deploy.tracing.recording import Recording

    check_shows_steps(session)
    colour = use_colour(sys.stdout)
    live.check_fits(session.puzzle, colour=colour)
    source = session.read(puzzles, options, input_format=flags.input_format, column=flags.column)
    unreadable = unverified = solved = 0
    recordings = []
    for question in source.questions:
        if question.tokens is None:
            unreadable += 1
            log.error("%s", question.error)
            continue
        recording = Recording(session, question.tokens, options, place=question.place, slots=source.slots)
        live.watch(recording, _write, colour=colour)
        solved += 1
        unverified += not recording.steps[-1].shown.verified
        if trace is not None and trace.take(question.place, question.tokens):
            recordings.append(recording)
    if trace is not None:
        trace.write(recordings)
    if unreadable:
        raise typer.Exit(InputError.exit_code)
    if flags.strict:
        refuse_unverified(unverified, solved)


def refuse_unverified(unverified: int, answers: int) -> None:
    """Raises `UnverifiedAnswers` where --strict does not allow what came."""
    if unverified:
        raise UnverifiedAnswers(
            f"{unverified} of {answers} answers are not verified, which --strict does not allow",
            hint="give a puzzle more tries with --attempts",
        )


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
