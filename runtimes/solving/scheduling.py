"""Who computes when: puzzles that wait, and the places of a batch that they get.

    in flight   a step engine with a fixed number of slots: a puzzle that halts leaves at once, and the next takes its
                slot through `reset`; the batch goes on without a pause.
    batches     any engine: a batch is solved as a whole, so a halted puzzle waits for the slowest.

Either way a request is one attempt at one puzzle: further attempts are further requests, and share batches.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from trm_deploy.errors import InputError
from trm_deploy.puzzles.base import Tokens
from trm_deploy.runtimes.base import Int32, Runtime, StepRuntime, initial_numpy_state


@dataclass(frozen=True)
class Limits:
    """When an attempt ends: see `Runtime.solve`."""

    max_steps: int
    halt_threshold: float


@dataclass(frozen=True)
class Finished:
    """One attempt that has ended.

    Attributes:
        key: of the request.
        answer: int32 [L].
        steps: supervision steps, from 1.
        halt_logit: as it stood then.
        milliseconds: its share of the time in which it was computed: a batch's time is shared evenly.
    """

    key: Any
    answer: Tokens
    steps: int
    halt_logit: float
    milliseconds: float


@dataclass
class Work:
    """What was computed: the engine calls, and how full they were.

    Attributes:
        calls: of the engine.
        steps: supervision steps of all puzzles.
        places: rows that the calls computed, times their steps; idle and halted ones included.
        seconds: in the engine.
    """

    calls: int = 0
    steps: int = 0
    places: int = 0
    seconds: float = 0.0

    @property
    def occupancy(self) -> float:
        """The share of computed rows that a puzzle still needed, 0 to 1."""
        return self.steps / self.places if self.places else 0.0

    def to_text(self) -> str:
        """For people."""
        return f"{self.steps / max(self.seconds, 1e-9):.0f} steps a second, {self.occupancy:.0%} of the batch in use"


def _ignore(count: int) -> None:
    pass


class Executor(Protocol):
    """Takes requests and gives them back finished, in whatever order."""

    work: Work

    @property
    def size(self) -> int:
        """Puzzles at a time."""

    @property
    def free(self) -> int:
        """Requests that it takes now."""

    @property
    def busy(self) -> bool:
        """Whether it holds any."""

    def admit(self, key: Any, tokens: Tokens, puzzle_id: int = 0) -> None:
        """Take a request: int32 [L] and its puzzle's number. Only while `free`."""

    def advance(self) -> list[Finished]:
        """Compute, and give back what has ended by it; only while `busy`."""


def check_batch(runtime: Runtime, size: int, name: str) -> None:
    """Raises `InputError` where an engine takes no batch of `size`; `name` is what the user calls it."""
    if runtime.largest_batch is not None and size > runtime.largest_batch:
        raise InputError(
            f"{name}: takes up to {runtime.largest_batch} puzzles at a time, --batch asks for {size}",
            hint=f"use --batch {runtime.largest_batch}, or build it with a larger --batch MIN:OPT:MAX",
        )


class InFlight:
    """In-flight batching over a step engine.

    Every call has `slots` rows, filled or not: shapes stay, so that an answer is the same to the last bit whatever
    shares its batch. The state stays on the runtime's device.
    """

    def __init__(self, runtime: StepRuntime, slots: int, limits: Limits) -> None:
        self.work = Work()
        self.size = slots
        self._runtime, self._limits = runtime, limits
        self._tokens = np.zeros((slots, runtime.spec.task.sequence_length), np.int32)
        self._puzzle_ids = np.zeros(slots, np.int32)
        self._keys: list[Any] = [None] * slots
        self._occupied = np.zeros(slots, bool)
        self._steps = np.zeros(slots, np.int32)
        self._milliseconds = np.zeros(slots)
        # Rows without a puzzle start anew at every step: nothing grows in them.
        self._reset = np.ones(slots, bool)
        self._y, self._z = initial_numpy_state(runtime.spec, slots)

    @property
    def free(self) -> int:
        """See `Executor.free`."""
        return self.size - int(self._occupied.sum())

    @property
    def busy(self) -> bool:
        """See `Executor.busy`."""
        return bool(self._occupied.any())

    def admit(self, key: Any, tokens: Tokens, puzzle_id: int = 0) -> None:
        """See `Executor.admit`."""
        slot = int(np.argmin(self._occupied))
        self._tokens[slot], self._puzzle_ids[slot], self._keys[slot] = tokens, puzzle_id, key
        self._occupied[slot] = self._reset[slot] = True
        self._steps[slot] = self._milliseconds[slot] = 0

    def advance(self) -> list[Finished]:
        """One supervision step; see `Executor.advance`."""
        started = time.perf_counter()
        result = self._runtime.step(self._tokens, self._reset, self._y, self._z, self._puzzle_ids)
        self._y, self._z = result.y, result.z
        self._steps += 1
        over = (result.halt_logit > self._limits.halt_threshold) | (self._steps >= self._limits.max_steps)
        leaving = np.flatnonzero(self._occupied & over)
        # Answers stay on the device until a puzzle leaves.
        answers = np.asarray(result.answer)[leaving] if len(leaving) else self._tokens[:0]
        self._count(time.perf_counter() - started)
        finished = [
            Finished(
                self._keys[slot],
                answer,
                int(self._steps[slot]),
                float(result.halt_logit[slot]),
                float(self._milliseconds[slot]),
            )
            for slot, answer in zip(leaving, answers)
        ]
        self._occupied[leaving] = False
        self._reset = ~self._occupied
        return finished

    def _count(self, seconds: float) -> None:
        occupied = int(self._occupied.sum())
        self._milliseconds[self._occupied] += seconds * 1e3 / occupied
        self.work.calls += 1
        self.work.steps += occupied
        self.work.places += self.size
        self.work.seconds += seconds


class Batches:
    """Whole batches through `Runtime.solve`: for engines without the step form."""

    def __init__(self, runtime: Runtime, size: int, limits: Limits) -> None:
        self.work = Work()
        self.size = size
        self._runtime, self._limits = runtime, limits
        self._waiting: list[tuple[Any, Tokens, int]] = []

    @property
    def free(self) -> int:
        """See `Executor.free`."""
        return self.size - len(self._waiting)

    @property
    def busy(self) -> bool:
        """See `Executor.busy`."""
        return bool(self._waiting)

    def admit(self, key: Any, tokens: Tokens, puzzle_id: int = 0) -> None:
        """See `Executor.admit`."""
        self._waiting.append((key, tokens, puzzle_id))

    def advance(self) -> list[Finished]:
        """One batch, all its steps; see `Executor.advance`."""
        keys, tokens, ids = zip(*self._waiting)
        self._waiting = []
        started = time.perf_counter()
        solution = self._runtime.solve(
            np.stack(tokens),
            np.array(ids, np.int32),
            max_steps=self._limits.max_steps,
            halt_threshold=self._limits.halt_threshold,
        )
        seconds = time.perf_counter() - started
        self.work.calls += 1
        self.work.steps += int(solution.steps.sum())
        self.work.places += len(keys) * int(solution.steps.max())
        self.work.seconds += seconds
        share = seconds * 1e3 / len(keys)
        return [
            Finished(key, answer, int(steps), float(logit), share)
            for key, answer, steps, logit in zip(keys, solution.answer, solution.steps, solution.halt_logit)
        ]


def solve_all(
    computing: Executor, tokens: Int32, puzzle_ids: Int32 | None = None, *, report: Callable[[int], None] = _ignore
) -> list[Finished]:
    """One attempt at each question, in their order.

    Args:
        computing: an executor without requests.
        tokens: int32 [N, L].
        puzzle_ids: int32 [N]; None stands for puzzle 0.
        report: is told how many more are done.
    """
    found: dict[int, Finished] = {}
    waiting = iter(range(len(tokens)))
    while len(found) < len(tokens):
        while computing.free and (row := next(waiting, None)) is not None:
            computing.admit(row, tokens[row], 0 if puzzle_ids is None else int(puzzle_ids[row]))
        finished = computing.advance()
        found |= {attempt.key: attempt for attempt in finished}
        report(len(finished))
    return [found[row] for row in range(len(tokens))]


def executor(runtime: Runtime, size: int, limits: Limits, *, in_flight: bool | None = None, name: str = "") -> Executor:
    """The executor for an engine: in flight where it has the step form, unless told otherwise.

    Args:
        runtime: the engine.
        size: puzzles at a time.
        limits: when an attempt ends.
        in_flight: True or False: so and not otherwise.
        name: of the engine, for messages.

    Raises:
        InputError: in-flight batching of an engine without the step form.
    """
    steps = isinstance(runtime, StepRuntime)
    if in_flight and not steps:
        raise InputError(
            f"{name or runtime.description}: has no step form, which in-flight batching needs",
            hint="type: trm-deploy export CHECKPOINT --graph step",
        )
    if isinstance(runtime, StepRuntime) and in_flight is not False:
        return InFlight(runtime, size, limits)
    return Batches(runtime, size, limits)
