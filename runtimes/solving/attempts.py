"""Attempts at puzzles: answers are checked by the rules, and puzzles tried again under symmetries where they fail.

An answer is never trusted: it is verified by the task's rules or shown as the best attempt.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from trm_deploy.puzzles.base import Puzzle, Symmetries, Tokens
from trm_deploy.runtimes.base import Runtime
from trm_deploy.runtimes.solving.scheduling import Executor, Finished, Limits, Request, executor

Item = TypeVar("Item")


@dataclass(frozen=True)
class BestAttempt:
    """What became of one puzzle: the attempt to show, and what all its attempts cost.

    Attributes:
        answer: int32 [L], in the puzzle's own form, of the attempt shown.
        steps: supervision steps of that attempt.
        attempts: number of attempts made.
        total_steps: supervision steps of all of them.
        halted: whether the attempt shown halted by itself.
        halt_logit: of the attempt shown, at its last step.
        faults: the rules that the answer breaks; empty means verified.
        milliseconds: computing time; a batch's time is shared evenly among its puzzles.
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
class Schedule:
    """How a puzzle is tried: how often, how long, and in which forms.

    Attributes:
        attempts: maximum number of attempts a puzzle; the first is the puzzle itself, the others are symmetric forms
            of it, and fewer where the task has fewer of them (a maze has up to seven).
        attempt_steps: maximum number of supervision steps of each attempt; the last entry repeats.
        halt_threshold: see `Runtime.solve`.
        seed: random seed for the symmetries.
        budget: maximum number of supervision steps of all attempts at a puzzle; None: no limit beside theirs.
    """

    attempts: int
    attempt_steps: tuple[int, ...]
    halt_threshold: float
    seed: int = 0
    budget: int | None = None

    def in_words(self) -> str:
        """Attempts and their steps, as in "64 x 3" or "32 x 3,3,16, up to 160 steps"."""
        limit = "" if self.budget is None else f", up to {self.budget} steps"
        return f"{self.attempts} x {','.join(map(str, self.attempt_steps))}{limit}"

    def limits(self, number: int) -> Limits:
        """When attempt `number`, from 0, ends."""
        return Limits(self.attempt_steps[min(number, len(self.attempt_steps) - 1)], self.halt_threshold)


class Forms:
    """The symmetric forms of a task, in the order of the attempts; made as far as they are needed, for all puzzles."""

    def __init__(self, puzzle: Puzzle, schedule: Schedule) -> None:
        """Take the forms that a schedule tries.

        Raises:
            ValueError: the task has no rules (`Puzzle.has_rules`): without, every answer would be verified.
        """
        if not puzzle.has_rules:
            raise ValueError(f"{puzzle.name} has no rules to verify an answer by")
        self.puzzle, self.schedule = puzzle, schedule
        self._known: list[Symmetries | None] = [None]  # the first attempt is the question itself
        self._further = itertools.islice(puzzle.further_forms(schedule.seed), schedule.attempts - 1)

    def has(self, number: int) -> bool:
        """Whether there is a form of this number, from 0."""
        while len(self._known) <= number:
            form = next(self._further, None)
            if form is None:
                return False
            self._known.append(form)
        return True

    def form(self, number: int) -> Symmetries | None:
        """The symmetry of this number, from 0; None of the first attempt, which solves the question itself."""
        return self._known[number] if self.has(number) else None

    def apply(self, number: int, question: Tokens) -> Tokens:
        """Form `number` of a question [L]."""
        form = self._known[number]
        return question if form is None else form.apply(question[None])[0]

    def invert(self, number: int, answer: Tokens) -> Tokens:
        """The answer [L] to the question, from that to its form."""
        form = self._known[number]
        return answer if form is None else form.invert(answer[None])[0]

    def invert_cells(self, number: int, values: Any) -> Any:
        """A value a cell, [L], from form `number` to the puzzle's own cells."""
        form = self._known[number]
        if form is None:
            return values
        own = values.copy()
        own[form.cells[0]] = values
        return own


class Tries(Protocol):
    """What is to be computed for one puzzle, attempt by attempt: whoever computes takes the next and records it."""

    @property
    def done(self) -> bool:
        """Whether no attempt is left."""

    @property
    def underway(self) -> list[Any]:
        """Keys of the requests that have not ended."""

    @property
    def early_steps(self) -> int:
        """Supervision steps of attempts that have ended before their turn."""

    def next(self, *, ahead: bool = False) -> Request | None:
        """The next attempt to compute, whose key is `(self, number)`; see `Attempts.next`."""

    def record(self, finished: Finished) -> None:
        """An attempt has ended."""


class Attempts:
    """The attempts at one puzzle, in order: whoever computes them takes the next and records it.

    Attempts may be computed ahead of their turn, side by side. What counts is their order: the first verified one is
    the answer, whatever was computed beside it.

    Attributes:
        best: the attempt to show, with the costs of all that count so far; None before the first has ended.
        done: whether no attempt is left: one is verified, there are no more forms, or the budget is spent.
    """

    def __init__(self, forms: Forms, question: Tokens, puzzle_id: int = 0) -> None:
        """Begin.

        Args:
            forms: the task's, with the schedule; all puzzles share them.
            question: int32 [L].
            puzzle_id: row of the model's embedding table, for every attempt.
        """
        self.best: BestAttempt | None = None
        self.done = False
        self._forms, self._question, self._puzzle_id = forms, question, puzzle_id
        self._counted = 0  # attempts that count: all of lower number have ended
        self._underway: dict[int, Limits] = {}
        self._early: dict[int, Finished] = {}  # ended before their turn

    @property
    def underway(self) -> list[tuple[Attempts, int]]:
        """Keys of the requests that have not ended."""
        return [(self, number) for number in self._underway]

    @property
    def early_steps(self) -> int:
        """Supervision steps of attempts that have ended before their turn."""
        return sum(finished.steps for finished in self._early.values())

    def next(self, *, ahead: bool = False) -> Request | None:
        """The next attempt to compute.

        Its key is `(self, number)`, the number from 0.

        Args:
            ahead: also one whose turn has not come, which a verified one before it makes needless.

        Returns:
            None where its turn has not come (without `ahead`), or no attempt is left, or the budget does not cover it.
        """
        number = self._counted
        while number in self._underway or number in self._early:
            number += 1
        if self.done or (number > self._counted and not ahead) or not self._forms.has(number):
            return None
        limits = self._limits(number)
        if limits is None:
            return None
        self._underway[number] = limits
        return Request(
            key=(self, number),
            tokens=self._forms.apply(number, self._question),
            limits=limits,
            puzzle_id=self._puzzle_id,
        )

    def _limits(self, number: int) -> Limits | None:
        """The limits of an attempt within the budget; None where what is underway may leave too little for it."""
        schedule = self._forms.schedule
        limits = schedule.limits(number)
        if schedule.budget is None:
            return limits
        left = schedule.budget - (self.best.total_steps if self.best else 0)
        if number == self._counted:
            return replace(limits, max_steps=min(limits.max_steps, left))
        # Ahead of its turn nobody knows what those before it will have spent: it must fit whatever they spend.
        reserved = sum(schedule.limits(before).max_steps for before in range(self._counted, number))
        return limits if reserved + limits.max_steps <= left else None

    def record(self, finished: Finished) -> None:
        """An attempt of this puzzle has ended."""
        number = finished.key[1]
        del self._underway[number]
        self._early[number] = finished
        while not self.done and self._counted in self._early:
            self._count(self._early.pop(self._counted))

    def _count(self, finished: Finished) -> None:
        """The attempt whose turn it is has ended."""
        answer = self._forms.invert(self._counted, finished.answer)
        now = BestAttempt(
            answer=answer,
            steps=finished.steps,
            attempts=1,
            total_steps=finished.steps,
            halted=finished.halted,
            halt_logit=finished.halt_logit,
            faults=tuple(self._forms.puzzle.answer_faults(self._question, answer)),
            milliseconds=finished.milliseconds,
        )
        self.best = _better(self.best, now)
        self._counted += 1
        budget = self._forms.schedule.budget
        spent = budget is not None and self.best.total_steps >= budget
        self.done = self.best.verified or spent or not self._forms.has(self._counted)


def _better(before: BestAttempt | None, now: BestAttempt) -> BestAttempt:
    """The attempt to show (fewest broken rules, then the earlier), with the costs of both."""
    if before is None:
        return now
    shown = now if len(now.faults) < len(before.faults) else before
    return BestAttempt(
        answer=shown.answer,
        steps=shown.steps,
        attempts=before.attempts + 1,
        total_steps=before.total_steps + now.total_steps,
        halted=shown.halted,
        halt_logit=shown.halt_logit,
        faults=shown.faults,
        milliseconds=before.milliseconds + now.milliseconds,
    )


def solve_verified(
    runtime: Runtime, puzzle: Puzzle, questions: Tokens, schedule: Schedule, puzzle_ids: Tokens | None = None
) -> list[BestAttempt]:
    """Solve questions int32 [B, L], B at a time, with puzzle ids int32 [B]; see `solve_stream`."""
    found = solve_stream(
        executor(runtime, len(questions)),
        puzzle,
        range(len(questions)),
        schedule,
        tokens=lambda row: questions[row],
        puzzle_id=lambda row: 0 if puzzle_ids is None else int(puzzle_ids[row]),
    )
    return [best for _, best in found if best is not None]


def _puzzle_0(item: object) -> int:
    return 0


def solve_stream(
    executor: Executor,
    puzzle: Puzzle,
    items: Iterable[Item],
    schedule: Schedule,
    *,
    tokens: Callable[[Item], Tokens | None],
    puzzle_id: Callable[[Item], int] = _puzzle_0,
    speculate: bool | None = None,
) -> Iterator[tuple[Item, BestAttempt | None]]:
    """Solve any number of questions, in constant memory.

    An attempt's symmetry follows from the seed and the attempt's number alone, so that an answer does not depend on
    what shares its batch or comes before it. The task needs rules (`Puzzle.has_rules`): without, all would be verified.
    Further attempts take the slots of a batch like first ones. Items are taken only where a slot is free. Slots that
    would be idle, as at the end of the input, compute attempts ahead of their turn.

    Args:
        executor: computes the attempts.
        puzzle: the task.
        items: what to solve.
        schedule: how.
        tokens: the question int32 [L] of an item; None where it has none, and then no answer either.
        puzzle_id: row of the model's embedding table for an item, in each of its attempts.
        speculate: whether idle slots compute attempts ahead of their turn; None: where an idle slot costs as much as
            one in use.

    Yields:
        Each item with its best attempt, in the order of the items.
    """
    forms = Forms(puzzle, schedule)
    source = iter(items)
    speculate = executor.computes_idle_slots if speculate is None else speculate
    # A puzzle that takes many attempts holds back those behind it, but not the batch.
    window = WINDOW * executor.size
    # In the order of the items, the finished ones that wait for others included.
    pending: deque[Pending[Item]] = deque()
    again: deque[Tries] = deque()  # that have another attempt to make
    more = True
    while True:
        while executor.free and (again or (more and len(pending) < window)):
            if again:
                request = again.popleft().next()
            else:
                item = next(source, _END)
                if item is _END:
                    more = False
                    continue
                question = tokens(item)
                entry = Pending(item, None if question is None else Attempts(forms, question, puzzle_id(item)))
                pending.append(entry)
                request = None if entry.attempts is None else entry.attempts.next()
            if request is not None:
                executor.admit(request)
        if speculate:
            admit_ahead(executor, (entry.attempts for entry in pending if entry.attempts is not None))
        if executor.busy:
            again.extend(attempts for attempts in advance(executor) if not attempts.done)
        while pending and pending[0].done:
            entry = pending.popleft()
            yield entry.item, None if entry.attempts is None else entry.attempts.best
        if not (pending or more):
            return


def advance(executor: Executor) -> list[Tries]:
    """Compute, and record what has ended by it; only while the executor is busy.

    Returns:
        Those of which an attempt has ended and counts, each once: it is done, or may have another attempt to make.
    """
    recorded: dict[Tries, None] = {}
    for finished in executor.advance():
        attempts: Tries = finished.key[0]
        if attempts.done:  # by another attempt of the same call
            executor.work.speculative_steps += finished.steps
            continue
        attempts.record(finished)
        recorded[attempts] = None
        if attempts.done:
            cancelled = (executor.cancel(key) for key in attempts.underway)
            executor.work.speculative_steps += attempts.early_steps + sum(filter(None, cancelled))
    return list(recorded)


def admit_ahead(executor: Executor, pending: Iterable[Tries]) -> None:
    """Fill idle slots with attempts ahead of their turn."""
    pending = list(pending) if executor.free else []
    while executor.free and (request := _ahead(pending)) is not None:
        executor.admit(request)


def _ahead(pending: Iterable[Tries]) -> Request | None:
    """An attempt ahead of its turn, of the puzzle with the fewest underway; None where there is none to be had."""
    open_ones = [attempts for attempts in pending if not attempts.done]
    for attempts in sorted(open_ones, key=lambda attempts: len(attempts.underway)):
        request = attempts.next(ahead=True)
        if request is not None:
            return request
    return None


_END: Any = object()
# Puzzles that may be begun and not yet given back, for each slot of the batch.
WINDOW = 32


@dataclass(frozen=True, eq=False)
class Pending(Generic[Item]):
    """An item on its way; one without a question has no attempts, and is done."""

    item: Item
    attempts: Attempts | None

    @property
    def done(self) -> bool:
        """Whether it can be given back."""
        return self.attempts is None or self.attempts.done
