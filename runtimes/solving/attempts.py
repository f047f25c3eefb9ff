"""Puzzles through a runtime with the answers checked by the rules, and tried again under symmetries where they fail.

An answer is never trusted: it is verified by the task's rules or shown as the best attempt.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from trm_deploy.puzzles.base import Puzzle, Symmetries, Tokens
from trm_deploy.runtimes.base import Runtime
from trm_deploy.runtimes.solving.scheduling import Executor, Finished, Limits, executor

Item = TypeVar("Item")


@dataclass(frozen=True)
class Answer:
    """What became of one puzzle.

    Attributes:
        answer: int32 [L], in the puzzle's own form, of the attempt shown.
        steps: supervision steps of that attempt.
        attempts: how many were made.
        total_steps: supervision steps of them all.
        halted: whether the attempt shown halted by itself.
        halt_logit: of the attempt shown.
        faults: the rules that the answer breaks; empty means verified.
        milliseconds: of computing; a batch's time is shared evenly among its puzzles.
    """

    answer: Tokens
    steps: int
    attempts: int
    total_steps: int
    halted: bool
    halt_logit: float
    faults: tuple[str, ...]
    milliseconds: float

    @property
    def verified(self) -> bool:
        """Whether the answer obeys the rules and keeps the givens."""
        return not self.faults


@dataclass(frozen=True)
class SolveSettings:
    """How puzzles are solved.

    Attributes:
        attempts: tries a puzzle at the most; the first is the puzzle itself, the others are symmetric forms of it, and
            fewer where the task has fewer of them (a maze has at most seven).
        max_steps: supervision steps an attempt at the most.
        halt_threshold: see `Runtime.solve`.
        seed: of the symmetries.
    """

    attempts: int
    max_steps: int
    halt_threshold: float
    seed: int = 0

    @property
    def limits(self) -> Limits:
        """When an attempt ends."""
        return Limits(self.max_steps, self.halt_threshold)


def solve_verified(runtime: Runtime, puzzle: Puzzle, questions: Tokens, settings: SolveSettings) -> list[Answer]:
    """Solve questions int32 [B, L], B at a time; see `solve_stream`."""
    found = solve_stream(
        executor(runtime, len(questions), settings.limits), puzzle, questions, settings, tokens=_itself
    )
    return [answer for _, answer in found if answer is not None]


def _itself(question: Tokens) -> Tokens:
    return question


def solve_stream(
    executor: Executor,
    puzzle: Puzzle,
    items: Iterable[Item],
    settings: SolveSettings,
    *,
    tokens: Callable[[Item], Tokens | None],
) -> Iterator[tuple[Item, Answer | None]]:
    """Solve as many questions as there are, in constant memory.

    An attempt's symmetry follows from the seed and the attempt's number alone, so that an answer does not depend on
    what shares its batch or comes before it. The task needs rules (`Puzzle.has_rules`): without, all would be verified.
    Further attempts take the places of a batch like first ones. Items are asked for only where a place is free.

    Args:
        executor: computes the attempts.
        puzzle: the task.
        items: what to solve.
        settings: how.
        tokens: the question int32 [L] of an item; None where it has none, and then no answer either.

    Yields:
        Each item with its answer, in the order of the items.
    """
    if not puzzle.has_rules:
        raise ValueError(f"{puzzle.name} has no rules to verify an answer by")
    forms = _Forms(puzzle, settings)
    source = iter(items)
    # A puzzle that takes many attempts holds back those behind it, but not the batch.
    window = WINDOW * executor.size
    begun: deque[_Open[Item]] = deque()  # in the order of the items, the finished ones that wait for others included
    again: deque[_Open[Item]] = deque()  # to be asked once more
    more = True
    while True:
        while executor.free and (again or (more and len(begun) < window)):
            if again:
                entry = again.popleft()
            else:
                item = next(source, _END)
                if item is _END:
                    more = False
                    continue
                entry = _Open(item, tokens(item))
                begun.append(entry)
            if entry.question is None:
                entry.done = True
            else:
                executor.admit(entry, forms.apply(entry.attempts, entry.question))
        if executor.busy:
            for attempt in executor.advance():
                entry = attempt.key
                entry.take(attempt, forms, puzzle, settings)
                if not entry.done:
                    again.append(entry)
        while begun and begun[0].done:
            entry = begun.popleft()
            yield entry.item, entry.best
        if not (begun or more):
            return


_END: Any = object()
# Puzzles that may be begun and not yet given back, for each place of the batch.
WINDOW = 32


class _Forms:
    """The symmetric forms of a task, in the order of the attempts; made as far as they are needed."""

    def __init__(self, puzzle: Puzzle, settings: SolveSettings) -> None:
        self._known: list[Symmetries | None] = [None]  # the first attempt is the question itself
        self._further = itertools.islice(puzzle.further_forms(settings.seed), settings.attempts - 1)

    def there_is(self, number: int) -> bool:
        """Whether there is a form of this number, from 0."""
        while len(self._known) <= number:
            form = next(self._further, None)
            if form is None:
                return False
            self._known.append(form)
        return True

    def apply(self, number: int, question: Tokens) -> Tokens:
        """Form `number` of a question [L]."""
        form = self._known[number]
        return question if form is None else form.apply(question[None])[0]

    def invert(self, number: int, answer: Tokens) -> Tokens:
        """The answer [L] to the question, from that to its form."""
        form = self._known[number]
        return answer if form is None else form.invert(answer[None])[0]


class _Open(Generic[Item]):
    """An item on its way."""

    def __init__(self, item: Item, question: Tokens | None) -> None:
        self.item = item
        self.question = question
        self.attempts = 0  # that have ended
        self.best: Answer | None = None
        self.done = False

    def take(self, attempt: Finished, forms: _Forms, puzzle: Puzzle, settings: SolveSettings) -> None:
        """An attempt has ended."""
        assert self.question is not None
        answer = forms.invert(self.attempts, attempt.answer)
        self.attempts += 1
        now = Answer(
            answer=answer,
            steps=attempt.steps,
            attempts=1,
            total_steps=attempt.steps,
            halted=attempt.halt_logit > settings.halt_threshold,
            halt_logit=attempt.halt_logit,
            faults=tuple(puzzle.answer_faults(self.question, answer)),
            milliseconds=attempt.milliseconds,
        )
        self.best = _better(self.best, now)
        self.done = self.best.verified or not forms.there_is(self.attempts)


def _better(before: Answer | None, now: Answer) -> Answer:
    """The attempt to show (fewest broken rules, then the earlier), with the costs of both."""
    if before is None:
        return now
    shown = now if len(now.faults) < len(before.faults) else before
    return Answer(
        answer=shown.answer,
        steps=shown.steps,
        attempts=before.attempts + 1,
        total_steps=before.total_steps + now.total_steps,
        halted=shown.halted,
        halt_logit=shown.halt_logit,
        faults=shown.faults,
        milliseconds=before.milliseconds + now.milliseconds,
    )
