"""An opened model with its task: from puzzles to answers, in the order of the input."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trm_deploy import puzzles
from trm_deploy.artefacts import kind, record, shipped
from trm_deploy.artefacts.record import BuildRecord, RecordedSchedule
from trm_deploy.artefacts.shipped import ShippedModel
from trm_deploy.errors import InputError
from trm_deploy.puzzles import reading
from trm_deploy.puzzles.base import Puzzle, TextPuzzle, Tokens
from trm_deploy.puzzles.reading import Question
from trm_deploy.runtimes import load, registry
from trm_deploy.runtimes.base import Device, Runtime, check_step_limit
from trm_deploy.runtimes.solving.answer import Answer
from trm_deploy.runtimes.solving.attempts import Schedule, solve_stream
from trm_deploy.runtimes.solving.scheduling import Executor, Work, check_batch, default_batch, executor
from trm_deploy.signature import Precision
from trm_deploy.support.files import is_regular_file

log = logging.getLogger(__name__)

# Text (one line, or a grid of several lines), or token ids int32 [L].
PuzzleLike = str | NDArray[Any] | Sequence[int]


@dataclass(frozen=True)
class SolveOptions:
    """How to solve, as far as a caller says so; None: what the model or its record says.

    Attributes:
        attempts: maximum number of attempts a puzzle; for ARC None: every augmentation that was trained.
        attempt_steps: maximum number of supervision steps of each attempt; the last entry repeats.
        budget: maximum number of supervision steps of all attempts at a puzzle.
        halt_threshold: an attempt ends when its halting logit exceeds it.
        batch_size: puzzles at a time; None: `SolvingSession.batch_size`.
        in_flight: whether a puzzle that halts makes room at once; None: where the model has the step form.
        seed: random seed for the symmetries.
        speculate: whether idle slots compute attempts ahead of their turn; None: where an idle slot costs as much as
            one in use.
    """

    attempts: int | None = None
    attempt_steps: tuple[int, ...] | None = None
    halt_threshold: float | None = None
    batch_size: int | None = None
    in_flight: bool | None = None
    seed: int = 0
    budget: int | None = None
    speculate: bool | None = None

    def __post_init__(self) -> None:
        for flag, value in (("--attempts", self.attempts), ("--budget", self.budget)):
            if value is not None and value < 1:
                raise InputError(f"{flag} is {value}, expected at least 1")
        if self.attempt_steps is not None and (not self.attempt_steps or min(self.attempt_steps) < 1):
            raise InputError(f"--attempt-steps is {list(self.attempt_steps)}, expected numbers of at least 1")


def shipped_engine(graph: Literal["loop", "step"] = "loop") -> Path:
    """The first of the shipped models, for Sudoku, as ONNX; raises as `ShippedModel.path` does."""
    return shipped.models()[0].path(graph)


def path_of(engine: Path | ShippedModel | None) -> Path:
    """The artefact: of a name, of a shipped model in the step form, and the first of these where None."""
    if isinstance(engine, Path):
        return shipped.local(engine)
    return shipped_engine("step") if engine is None else engine.path("step")


def announce(engine: object) -> None:
    """Log which shipped model was taken, where nobody named one."""
    if isinstance(engine, ShippedModel):
        log.info("model: %s, for %s (shipped with the package)", engine.name, engine.task)


@dataclass(frozen=True)
class Source:
    """The puzzles of a run, to be read once.

    Attributes:
        names: files, "-" for standard input, or puzzles themselves.
        questions: what they hold.
        slots: puzzles at a time that suit their number.
    """

    names: tuple[str, ...]
    questions: Iterator[Question]
    slots: int


@dataclass(frozen=True)
class SolvingSession:
    """An opened model and the task that it was made for.

    Attributes:
        path: the artefact.
        runtime: runs it.
        puzzle: its task.
        built: the record beside it; None where there is none.
        assumed: whether it is the shipped model because none was named.
    """

    path: Path
    runtime: Runtime
    puzzle: Puzzle
    built: BuildRecord | None = None
    assumed: bool = False

    def max_steps(self, options: SolveOptions) -> int:
        """Maximum number of supervision steps of a first attempt: the caller's, else the model's own."""
        return options.attempt_steps[0] if options.attempt_steps else self.own_steps

    @property
    def own_steps(self) -> int:
        """The model's own number of supervision steps an attempt."""
        return self.runtime.fixed_steps or self.runtime.spec.halting.max_steps

    @property
    def default_schedule(self) -> RecordedSchedule:
        """How puzzles are tried where the caller says nothing: as the artefact's record says, else as the task needs.

        A task without rules has no way to tell that another attempt is needed.
        """
        if not self.puzzle.has_rules:
            return RecordedSchedule(attempts=1, attempt_steps=(self.own_steps,))
        return record.default_schedule(self.built, self.own_steps)

    def halt_threshold(self, options: SolveOptions) -> float:
        """The threshold in force: the caller's, else the record's, else the model's own."""
        if options.halt_threshold is not None:
            return options.halt_threshold
        if self.runtime.baked is not None:
            return self.runtime.baked.halt_threshold
        return self.runtime.spec.halting.threshold if self.built is None else self.built.halting_threshold

    def schedule(self, options: SolveOptions) -> Schedule:
        """How often and how long a puzzle is tried.

        The default schedule holds only where the caller says nothing of attempts, their steps or the budget. Attempts
        alone keep the model's own steps; a budget alone allows any number of attempts; steps alone are of one attempt.

        Raises:
            InputError: steps that an unrolled engine cannot keep, or a schedule for a task without rules.
        """
        if not self.puzzle.has_rules and (options.budget is not None or len(options.attempt_steps or ()) > 1):
            flag = "--budget" if options.budget is not None else "--attempt-steps with several numbers"
            raise InputError(
                f"{flag}: no rule tells whether an answer to {self.puzzle.name} is right and another attempt is needed",
                hint="leave it out",
            )
        default = self.default_schedule
        if (options.attempts, options.attempt_steps, options.budget) != (None, None, None):
            attempts = options.attempts or options.budget or 1
            default = RecordedSchedule(attempts=attempts, attempt_steps=options.attempt_steps or (self.own_steps,))
            default = replace(default, budget=options.budget)
        for steps in default.attempt_steps:
            check_step_limit(self.runtime.fixed_steps, steps, self.runtime.baked)
        return Schedule(
            attempts=default.attempts,
            attempt_steps=default.attempt_steps,
            halt_threshold=self.halt_threshold(options),
            seed=options.seed,
            budget=default.budget,
        )

    def batch_size(self, options: SolveOptions) -> int:
        """Puzzles at a time, where there are that many.

        See `default_batch`.

        Raises:
            InputError: more than the model takes.
        """
        if options.batch_size is not None:
            check_batch(self.runtime, options.batch_size, str(self.path))
            return options.batch_size
        return default_batch(self.runtime, in_flight=options.in_flight)

    def executor(self, size: int, options: SolveOptions) -> Executor:
        """What computes the attempts, `size` at a time; raises `InputError` where the model cannot."""
        return executor(self.runtime, size, in_flight=options.in_flight, name=str(self.path))

    def read(
        self,
        names: Sequence[str],
        options: SolveOptions,
        *,
        input_format: str | None = None,
        column: str | None = None,
    ) -> Source:
        """The puzzles of files, standard input, or arguments that are puzzles themselves.

        Args:
            names: as they were typed. Files are opened when their turn comes.
            options: how they will be solved.
            input_format: format of the files, see `trm_deploy.puzzles.text`; None: what they look like.
            column: column or key that holds the puzzles; None: found by its name or by what it holds.

        Raises:
            InputError: a file that cannot be read as a whole, or a batch that the model does not take. For regular
                files as soon as the first puzzles cannot be read, else while iterating.
        """
        size = self.batch_size(options)
        found = itertools.chain.from_iterable(self._questions(name, input_format, column) for name in names)
        if options.batch_size is None and "-" in names:
            size = 1  # whoever types puzzles waits for the answer before the next
        elif all(is_regular_file(name) or self.is_puzzle(name) for name in names):
            # A call costs the same however many of its rows are in use, so small inputs get small batches.
            head = list(itertools.islice(found, size))
            size = max(1, len(head))
            found = itertools.chain(head, found)
        return Source(tuple(names), found, size)

    def question(self, puzzle: PuzzleLike, place: str) -> Question:
        """A puzzle as read; one that cannot be read has an error, which begins with its place."""
        task = self.puzzle
        if isinstance(puzzle, str):
            assert isinstance(task, TextPuzzle)
            try:
                found = list(reading.read_text(puzzle, place, task))
            except InputError as error:
                return Question(place, puzzle, None, str(error))
            if len(found) > 1:
                return Question(place, puzzle, None, f"{place}: holds {len(found)} puzzles, expected one")
            return Question(place, found[0].text, found[0].tokens, found[0].error)
        tokens, fault = _tokens_of(puzzle, task.cells, len(task.vocabulary))
        if tokens is None:
            return Question(place, "", None, f"{place}: {fault}")
        if faults := task.question_faults(tokens):
            fault = f"{place}: the givens break the rules: {'; '.join(faults)}"
            return Question(place, task.text(tokens), None, fault)
        return Question(place, task.text(tokens), tokens)

    def solve(
        self, questions: Iterable[Question], options: SolveOptions, *, slots: int, work: Work | None = None
    ) -> Iterator[Answer]:
        """Solve any number of puzzles in constant memory.

        Args:
            questions: the puzzles; taken only where a slot is free.
            options: how.
            slots: puzzles at a time.
            work: is filled with what was computed.

        Yields:
            One answer a puzzle, in the order of the input; one with an `error` for a puzzle that could not be read.
        """
        computing = self.executor(slots, options)
        if work is not None:
            computing.work = work
        solved = solve_stream(
            computing, self.puzzle, questions, self.schedule(options), tokens=_tokens, speculate=options.speculate
        )
        for question, best in solved:
            yield Answer.of(question, best, self.puzzle)

    def _questions(self, name: str, input_format: str | None, column: str | None) -> Iterator[Question]:
        try:
            if self.is_puzzle(name) and isinstance(self.puzzle, TextPuzzle):
                yield from reading.read_text(name, "argument", self.puzzle, input_format=input_format)
            else:
                yield from puzzles.questions(name, self.puzzle, input_format=input_format, column=column)
        except reading.OtherSize as error:
            assumed = "the shipped model was assumed: name another with --engine"
            error.hint = assumed if self.assumed else f"the engine is {self.path}: name another with --engine"
            raise

    def is_puzzle(self, name: str) -> bool:
        """Whether an argument is a puzzle itself rather than a file's name."""
        if not isinstance(self.puzzle, TextPuzzle) or not reading.is_text_of(name, self.puzzle):
            return False
        try:
            return not Path(name).exists()
        except OSError:  # too long for a file's name
            return True


def open_session(
    engine: Path | ShippedModel | None = None,
    *,
    device: Device = "cpu",
    allow_host_code: bool = False,
    precision: Precision | None = None,
    compiled: bool = False,
    overrides: Sequence[str] = (),
    runtime: str | None = None,
) -> SolvingSession:
    """Load a model, the shipped one where None; see `trm_deploy.runtimes.load`.

    It may be the name of a shipped model, or one on the hub; or a shipped model that nobody named.

    Without the name of a runtime it gets the fastest by `registry.fastest`.

    Raises:
        InputError: a file that is not ours, or whose task nothing names.
        CannotRunHere: the package or device that it needs is missing.
    """
    path = path_of(engine)
    loaded = load(
        path,
        registry.fastest(path, kind.of(path), device, runtime).name,
        device=device,
        allow_host_code=allow_host_code,
        precision=precision,
        compiled=compiled,
        overrides=overrides,
    )
    if not loaded.spec.task.name:
        say = "add" if kind.of(path) is kind.Kind.checkpoint else "export it again with"
        raise InputError(
            f"{path}: its spec names no task, so text cannot be turned into tokens",
            hint=f"{say} --set task=sudoku-9x9, or whichever it is",
        )
    announce(engine)
    built = None if path.is_dir() else record.read_matching(path)
    return SolvingSession(path, loaded, puzzles.get(loaded.spec.task.name), built, assumed=not isinstance(engine, Path))


def _tokens(question: Question) -> Tokens | None:
    """What is to be solved; nothing where an earlier run's answer is passed through."""
    return None if question.answered is not None else question.tokens


def _tokens_of(values: object, length: int, vocabulary: int) -> tuple[Tokens | None, str]:
    """Token ids int32 [L]; or None and what is wrong."""
    array = np.asarray(values)
    if array.dtype.kind not in "iu" or array.shape != (length,):
        return None, f"is {array.dtype} {list(array.shape)}, expected text or token ids int32 [{length}]"
    if array.min() < 0 or array.max() >= vocabulary:
        return None, f"has tokens from {array.min()} to {array.max()}, expected 0 to {vocabulary - 1}"
    return array.astype(np.int32), ""
