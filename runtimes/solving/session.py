"""From files with puzzles to answers, in the order of the input."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from trm_deploy import puzzles
from trm_deploy.artefacts import record
from trm_deploy.errors import InputError
from trm_deploy.puzzles.base import Puzzle, Tokens
from trm_deploy.puzzles.picture import write_png
from trm_deploy.puzzles.reading import Question
from trm_deploy.runtimes import load
from trm_deploy.runtimes.base import Device, Runtime, StepRuntime
from trm_deploy.runtimes.solving.attempts import BestAttempt, Schedule, solve_stream
from trm_deploy.runtimes.solving.scheduling import Executor, Work, check_batch, executor
from trm_deploy.signature import Precision

# A bad answer breaks dozens of rules; the first few tell enough.
SHOWN_FAULTS = 6
SHIPPED_ENGINES = {"loop": "sudoku.onnx", "step": "sudoku-step.onnx"}
# Of an engine with the step form. More gain little on a CPU, and make a puzzle wait longer.
DEFAULT_SLOTS = 8


@dataclass(frozen=True)
class RunSettings:
    """As `Schedule`; None stands for what the engine says itself, of attempts for what the task calls for.

    Attributes:
        batch_size: puzzles at a time; None: `OpenEngine.batch_size`.
        in_flight: whether a puzzle that halts makes room at once; None: where the engine can.
    """

    attempts: int | None = None
    max_steps: int | None = None
    halt_threshold: float | None = None
    batch_size: int | None = None
    in_flight: bool | None = None
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """A question and its answer; a question that could not be read has none."""

    question: Question
    answer: BestAttempt | None
    puzzle: Puzzle

    @property
    def puzzle_text(self) -> str:
        """The puzzle in its one-line form; as it was written where it could not be read."""
        tokens = self.question.tokens
        return self.question.text if tokens is None else self.puzzle.text(tokens)

    def to_plain(self) -> dict[str, Any]:
        """One object of `run --json`."""
        if self.answer is None or self.question.tokens is None:
            return {"puzzle": self.puzzle_text, "error": self.question.error}
        return {
            "puzzle": self.puzzle_text,
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
            write_png(path, self.puzzle, self.question.tokens, self.answer.answer)

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


def shipped_engine(graph: str = "loop") -> Path:
    """The model that comes with the package, as ONNX in the loop or the step form.

    Raises:
        InputError: this installation lacks it.
    """
    entry = resources.files("trm_deploy") / "assets" / SHIPPED_ENGINES[graph]
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

    def max_steps(self, settings: RunSettings) -> int:
        """Supervision steps at the most: the flag's, else the engine's own."""
        return settings.max_steps or self.runtime.fixed_steps or self.runtime.spec.halting.max_steps

    def halt_threshold(self, settings: RunSettings) -> float:
        """The threshold in force: the flag's, else the record's, else the engine's own."""
        return record.halting_threshold(settings.halt_threshold, self.path, self.runtime.spec)

    def schedule(self, settings: RunSettings) -> Schedule:
        """How puzzles are solved, with the engine's own settings where nothing else is asked for."""
        return Schedule(
            attempts=settings.attempts or 1,
            attempt_steps=(self.max_steps(settings),),
            halt_threshold=self.halt_threshold(settings),
            seed=settings.seed,
        )

    def batch_size(self, settings: RunSettings) -> int:
        """Puzzles at a time, where there are so many.

        Unless told otherwise, one for an engine whose batches wait for their slowest puzzle: faster on a CPU.

        Raises:
            InputError: more than the engine takes.
        """
        if settings.batch_size is not None:
            check_batch(self.runtime, settings.batch_size, str(self.path))
            return settings.batch_size
        in_flight = isinstance(self.runtime, StepRuntime) and settings.in_flight is not False
        size = DEFAULT_SLOTS if in_flight else 1
        return min(size, self.runtime.largest_batch or size)

    def executor(self, size: int, settings: RunSettings) -> Executor:
        """What computes the attempts, `size` at a time; raises `InputError` where the engine cannot."""
        return executor(self.runtime, size, in_flight=settings.in_flight, name=str(self.path))


def open_engine(
    engine: Path | None,
    *,
    device: Device = "cpu",
    allow_host_code: bool = False,
    precision: Precision | None = None,
    compiled: bool = False,
    overrides: Sequence[str] = (),
) -> OpenEngine:
    """Load an engine, the shipped one where None; see `trm_deploy.runtimes.load`.

    Raises:
        InputError: an engine that is not ours, or whose task nothing names.
        CannotRunHere: the engine's package or device is missing.
    """
    path = engine or shipped_engine("step")
    runtime = load(
        path,
        device=device,
        allow_host_code=allow_host_code,
        precision=precision,
        compiled=compiled,
        overrides=overrides,
    )
    if not runtime.spec.task.name:
        raise InputError(
            f"{path}: its spec names no task, so text cannot be turned into tokens",
            hint="export it again with --set task=sudoku-9x9, or whichever it is",
        )
    return OpenEngine(path, runtime, puzzles.get(runtime.spec.task.name))


def run(
    engine: OpenEngine, files: Sequence[str], settings: RunSettings, *, done: int = 0, work: Work | None = None
) -> Iterator[Outcome]:
    """Solve the puzzles of files (or "-", standard input), as many as there are, in constant memory.

    Args:
        engine: the engine.
        files: their names.
        settings: how.
        done: leave out the first so many puzzles, which an earlier run has solved.
        work: is filled with what was computed.

    Yields:
        One outcome a puzzle, in the order of the input.

    Raises:
        InputError: a file that cannot be read as a whole, or settings that the engine cannot keep.
    """
    rest = itertools.islice(questions(engine, files), done, None)
    return solve(engine, files, settings, rest, work=work)


def solve(
    engine: OpenEngine,
    files: Sequence[str],
    settings: RunSettings,
    chosen: Iterable[Question],
    *,
    work: Work | None = None,
) -> Iterator[Outcome]:
    """As `run`, of chosen questions of the files: in a batch of the size that all would get, for the same bits."""
    size = engine.batch_size(settings)
    if settings.batch_size is None and "-" in files:
        size = 1  # whoever types puzzles waits for the answer before the next
    elif all(Path(name).is_file() for name in files):
        # A call costs the same however many of its rows are in use, so small inputs get small batches.
        size = max(1, len(list(itertools.islice(questions(engine, files), size))))
    computing = engine.executor(size, settings)
    if work is not None:
        computing.work = work
    schedule = engine.schedule(settings)
    for question, answer in solve_stream(computing, engine.puzzle, chosen, schedule, tokens=_tokens):
        yield Outcome(question, answer, engine.puzzle)


def questions(engine: OpenEngine, files: Sequence[str]) -> Iterator[Question]:
    """The questions of files, one after the other."""
    return itertools.chain.from_iterable(puzzles.questions(name, engine.puzzle) for name in files)


def _tokens(question: Question) -> Tokens | None:
    return question.tokens
