"""A model that is served: what comes over the wire becomes jobs for its engine, and jobs become answers."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trm_deploy.errors import InputError
from trm_deploy.puzzles import reading
from trm_deploy.puzzles.base import TextPuzzle, Tokens
from trm_deploy.puzzles.reading import Question
from trm_deploy.runtimes.base import StepRuntime
from trm_deploy.runtimes.solving.answer import Answer
from trm_deploy.runtimes.solving.attempts import Attempts, Forms, Tries
from trm_deploy.runtimes.solving.scheduling import Finished, Limits, Request, WatchedStep
from trm_deploy.runtimes.solving.session import PuzzleLike, SolveOptions, SolvingSession
from trm_deploy.runtimes.solving.trace import TraceStep, check_shows_steps, trace_step
from trm_deploy.serving.engine import EngineThread, Job, Once, StepByStep

# Attempts that a request may ask for.
MAX_ATTEMPTS = 1024
# Numbers of attempts whose symmetric forms are kept: each form is about a kilobyte.
KEPT_FORMS = 8


class TooMany(Exception):
    """More puzzles than a request may have."""


@dataclass(frozen=True)
class Solving:
    """The puzzles of one request: those that could be read are in the job.

    Attributes:
        questions: all of them, in order.
        attempts: for each what is computed; None where it could not be read, or an earlier run has answered it.
        job: for the engine.
    """

    questions: Sequence[Question]
    attempts: Sequence[Attempts | None]
    job: Job


class ServedModel:
    """A model with its name and the thread that owns it."""

    def __init__(self, name: str, session: SolvingSession, options: SolveOptions, *, queue: int) -> None:
        """Begin to serve.

        Args:
            name: by which clients know it.
            session: the model; nobody else may use it from here on.
            options: how puzzles are solved.
            queue: maximum number of puzzles that wait.

        Raises:
            InputError: options that the model cannot keep.
        """
        self.name, self.session, self.options = name, session, options
        slots = session.batch_size(options)
        if session.puzzle.has_rules:
            session.schedule(options)  # refused now rather than at the first request
        self.engine = EngineThread(lambda: session.executor(slots, options), queue=queue, speculate=options.speculate)
        self.in_flight = isinstance(session.runtime, StepRuntime) and options.in_flight is not False
        self._forms = functools.lru_cache(KEPT_FORMS)(self._make_forms)

    def _make_forms(self, attempts: int | None) -> Forms:
        options = self.options if attempts is None else replace(self.options, attempts=attempts)
        return Forms(self.session.puzzle, self.session.schedule(options))

    def read_text(self, body: bytes, most: int, *, input_format: str | None, column: str | None) -> list[Question]:
        """The puzzles of a text in any format that `run` reads.

        Raises:
            InputError: the text as a whole cannot be read.
            TooMany: more than `most` puzzles.
        """
        self._require_rules()
        assert isinstance(self.session.puzzle, TextPuzzle)
        if not body.strip():
            raise InputError("request: holds no puzzle")
        return self._at_most(
            most, reading.read_bytes(body, "request", self.session.puzzle, input_format=input_format, column=column)
        )

    def read_list(self, puzzles: Sequence[PuzzleLike], most: int) -> list[Question]:
        """The puzzles of a list, each text or token ids; raises as `read_text` does."""
        self._require_rules()
        found = (self.session.question(puzzle, f"puzzle {number}") for number, puzzle in enumerate(puzzles, start=1))
        return self._at_most(most, found)

    def _require_rules(self) -> None:
        if not self.session.puzzle.has_rules:
            raise InputError(
                f"{self.name} is for {self.session.puzzle.name}, whose answers no rules verify",
                hint=f"use POST /v2/models/{self.name}/infer, which gives the model's own answers",
            )

    def _at_most(self, most: int, questions: Iterable[Question]) -> list[Question]:
        found = list(itertools.islice(questions, most + 1))
        if len(found) > most:
            raise TooMany(f"the request has more than {most} puzzles, expected at most that many")
        return found

    def solving(self, questions: Sequence[Question], attempts: int | None) -> Solving:
        """What is to be computed for questions, in up to `attempts` attempts each; None: as the model is served."""
        forms = self._forms(attempts)
        tries = [
            None if question.tokens is None or question.answered is not None else Attempts(forms, question.tokens)
            for question in questions
        ]
        return Solving(questions, tries, Job([each for each in tries if each is not None]))

    def answer(self, solving: Solving, place: int) -> Answer:
        """What became of the puzzle at a place, from 0."""
        attempts = solving.attempts[place]
        best = None if attempts is None else attempts.best
        return Answer.of(solving.questions[place], best, self.session.puzzle)

    def watching(
        self,
        questions: Sequence[Question],
        attempts: int | None,
        show: Callable[[int, TraceStep], None],
        answered: Callable[[int, Answer], None],
    ) -> Solving:
        """As `solving`; steps and answers are shown as they are computed, with the place of their puzzle from 0.

        Both functions are called in the engine's thread.

        Raises:
            InputError: a model that shows its last step alone.
        """
        check_shows_steps(self.session)
        plain = self.solving(questions, attempts)
        forms = self._forms(attempts)
        places = [place for place, each in enumerate(plain.attempts) if each is not None]
        tries: list[Tries] = list(plain.job.tries)
        if not self.in_flight:
            tries = [StepByStep(each) for each in plain.attempts if each is not None]
        place_of = {each: place for each, place in zip(tries, places)}

        def watch(request: Request, step: WatchedStep) -> None:
            place = place_of[request.key[0]]
            tokens = questions[place].tokens
            assert tokens is not None
            show(place, trace_step(forms, tokens, request, step))

        def one_ended(number: int) -> None:
            answered(places[number], self.answer(plain, places[number]))

        return replace(plain, job=Job(tries, watch=watch, one_ended=one_ended))

    def inferring(self, tokens: Tokens, puzzle_ids: Tokens | None, limits: Limits) -> Job:
        """One attempt at each question int32 [B, L], that nothing verifies; B at least 1, values in range."""
        ids = np.zeros(len(tokens), np.int32) if puzzle_ids is None else puzzle_ids
        return Job([Once(Request(None, row, limits, int(number))) for row, number in zip(tokens, ids)])

    def limits(self, max_steps: int | None, halt_threshold: float | None) -> Limits:
        """When a single attempt ends: as a request says, else as the model is served."""
        steps = self.session.max_steps(self.options) if max_steps is None else max_steps
        threshold = self.session.halt_threshold(self.options) if halt_threshold is None else halt_threshold
        return Limits(steps, threshold)


def finished(job: Job) -> list[Finished]:
    """What an inferring job has come to, question by question."""
    found: list[Any] = [each.finished for each in job.tries if isinstance(each, Once)]
    return found
