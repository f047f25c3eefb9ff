"""The answers of `run` in a file, one JSON object a line, so that a run that was stopped can go on where it ends."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from trm_deploy.errors import InputError, TrmDeployError
from trm_deploy.puzzles import reading
from trm_deploy.puzzles.reading import Question
from trm_deploy.runtimes.solving import session as running
from trm_deploy.runtimes.solving.session import OpenEngine, Outcome, RunSettings
from trm_deploy.support.files import refuse_folder
from trm_deploy.support.jsontext import dumps

# Lines that are computed again before a run goes on, of the last ones and of the last that are not verified: they tell
# whether engine and settings are still the same.
CHECKED = 4
# What may differ between two runs: the time, and the last bits of a logit on another number of threads.
VARYING = ("milliseconds", "halt_logit")

Line = tuple[int, dict[str, Any], Question]  # its number, what it holds, the puzzle in its place


class AnswerFile:
    """A file that grows by a line for each puzzle, in the order of the input.

    Attributes:
        done: lines that an earlier run left, each with its newline.
        unreadable: those among them that hold an error in place of an answer.
    """

    def __init__(
        self, path: Path, engine: OpenEngine, files: Sequence[str], settings: RunSettings, *, resume: bool
    ) -> None:
        """Open the file, at its end.

        Raises:
            InputError: it exists and there is no `resume`, or it is no beginning of what this run gives.
            TrmDeployError: it cannot be written.
        """
        self.path = path
        self.done = self.unreadable = 0
        refuse_folder(path)
        size = 0
        self._is_new = not path.exists()
        if not self._is_new and path.stat().st_size:
            if not resume:
                raise InputError(
                    f"{path}: exists already", hint="add --resume to go on where it ends, or name another file with -o"
                )
            for name in files:
                if name == "-" or not Path(name).is_file():
                    raise InputError(
                        f"{name}: can be read only once, and --resume reads the puzzles from their beginning",
                        hint="name a file with the puzzles",
                    )
            size = self._check(engine, files, settings)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = path.open("r+b" if path.exists() else "wb")
            self._file.truncate(size)  # a line that an interrupted run left half-written
            self._file.seek(size)
        except OSError as error:
            raise TrmDeployError(
                f"{path}: cannot be written ({error.strerror})", hint="name another place with -o"
            ) from error

    def _check(self, engine: OpenEngine, files: Sequence[str], settings: RunSettings) -> int:
        """Compare the lines with the puzzles, and the last ones with what they give now; the size of whole lines."""
        asked = running.questions(engine, files)
        size = 0
        last: list[Line] = []
        unverified: list[Line] = []
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                question = next(asked, None)
                if not line.endswith(b"\n"):
                    self._check_unfinished(line, number, engine, question)
                    break
                found = self._parsed(line, number)
                if question is None:
                    raise InputError(f"{self.path} line {number}: there are fewer puzzles in {', '.join(files)}")
                expected = Outcome(question, None, engine.puzzle).puzzle_text
                if found["puzzle"] != expected:
                    raise InputError(
                        f"{self.path} line {number}: answers another puzzle than {question.place} (it says"
                        f" {found['puzzle'][:40]!r}, expected {expected[:40]!r})",
                        hint="name the puzzles of the run that wrote it, or another file with -o",
                    )
                self.done = number
                self.unreadable += "error" in found
                last = [*last, (number, found, question)][-CHECKED:]
                if not found.get("verified"):
                    unverified = [*unverified, (number, found, question)][-CHECKED:]
                size += len(line)
        chosen = {line[0]: line for line in (*unverified, *last)}
        again = running.solve(engine, files, settings, [question for _, _, question in chosen.values()])
        for (number, found, _), outcome in zip(chosen.values(), again):
            expected_line = json.loads(dumps(outcome.to_plain()))
            for key in expected_line.keys() | found.keys():
                if key not in VARYING and found.get(key) != expected_line.get(key):
                    raise InputError(
                        f"{self.path} line {number}: {key} is {found.get(key)!r}, this run gives"
                        f" {expected_line.get(key)!r}",
                        hint="use the engine and the flags of the run that wrote it, or another file with -o",
                    )
        return size

    def _check_unfinished(self, line: bytes, number: int, engine: OpenEngine, question: Question | None) -> None:
        """What an interrupted run left is the beginning of the line in its place; anything else is not thrown away."""
        text = "" if question is None else Outcome(question, None, engine.puzzle).puzzle_text
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
                f"{self.path} line {number}: is no JSON ({error}), expected what run --json prints",
                hint="name another file with -o",
            ) from error
        if not isinstance(found, dict) or not isinstance(found.get("puzzle"), str):
            raise InputError(
                f"{self.path} line {number}: is no object with a puzzle, expected what run --json prints",
                hint="name another file with -o",
            )
        return found

    def write(self, outcome: Outcome) -> None:
        """Add a line; it is in the file when this returns."""
        try:
            self._file.write(dumps(outcome.to_plain()).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise TrmDeployError(f"{self.path}: cannot be written ({error.strerror})") from error

    def __enter__(self) -> AnswerFile:
        return self

    def __exit__(self, *exception: object) -> None:
        empty = not self._file.tell()
        self._file.close()
        if self._is_new and empty:
            self.path.unlink()  # the input was refused before its first puzzle


def count_puzzles(files: Sequence[str]) -> int | None:
    """About how many puzzles files hold, one a line, to tell how far a run has come; None where nobody knows.

    Reading them all beforehand would take as long as reading them, so a header or a comment counts as a puzzle.
    """
    if not all(Path(name).is_file() for name in files):
        return None  # a pipe can be read only once
    return sum(reading.count_lines(name) for name in files)
