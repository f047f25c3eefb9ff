"""From files with puzzles to answers, in the order of the input."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from trm_deploy import drawing, puzzles, record
from trm_deploy.errors import InputError
from trm_deploy.puzzles.base import Puzzle
from trm_deploy.puzzles.reading import Question
from trm_deploy.runtimes import load
from trm_deploy.runtimes.base import Device, Runtime
from trm_deploy.runtimes.verified import Answer, SolveSettings, solve_verified

# A bad answer breaks dozens of rules; the first few tell enough.
SHOWN_FAULTS = 6
SHIPPED_ENGINE = "sudoku.onnx"


@dataclass(frozen=True)
class RunSettings:
    """As `SolveSettings`; None stands for what the engine says itself, of attempts for what the task calls for."""

    attempts: int | None = None
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

    def write_png(self, path: Path) -> None:
        """Draw what `to_text` shows; nothing where the question could not be read.

        Raises:
            MissingPackage: matplotlib is not installed.
            TrmDeployError: the file cannot be written.
        """
        if self.answer is not None and self.question.tokens is not None:
            drawing.write_png(path, self.puzzle, self.question.tokens, self.answer.answer)

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


@dataclass(frozen=True)
class OpenEngine:
    """A loaded engine and the task that it was made for."""

    path: Path
    runtime: Runtime
    puzzle: Puzzle

    @property
    def is_checkpoint(self) -> bool:
        """Whether it is a checkpoint, run by PyTorch, or a folder with one."""
        return self.path.is_dir() or zipfile.is_zipfile(self.path)

    def max_steps(self, settings: RunSettings) -> int:
        """Supervision steps at the most: the flag's, else the engine's own."""
        return settings.max_steps or self.runtime.fixed_steps or self.runtime.spec.halting.max_steps

    def halt_threshold(self, settings: RunSettings) -> float:
        """The threshold in force: the flag's, else the record's, else the engine's own."""
        return record.halting_threshold(settings.halt_threshold, self.path, self.runtime.spec)


def open_engine(engine: Path | None, *, device: Device = "cpu", allow_host_code: bool = False) -> OpenEngine:
    """Load an engine, the shipped one where None.

    Raises:
        InputError: an engine that is not ours, or whose task nothing names.
        CannotRunHere: the engine's package or device is missing.
    """
    path = engine or shipped_engine()
    runtime = load(path, device=device, allow_host_code=allow_host_code)
    if not runtime.spec.task.name:
        raise InputError(
            f"{path}: its spec names no task, so text cannot be turned into tokens",
            hint="export it again with --set task=sudoku-9x9, or whichever it is",
        )
    return OpenEngine(path, runtime, puzzles.get(runtime.spec.task.name))


def run(engine: OpenEngine, files: Iterable[str], settings: RunSettings) -> Iterator[Outcome]:
    """Solve the puzzles of files (or "-", standard input).

    Yields:
        One outcome a puzzle, in the order of the input.

    Raises:
        InputError: a file that cannot be read as a whole.
    """
    puzzle = engine.puzzle
    solve_settings = SolveSettings(
        attempts=settings.attempts or 1,
        max_steps=engine.max_steps(settings),
        halt_threshold=engine.halt_threshold(settings),
        seed=settings.seed,
    )
    questions = itertools.chain.from_iterable(puzzles.questions(name, puzzle) for name in files)
    while batch := list(itertools.islice(questions, settings.batch_size)):
        readable = [question.tokens for question in batch if question.tokens is not None]
        answers = iter(solve_verified(engine.runtime, puzzle, np.stack(readable), solve_settings) if readable else ())
        for question in batch:
            yield Outcome(question, None if question.tokens is None else next(answers), puzzle)
