"""What `run` does with files: puzzles in, answers and pictures out, and the numbers of the run as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trm_deploy.puzzles import reading
from trm_deploy.runtimes.solving.answer import Answer
from trm_deploy.runtimes.solving.answer_file import AnswerFile
from trm_deploy.runtimes.solving.scheduling import Work
from trm_deploy.runtimes.solving.session import SolveOptions, SolvingSession
from trm_deploy.support.files import check_output_folder, is_regular_file


@dataclass
class Totals:
    """What a run has come to.

    Attributes:
        answered: puzzles with an answer.
        verified: those whose answer is verified.
        passed: those of the verified ones that an earlier run had answered.
        unreadable: puzzles that could not be read.
        known: puzzles whose right answer is known.
        correct: those whose answer is that one.
        work: what was computed.
    """

    answered: int = 0
    verified: int = 0
    passed: int = 0
    unreadable: int = 0
    known: int = 0
    correct: int = 0
    work: Work = field(default_factory=Work)

    def add(self, answer: Answer) -> None:
        """One more puzzle."""
        if answer.error:
            self.unreadable += 1
            return
        self.answered += 1
        self.verified += answer.verified
        self.passed += answer.passed is not None
        self.known += answer.correct is not None
        self.correct += answer.correct is True

    @property
    def puzzles(self) -> int:
        """All of them, unreadable ones included."""
        return self.answered + self.unreadable

    @property
    def rate(self) -> str:
        """Puzzles a second of computing, in words; empty where nothing was computed."""
        return f"{(self.answered - self.passed) / self.work.seconds:.1f} puzzles a second" if self.work.seconds else ""

    def to_text(self) -> str:
        """One line for people."""
        parts = [f"{self.answered} puzzles, {self.verified} verified"]
        if self.passed:
            parts.append(f"{self.passed} of them by an earlier run")
        if self.unreadable:
            parts.append(f"{self.unreadable} unreadable")
        if self.known:
            parts.append(f"{self.correct} of {self.known} equal to the known answers")
        text = ", ".join(parts)
        if self.rate:
            text += f", in {self.work.seconds:.1f} s of computing: {self.rate}, {self.work.to_text()}"
        return text


class FileRun:
    """A run over files: iterate to solve; with `with`, so that the file of answers is closed.

    Attributes:
        totals: what this run has come to, without what an earlier one left in the file of answers.
        done: answers that an earlier run left.
        unreadable: puzzles without an answer because they could not be read, earlier ones included.
        unverified: answers that are not verified, earlier ones included.
        expected: about how many puzzles there are, those of the earlier run included; None where nobody knows.
    """

    def __init__(
        self,
        session: SolvingSession,
        names: Sequence[str],
        options: SolveOptions,
        *,
        output: Path | None = None,
        resume: bool = False,
        force: bool = False,
        pictures: Path | None = None,
        input_format: str | None = None,
        column: str | None = None,
    ) -> None:
        """Open the files.

        Args:
            session: the model.
            names: files with puzzles, "-" for standard input, or puzzles themselves.
            options: how to solve.
            output: file for the answers, one JSON object a line.
            resume: go on where that file ends.
            force: write that file anew, whatever it holds.
            pictures: folder for 0001.png and so on.
            input_format, column: see `SolvingSession.read`.

        Raises:
            InputError: see `SolvingSession.read` and `AnswerFile`; or a file is in the place of the folder.
        """
        if pictures is not None:
            check_output_folder(pictures, flag="--png")
        self.totals = Totals()
        self._session, self._options, self._pictures = session, options, pictures
        self._source = session.read(names, options, input_format=input_format, column=column)
        self._file = None
        self._questions = self._source.questions
        if output is not None:
            self._file = AnswerFile(output, session, self._source, options, resume=resume, force=force)
            self._questions = self._file.rest
        self.done = self._file.done if self._file else 0
        self.expected = _estimate(names)

    @property
    def slots(self) -> int:
        """Puzzles at a time."""
        return self._source.slots

    @property
    def unreadable(self) -> int:
        """See the class."""
        return self.totals.unreadable + (self._file.unreadable if self._file else 0)

    @property
    def unverified(self) -> int:
        """See the class."""
        return self.totals.answered - self.totals.verified + (self._file.unverified if self._file else 0)

    def __iter__(self) -> Iterator[Answer]:
        """The answers, in the order of the puzzles; each is in the file and drawn when it comes."""
        solved = self._session.solve(self._questions, self._options, slots=self._source.slots, work=self.totals.work)
        for number, answer in enumerate(solved, start=self.done + 1):
            self.totals.add(answer)
            if self._file is not None:
                self._file.write(answer)
            if self._pictures is not None:
                answer.write_png(self._pictures / f"{number:04}.png")
            yield answer

    def __enter__(self) -> FileRun:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            self._file.close()


def _estimate(names: Sequence[str]) -> int | None:
    """About how many puzzles files hold, one a line; a header or a comment counts as a puzzle."""
    if not all(is_regular_file(name) for name in names):
        return None  # a pipe can be read only once
    return sum(reading.estimate_lines(name) for name in names)
