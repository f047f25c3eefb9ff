"""The answers of `run` in a file, one JSON object a line, so that a run that was stopped can go on where it ends."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from trm_deploy.errors import InputError, TrmDeployError
from trm_deploy.puzzles.reading import Question
from trm_deploy.runtimes.solving.answer import Answer
from trm_deploy.runtimes.solving.session import SolveOptions, SolvingSession, Source
from trm_deploy.support import locks
from trm_deploy.support.files import is_regular_file
from trm_deploy.support.jsontext import dumps

logger = logging.getLogger(__name__)

# Lines that are computed again before a run goes on, of the last ones and of the last that are not verified: they tell
# whether engine and options are still the same.
CHECKED = 4
# What may differ between two runs: the time, and the last bits of a logit on another number of threads.
VARYING = ("milliseconds", "halt_logit")
# What files of older versions lack.
ADDED = ("line", "columns", "correct")

Line = tuple[int, dict[str, Any], Question]  # its number, what it holds, the puzzle in its place


class AnswerFile:
    """A file that grows by a line for each puzzle, in the order of the input. Only one run writes it at a time.

    Attributes:
        done: lines that an earlier run left, each with its newline.
        unreadable: those among them that hold an error in place of an answer.
        unverified: those among them whose answer is not verified.
        rest: the questions behind those lines.
    """

    def __init__(
        self,
        path: Path,
        session: SolvingSession,
        source: Source,
        options: SolveOptions,
        *,
        resume: bool,
        force: bool = False,
    ) -> None:
        """Open the file, at its end.

        Args:
            path: the file.
            session: the model.
            source: the puzzles, none of them taken yet.
            options: how they are solved.
            resume: go on where the file ends.
            force: write the file anew, whatever it holds.

        Raises:
            InputError: it exists and there is neither `resume` nor `force`, another run writes it, it is a file that is
                read, or it is not the beginning of what this run gives.
            TrmDeployError: it cannot be written.
        """
        self.path = path
        self.done = self.unreadable = self.unverified = 0
        self.rest: Iterator[Question] = source.questions
        self._source = source
        self._refuse_inputs(session)
        if path.is_dir():
            raise InputError(f"{path}: is a folder, expected a file to write", hint="name a file with -o")
        self._give_free: Callable[[], None] | None = None
        self._is_new = not path.exists()
        self._is_regular = path.is_file() or not path.exists()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: a line is in the file when `write` returns, and nothing is left to fail when it closes.
            flags = os.O_RDWR | os.O_CREAT if self._is_regular else os.O_WRONLY
            self._file = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o666)
        except OSError as error:
            raise self._failure(error, hint="name another place with -o") from error
        try:
            if self._is_regular:
                self._give_free = locks.take(path, self._file)
                self._continue(session, options, resume, force)
        except BaseException:
            self.close()
            raise

    def _refuse_inputs(self, session: SolvingSession) -> None:
        for name in (*self._source.names, str(session.path)):
            with contextlib.suppress(OSError, ValueError):  # there is no such file, or it is a puzzle itself
                if self.path.is_file() and self.path.samefile(name):
                    raise InputError(
                        f"{self.path}: is the same file as the input {name}, which would be lost",
                        hint="name another file with -o",
                    )

    def _continue(self, session: SolvingSession, options: SolveOptions, resume: bool, force: bool) -> None:
        size = 0
        if os.fstat(self._file).st_size and not force:
            if not resume:
                raise InputError(
                    f"{self.path}: exists already",
                    hint="add --resume to go on where it ends, --force to write it anew, or name another file with -o",
                )
            for name in self._source.names:
                if name == "-" or (not is_regular_file(name) and not session.is_puzzle(name)):
                    raise InputError(
                        f"{name}: can be read only once, and --resume reads the puzzles from their beginning",
                        hint="name a file with the puzzles",
                    )
            size = self._check(session, options)
        try:
            os.ftruncate(self._file, size)  # a line that an interrupted run left half-written
            os.lseek(self._file, size, os.SEEK_SET)
        except OSError as error:
            raise self._failure(error, hint="name another place with -o") from error

    def _check(self, session: SolvingSession, options: SolveOptions) -> int:
        """Compare the lines with the puzzles, and the last ones with what they give now; the size of whole lines."""
        size = 0
        last: list[Line] = []
        unverified: list[Line] = []
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                question = next(self.rest, None)
                if not line.endswith(b"\n"):
                    self._check_unfinished(line, number, session, question)
                    self.rest = itertools.chain([question] if question else [], self.rest)
                    break
                found = self._parsed(line, number)
                if question is None:
                    raise InputError(
                        f"{self.path} line {number}: there are fewer puzzles in {', '.join(self._source.names)}"
                    )
                expected = Answer.of(question, None, session.puzzle).puzzle
                if found["puzzle"] != expected:
                    raise InputError(
                        f"{self.path} line {number}: answers another puzzle than {question.place} (it says"
                        f" {found['puzzle'][:40]!r}, expected {expected[:40]!r})",
                        hint="name the puzzles of the run that wrote it, or another file with -o",
                    )
                self.done = number
                self.unreadable += "error" in found
                self.unverified += "error" not in found and not found.get("verified")
                last = [*last, (number, found, question)][-CHECKED:]
                if not found.get("verified"):
                    unverified = [*unverified, (number, found, question)][-CHECKED:]
                size += len(line)
        chosen = {line[0]: line for line in (*unverified, *last)}
        errors = f" ({self.unreadable} unreadable)" if self.unreadable else ""
        logger.info("%s: has %d answers%s; checking %d of the last ones", self.path, self.done, errors, len(chosen))
        self._check_again(session, options, list(chosen.values()))
        following = next(self.rest, None)
        if following is None:
            logger.info("%s: has an answer for each puzzle: nothing left to do", self.path)
        else:
            self.rest = itertools.chain([following], self.rest)
        return size

    def _check_again(self, session: SolvingSession, options: SolveOptions, lines: list[Line]) -> None:
        again = session.solve([question for _, _, question in lines], options, slots=self._source.slots)
        for (number, found, _), answer in zip(lines, again):
            expected = json.loads(dumps(answer.to_plain()))
            for key in expected.keys() | found.keys():
                missing = key in ADDED and key not in found
                if key not in VARYING and not missing and found.get(key) != expected.get(key):
                    raise InputError(
                        f"{self.path} line {number}: {key} is {found.get(key)!r}, this run gives {expected.get(key)!r}",
                        hint="use the engine and the flags of the run that wrote it, or another file with -o",
                    )

    def _check_unfinished(self, line: bytes, number: int, session: SolvingSession, question: Question | None) -> None:
        """What an interrupted run left is the beginning of the line in its place; anything else is not thrown away."""
        text = "" if question is None else Answer.of(question, None, session.puzzle).puzzle
        begins = dumps({"puzzle": text})[:-1].encode()
        if question is None or not (begins.startswith(line) or line.startswith(begins)):
            raise InputError(
                f"{self.path} line {number}: ends without a line break, and is not what an interrupted run left there"
                f" (it says {line[:40].decode(errors='replace')!r}, expected {begins[:40].decode()!r})",
                hint="name another file with -o",
            )

    def _parsed(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{self.path} line {number}: is not JSON ({error}), expected what run --json prints",
                hint="name another file with -o",
            ) from error
        if not isinstance(found, dict) or not isinstance(found.get("puzzle"), str):
            raise InputError(
                f"{self.path} line {number}: is not an object with a puzzle, expected what run --json prints",
                hint="name another file with -o",
            )
        return found

    def write(self, answer: Answer) -> None:
        """Add a line; it is in the file when this returns.

        Raises:
            TrmDeployError: it cannot be written, as on a full disk.
        """
        data = memoryview(dumps(answer.to_plain()).encode() + b"\n")
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError as error:
            again = "make room, and add --resume to go on" if error.errno == errno.ENOSPC else "add --resume to go on"
            hint = again if self._is_regular else "name another place with -o"
            raise self._failure(error, hint=hint) from error

    def _failure(self, error: OSError, *, hint: str) -> TrmDeployError:
        return TrmDeployError(f"{self.path}: cannot be written ({error.strerror})", hint=hint)

    def close(self) -> None:
        """Give the file free for other runs; one that is new and empty is taken away."""
        if self._give_free is not None:
            if self._is_new and not os.fstat(self._file).st_size:
                self.path.unlink(missing_ok=True)  # the input was refused before its first puzzle
            self._give_free()
        os.close(self._file)

    def __enter__(self) -> AnswerFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
