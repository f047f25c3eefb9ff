"""Who computes when: puzzles that wait, and the slots of a batch that they get.

    in flight   continuous batching over a step engine with a fixed number of slots: a puzzle that halts leaves at once,
                and the next takes its slot through `reset`; the batch goes on without a pause.
    batches     any engine: a batch is solved as a whole, so a halted puzzle waits for the slowest.

Either way a request is one attempt at one puzzle, with limits of its own: further attempts are further requests, and
share batches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from trm_deploy.errors import InputError
from trm_deploy.puzzles.base import Tokens
from trm_deploy.runtimes.base import (
    Float32,
    Int32,
    Runtime,
    StepResult,
    StepRuntime,
    host_values,
    initial_numpy_state,
)

# Puzzles at a time with the step form. More gain little on a CPU, and make a puzzle wait longer.
DEFAULT_SLOTS = 8


@dataclass(frozen=True)
class Limits:
    """When an attempt ends: see `Runtime.solve`."""

    max_steps: int
    halt_threshold: float


@dataclass(frozen=True, eq=False)
class WatchedStep:
    """A puzzle as it is after one supervision step of an attempt, in the form that the attempt solves.

    Attributes:
        step: of the attempt, from 1.
        answer: int32 [L].
        halt_logit: halting logit.
        logits: float32 [L, V].
    """

    step: int
    answer: Tokens
    halt_logit: float
    logits: Float32


@dataclass(frozen=True, eq=False)
class Request:
    """One attempt to compute.

    Attributes:
        key: whatever tells the caller's requests apart; comes back with what has finished.
        tokens: the question, int32 [L].
        limits: when the attempt ends; others that share its batch have their own.
        puzzle_id: row of the model's embedding table.
        initial_state: y and z to start from, each float32 [S, D] as `ModelSpec.state_shapes` has them; None: the
            model's own. Needs in-flight batching.
        watch: is called after each supervision step, in the thread that computes; in whole batches after the last
            one alone.
    """

    key: Any
    tokens: Tokens
    limits: Limits
    puzzle_id: int = 0
    initial_state: tuple[Float32, Float32] | None = None
    watch: Callable[[WatchedStep], None] | None = None


@dataclass(frozen=True)
class Finished:
    """One attempt that has ended.

    Attributes:
        key: of the request.
        answer: int32 [L].
        steps: supervision steps, from 1.
        halt_logit: of the last of them.
        halted: whether the model halted by itself rather than by the limit of steps.
        milliseconds: its share of the time in which it was computed: a batch's time is shared evenly.
    """

    key: Any
    answer: Tokens
    steps: int
    halt_logit: float
    halted: bool
    milliseconds: float


@dataclass
class Work:
    """What was computed: the engine calls, and how full they were.

    Attributes:
        calls: engine calls.
        steps: supervision steps of all puzzles.
        slot_steps: rows that the calls computed, times their steps; idle and halted ones included.
        seconds: time in the engine.
        speculative_steps: those of `steps` that were computed in vain: of attempts that an earlier one made needless.
    """

    calls: int = 0
    steps: int = 0
    slot_steps: int = 0
    seconds: float = 0.0
    speculative_steps: int = 0

    @property
    def useful_steps(self) -> int:
        """Supervision steps that count for an answer."""
        return self.steps - self.speculative_steps

    @property
    def occupancy(self) -> float:
        """The share of computed rows that a puzzle needed, 0 to 1."""
        return self.useful_steps / self.slot_steps if self.slot_steps else 0.0

    def to_text(self) -> str:
        """For people."""
        return f"{self.steps / max(self.seconds, 1e-9):.0f} steps a second, {self.occupancy:.0%} of the batch in use"


def _ignore(count: int) -> None:
    pass


class Executor(Protocol):
    """Takes requests and gives them back finished, in whatever order."""

    work: Work
    computes_idle_slots: bool  # whether a call costs the same however many of its slots are in use

    @property
    def size(self) -> int:
        """Puzzles at a time."""

    @property
    def free(self) -> int:
        """Number of requests that it takes now."""

    @property
    def busy(self) -> bool:
        """Whether it holds any."""

    def admit(self, request: Request) -> None:
        """Take a request. Only while `free`."""

    def advance(self) -> list[Finished]:
        """Compute, and give back what has ended by it; only while `busy`."""

    def cancel(self, key: Any) -> int | None:
        """Take back a request that is no longer needed, and free its slot.

        Returns:
            The supervision steps that were computed for it; None where it does not hold the request.
        """


def default_batch(runtime: Runtime, *, in_flight: bool | None = None) -> int:
    """Puzzles at a time where nobody says: one for a model whose batches wait for their slowest, faster on a CPU.

    Args:
        runtime: computes.
        in_flight: see `executor`.
    """
    flies = isinstance(runtime, StepRuntime) and in_flight is not False
    size = max(DEFAULT_SLOTS if flies else 1, runtime.smallest_batch)
    return min(size, runtime.largest_batch or size)


def check_batch(runtime: Runtime, size: int, name: str) -> None:
    """Raises `InputError` where an engine takes no batch of `size`; `name` is what the user calls it."""
    if runtime.largest_batch is not None and size > runtime.largest_batch:
        raise InputError(
            f"{name}: takes up to {runtime.largest_batch} puzzles at a time, --batch is {size}",
            hint=f"use --batch {runtime.largest_batch}, or build it with a larger --batch MIN:OPT:MAX",
        )


class InFlight:
    """In-flight batching over a step engine.

    Every call has `slots` rows, filled or not: shapes stay, so that an answer is the same to the last bit whatever
    shares its batch. The state stays on the runtime's device.
    """

    computes_idle_slots = True

    def __init__(self, runtime: StepRuntime, slots: int) -> None:
        self.work = Work()
        self.size = slots
        self._runtime = runtime
        self._tokens = np.zeros((slots, runtime.spec.task.sequence_length), np.int32)
        self._puzzle_ids = np.zeros(slots, np.int32)
        self._keys: list[Any] = [None] * slots
        self._occupied = np.zeros(slots, bool)
        self._steps = np.zeros(slots, np.int32)
        self._max_steps = np.ones(slots, np.int32)
        self._thresholds = np.zeros(slots, np.float32)  # float32 as in the graphs: where they halt, this halts
        self._milliseconds = np.zeros(slots)
        # Rows without a puzzle start anew at every step: nothing grows in them.
        self._reset = np.ones(slots, bool)
        self._y, self._z = initial_numpy_state(runtime.spec, slots)
        self._given: dict[int, tuple[Float32, Float32]] = {}  # slot -> the state that its new puzzle starts from
        self._watched: dict[int, Callable[[WatchedStep], None]] = {}  # slot -> who is told of each step

    @property
    def free(self) -> int:
        """See `Executor.free`."""
        return self.size - int(self._occupied.sum())

    @property
    def busy(self) -> bool:
        """See `Executor.busy`."""
        return bool(self._occupied.any())

    def admit(self, request: Request) -> None:
        """See `Executor.admit`."""
        slot = int(np.argmin(self._occupied))
        self._tokens[slot], self._puzzle_ids[slot], self._keys[slot] = request.tokens, request.puzzle_id, request.key
        self._max_steps[slot] = request.limits.max_steps
        self._thresholds[slot] = request.limits.halt_threshold
        self._occupied[slot] = True
        self._reset[slot] = request.initial_state is None
        if request.initial_state is not None:
            self._given[slot] = request.initial_state
        if request.watch is not None:
            self._watched[slot] = request.watch
        self._steps[slot] = self._milliseconds[slot] = 0

    def advance(self) -> list[Finished]:
        """One supervision step; see `Executor.advance`."""
        started = time.perf_counter()
        if self._given:
            self._write_given_states()
        result = self._runtime.step(self._tokens, self._reset, self._y, self._z, self._puzzle_ids)
        self._y, self._z = result.y, result.z
        self._steps += 1
        halted = result.halt_logit > self._thresholds
        leaving = np.flatnonzero(self._occupied & (halted | (self._steps >= self._max_steps)))
        # Answers stay on the device until a puzzle leaves.
        answers = np.asarray(result.answer)[leaving] if len(leaving) else self._tokens[:0]
        self._count(time.perf_counter() - started)
        self._tell(result)
        finished = [
            Finished(
                self._keys[slot],
                answer,
                int(self._steps[slot]),
                float(result.halt_logit[slot]),
                bool(halted[slot]),
                float(self._milliseconds[slot]),
            )
            for slot, answer in zip(leaving, answers)
        ]
        self._occupied[leaving] = False
        self._reset = ~self._occupied
        for slot in leaving:
            self._watched.pop(int(slot), None)
        return finished

    def _tell(self, result: StepResult) -> None:
        """Show those who watch a puzzle its step, before the next one overwrites it on the device."""
        if not self._watched:
            return
        answers, logits = host_values(result.answer), host_values(result.logits)
        for slot, watch in self._watched.items():
            answer, of_cells = np.array(answers[slot], np.int32), np.array(logits[slot], np.float32)
            watch(WatchedStep(int(self._steps[slot]), answer, float(result.halt_logit[slot]), of_cells))

    def cancel(self, key: Any) -> int | None:
        """See `Executor.cancel`."""
        for slot in np.flatnonzero(self._occupied):
            if self._keys[slot] == key:
                self._occupied[slot], self._reset[slot] = False, True
                self._given.pop(int(slot), None)
                self._watched.pop(int(slot), None)
                return int(self._steps[slot])
        return None

    def _write_given_states(self) -> None:
        """Put the states that requests brought into their rows, on the host: the way there and back rounds nothing."""
        y, z = (np.array(host_values(state), np.float32) for state in (self._y, self._z))
        for slot, (given_y, given_z) in self._given.items():
            y[slot], z[slot] = given_y, given_z
        self._y, self._z = y, z
        self._given = {}

    def _count(self, seconds: float) -> None:
        occupied = int(self._occupied.sum())
        self._milliseconds[self._occupied] += seconds * 1e3 / occupied
        self.work.calls += 1
        self.work.steps += occupied
        self.work.slot_steps += self.size
        self.work.seconds += seconds


class Batches:
    """Whole batches through `Runtime.solve`: for engines without the step form."""

    computes_idle_slots = False

    def __init__(self, runtime: Runtime, size: int) -> None:
        self.work = Work()
        self.size = size
        self._runtime = runtime
        self._waiting: list[Request] = []

    @property
    def free(self) -> int:
        """See `Executor.free`."""
        return self.size - len(self._waiting)

    @property
    def busy(self) -> bool:
        """See `Executor.busy`."""
        return bool(self._waiting)

    def admit(self, request: Request) -> None:
        """See `Executor.admit`; raises `InputError` for one with a state to start from."""
        if request.initial_state is not None:
            raise InputError(
                f"{self._runtime.description}: starts from its own initial state, another needs single steps in flight",
                hint="type: trm-deploy export CHECKPOINT --graph step",
            )
        self._waiting.append(request)

    def cancel(self, key: Any) -> int | None:
        """See `Executor.cancel`."""
        kept = [request for request in self._waiting if request.key != key]
        held = len(kept) < len(self._waiting)
        self._waiting = kept
        return 0 if held else None

    def advance(self) -> list[Finished]:
        """One batch, all its steps; see `Executor.advance`.

        An engine takes one pair of limits a call: what waits with other limits than the oldest request waits on.
        """
        limits = self._waiting[0].limits
        batch = [request for request in self._waiting if request.limits == limits]
        self._waiting = [request for request in self._waiting if request.limits != limits]
        started = time.perf_counter()
        solution = self._runtime.solve(
            np.stack([request.tokens for request in batch]),
            np.array([request.puzzle_id for request in batch], np.int32),
            max_steps=limits.max_steps,
            halt_threshold=limits.halt_threshold,
        )
        seconds = time.perf_counter() - started
        self.work.calls += 1
        self.work.steps += int(solution.steps.sum())
        self.work.slot_steps += len(batch) * int(solution.steps.max())
        self.work.seconds += seconds
        share = seconds * 1e3 / len(batch)
        halted = solution.halt_logit > np.float32(limits.halt_threshold)
        for row, request in enumerate(batch):
            if request.watch is not None:
                steps, halt_logit = int(solution.steps[row]), float(solution.halt_logit[row])
                request.watch(WatchedStep(steps, solution.answer[row], halt_logit, solution.logits[row]))
        return [
            Finished(
                request.key,
                solution.answer[row],
                int(solution.steps[row]),
                float(solution.halt_logit[row]),
                bool(halted[row]),
                share,
            )
            for row, request in enumerate(batch)
        ]


def solve_all(
    computing: Executor,
    tokens: Int32,
    limits: Limits,
    puzzle_ids: Int32 | None = None,
    *,
    report: Callable[[int], None] = _ignore,
) -> list[Finished]:
    """One attempt at each question, in their order.

    Args:
        computing: an executor without requests.
        tokens: int32 [N, L].
        limits: when each attempt ends.
        puzzle_ids: int32 [N]; None: puzzle 0.
        report: called with 1 for each attempt that has ended.
    """
    requests = (
        Request(row, tokens[row], limits, 0 if puzzle_ids is None else int(puzzle_ids[row]))
        for row in range(len(tokens))
    )
    found: dict[int, Finished] = {}
    for finished in solve_each(computing, requests):
        found[finished.key] = finished
        report(1)
    return [found[row] for row in range(len(tokens))]


def solve_each(computing: Executor, requests: Iterable[Request]) -> Iterator[Finished]:
    """Any number of attempts in constant memory, in the order in which they end.

    Args:
        computing: an executor without requests.
        requests: taken only where a slot is free.
    """
    waiting = iter(requests)
    more = True
    while more or computing.busy:
        while more and computing.free:
            request = next(waiting, None)
            if request is None:
                more = False
            else:
                computing.admit(request)
        if computing.busy:
            yield from computing.advance()


def executor(runtime: Runtime, size: int, *, in_flight: bool | None = None, name: str = "") -> Executor:
    """The executor for an engine: in flight where it has the step form, unless told otherwise.

    Args:
        runtime: the engine.
        size: puzzles at a time.
        in_flight: True: in flight; False: whole batches; None: in flight where the engine has the step form.
        name: what messages call the engine.

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
        return InFlight(runtime, size)
    return Batches(runtime, size)
