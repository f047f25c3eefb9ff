"""The answer to one puzzle, as people and programs read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trm_deploy.puzzles.base import Puzzle, Tokens
from trm_deploy.puzzles.picture import write_png
from trm_deploy.puzzles.reading import Question
from trm_deploy.runtimes.solving.attempts import BestAttempt

# A bad answer breaks dozens of rules; the first few tell enough.
SHOWN_FAULTS = 6


@dataclass(frozen=True, eq=False)
class Answer:
    """A puzzle and its answer. One that could not be read has an `error` instead of an answer.

    Attributes:
        puzzle: the puzzle in its one-line form; as it was written where it could not be read.
        text: the answer in its one-line form; empty where there is an error.
        verified: whether the answer obeys the rules and keeps the givens.
        steps: supervision steps of the attempt shown.
        attempts: number of attempts made, under the puzzle's symmetries.
        total_steps: supervision steps of all attempts.
        halted: whether the model halted by itself in the attempt shown.
        halt_logit: halting logit of the attempt shown, at its last step.
        milliseconds: computing time; a batch's time is shared evenly among its puzzles.
        error: what is wrong with the puzzle, with its place; empty where nothing is.
        faults: the rules that the answer breaks, in words; empty where it is verified.
        question, tokens: puzzle and answer as token ids, int32 [L]; None where there is an error.
        place: where the puzzle came from, as in "puzzles.txt line 3".
        line: line of the file, from 1; None where it is not from a file.
        columns: the other columns of the puzzle's CSV row, by name; None where it is not from a CSV file.
        has_known_answer: whether its CSV row has a column for the answer.
        correct: whether the answer is the known one; None where none is known, or it is not a whole answer.
        task: the rules and the text form of the puzzle.
        passed: what an earlier run wrote, where its answer is verified and was passed through; None where not.
    """

    puzzle: str
    text: str = ""
    verified: bool = False
    steps: int = 0
    attempts: int = 0
    total_steps: int = 0
    halted: bool = False
    halt_logit: float = 0.0
    milliseconds: float = 0.0
    error: str = ""
    faults: tuple[str, ...] = ()
    question: Tokens | None = None
    tokens: Tokens | None = None
    place: str = ""
    line: int | None = None
    columns: Mapping[str, str] | None = None
    has_known_answer: bool = False
    correct: bool | None = None
    task: Puzzle | None = field(default=None, repr=False)
    passed: Mapping[str, Any] | None = field(default=None, repr=False)

    @staticmethod
    def of(question: Question, best: BestAttempt | None, task: Puzzle) -> Answer:
        """From a question as it was read, and what became of it; without an attempt where it could not be read."""
        tokens = question.tokens
        place: dict[str, Any] = {"place": question.place, "line": question.line, "columns": question.columns}
        place |= {"has_known_answer": question.has_answer, "task": task}
        if tokens is None:
            return Answer(puzzle=question.text, error=question.error, **place)
        if question.answered is not None:
            return _passed(question.answered, tokens, place, task)
        if best is None:
            return Answer(puzzle=task.text(tokens), question=tokens, **place)
        return Answer(
            puzzle=task.text(tokens),
            text=task.text(best.answer),
            verified=best.verified,
            steps=best.steps,
            attempts=best.attempts,
            total_steps=best.total_steps,
            halted=best.halted,
            halt_logit=best.halt_logit,
            milliseconds=best.milliseconds,
            faults=best.faults,
            question=tokens,
            tokens=best.answer,
            correct=None if question.answer is None else bool(np.array_equal(question.answer, best.answer)),
            **place,
        )

    def to_plain(self) -> dict[str, Any]:
        """One object of `run --json`."""
        if self.passed is not None:
            return dict(self.passed)
        if self.error:
            found: dict[str, Any] = {"puzzle": self.puzzle, "error": self.error}
        else:
            found = {
                "puzzle": self.puzzle,
                "answer": self.text,
                "steps": self.steps,
                "attempts": self.attempts,
                "total_steps": self.total_steps,
                "halted": self.halted,
                "halt_logit": self.halt_logit,
                "verified": self.verified,
                "milliseconds": round(self.milliseconds, 3),
            }
        if self.columns is not None:  # of a table: what it is joined by
            found["line"] = self.line
            found |= {"columns": dict(self.columns)} if self.columns else {}
        if self.has_known_answer and not self.error:
            found["correct"] = self.correct
        return found

    @property
    def grid(self) -> str:
        """The answer drawn with box lines, what was filled in in (brackets); empty where there is an error."""
        return self.draw(colour=False)

    def draw(self, *, colour: bool) -> str:
        """The answer as a grid for the terminal, in which the givens stand out; empty where there is none."""
        if self.task is None or self.question is None or self.tokens is None:
            return ""
        return self.task.draw(self.question, self.tokens, colour=colour)

    def write_png(self, path: Path) -> None:
        """Draw what `to_text` shows; nothing where the puzzle could not be read.

        Raises:
            MissingPackage: matplotlib is not installed.
            TrmDeployError: the file cannot be written.
        """
        if self.task is not None and self.question is not None and self.tokens is not None:
            write_png(path, self.task, self.question, self.tokens)

    def to_text(self, *, colour: bool) -> str:
        """The drawn grid and a line that says what to think of it."""
        if self.error:
            return f"error: {self.error}"
        verdict = "verified" if self.verified else "NOT SOLVED, this is the best attempt"
        cost = f"{_count(self.steps, 'step')}, {self.milliseconds:.0f} ms"
        if self.passed is not None:
            return "\n".join([self.place, self.draw(colour=colour), f"{verdict} by an earlier run"]) + "\n"
        if self.attempts > 1:
            cost = f"{_count(self.steps, 'step')}, attempt {self.attempts}, {self.total_steps} steps in all, "
            cost += f"{self.milliseconds:.0f} ms"
        lines = [self.place, self.draw(colour=colour), f"{verdict}: {cost}"]
        if self.faults:
            more = f"; and {len(self.faults) - SHOWN_FAULTS} more" if len(self.faults) > SHOWN_FAULTS else ""
            lines.append("broken rules: " + "; ".join(self.faults[:SHOWN_FAULTS]) + more)
        if self.correct is False:
            lines.append("this is not the known answer")
        return "\n".join(lines) + "\n"


def _passed(found: Mapping[str, Any], question: Tokens, place: dict[str, Any], task: Puzzle) -> Answer:
    """An answer of an earlier run, which the reader has checked against the rules."""
    text = str(found["answer"])
    tokens = task.parse_line(text)
    return Answer(
        puzzle=task.text(question), text=text, verified=True, question=question, tokens=tokens, passed=found, **place
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
