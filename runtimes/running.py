"""From files with puzzles to answers, in the order of the input."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from trm_deploy import puzzles, record
from trm_deploy.errors import InputError
from trm_deploy.puzzles import reading
from trm_deploy.puzzles.base import Puzzle
from trm_deploy.puzzles.reading import Question
from trm_deploy.runtimes import load
from trm_deploy.runtimes.base import Device
from trm_deploy.runtimes.verified import Answer, SolveSettings, solve_verified

# A bad answer breaks dozens of rules; the first few tell enough.
SHOWN_FAULTS = 6
SHIPPED_ENGINE = "sudoku.onnx"


@dataclass(frozen=True)
class RunSettings:
    """As `SolveSettings`; None stands for what the engine says itself."""

    attempts: int = 1
    max_steps: int | None = None
    halt_threshold: float | None = None
    batch_size: int = 1
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """A question and its answer; a question that could not be read has none."""

    question: Question
    answer: Answer | None
    puzzle: Puzzle

    def to_plain(self) -> dict[str, Any]:
        """One object of `run --json`."""
        if self.answer is None or self.question.tokens is None:
            return {"puzzle": self.question.text, "error": self.question.error}
        return {
            "puzzle": self.puzzle.text(self.question.tokens),
            "answer": self.puzzle.text(self.answer.answer),
            "steps": self.answer.steps,
            "attempts": self.answer.attempts,
            "total_steps": self.answer.total_steps,
            "halted": self.answer.halted,
            "halt_logit": self.answer.halt_logit,
            "verified": self.answer.verified,
            "milliseconds": round(self.answer.milliseconds, 3),
        }

    def to_text(self, *, colour: bool) -> str:
        """The drawn grid and a line that says what to think of it."""
        if self.answer is None or self.question.tokens is None:
            return f"error: {self.question.error}"
        answer = self.answer
        grid = self.puzzle.draw(self.question.tokens, answer.answer, colour=colour)
        verdict = "verified" if answer.verified else "NOT SOLVED, this is the best attempt"
        cost = f"{_count(answer.steps, 'step')}, {answer.milliseconds:.0f} ms"
        if answer.attempts > 1:
            cost = f"{_count(answer.steps, 'step')}, attempt {answer.attempts}, {answer.total_steps} steps in all, "
            cost += f"{answer.milliseconds:.0f} ms"
        lines = [f"{self.question.place}", grid, f"{verdict}: {cost}"]
        if answer.faults:
            more = f"; and {len(answer.faults) - SHOWN_FAULTS} more" if len(answer.faults) > SHOWN_FAULTS else ""
            lines.append("broken rules: " + "; ".join(answer.faults[:SHOWN_FAULTS]) + more)
        return "\n".join(lines) + "\n"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def shipped_engine() -> Path:
    """The model that comes with the package, as ONNX.

    Raises:
        InputError: this installation lacks it.
    """
    entry = resources.files("trm_deploy") / "assets" / SHIPPED_ENGINE
    path = Path(str(entry))
    if not path.is_file():
        raise InputError(f"{path}: this installation lacks the shipped model", hint="name one with --engine")
    return path


def run(
    engine: Path | None,
    files: Iterable[str],
    settings: RunSettings,
    *,
    device: Device = "cpu",
    allow_host_code: bool = False,
) -> Iterator[Outcome]:
    """Solve the puzzles of files (or "-", standard input) with an engine, the shipped one where None.

    Yields:
        One outcome a puzzle, in the order of the input.

    Raises:
        InputError: a file that cannot be read as a whole, an engine that is not ours.
        CannotRunHere: the engine's package or device is missing.
    """
    path = engine or shipped_engine()
    runtime = load(path, device=device, allow_host_code=allow_host_code)
    if not runtime.spec.task.name:
        raise InputError(
            f"{path}: its spec names no task, so text cannot be turned into tokens",
            hint="export it again with --set task=sudoku-9x9, or whichever it is",
        )
    puzzle = puzzles.get(runtime.spec.task.name)
    solve_settings = SolveSettings(
        attempts=settings.attempts,
        max_steps=settings.max_steps or runtime.fixed_steps or runtime.spec.halting.max_steps,
        halt_threshold=record.halting_threshold(settings.halt_threshold, path, runtime.spec),
        seed=settings.seed,
    )
    questions = itertools.chain.from_iterable(reading.read(name, puzzle) for name in files)
    while batch := list(itertools.islice(questions, settings.batch_size)):
        readable = [question.tokens for question in batch if question.tokens is not None]
        answers = iter(solve_verified(runtime, puzzle, np.stack(readable), solve_settings) if readable else ())
        for question in batch:
            yield Outcome(question, None if question.tokens is None else next(answers), puzzle)
