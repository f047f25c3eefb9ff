"""The thread that owns an engine: the requests of all clients share its slots, further attempts included."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from trm_deploy.runtimes.solving.attempts import Attempts, Tries, admit_ahead, advance
from trm_deploy.runtimes.solving.scheduling import Executor, Finished, Request, WatchedStep

log = logging.getLogger(__name__)

# Calls of an engine that fail one after the other, until it is held for broken.
MOST_FAILURES = 3
# Seconds that a client is told to wait, at most, before it tries again.
LONGEST_RETRY = 60

Watch = Callable[[Request, WatchedStep], None]


class QueueFull(Exception):
    """No more puzzles are taken for now.

    Attributes:
        retry_after: seconds until there will be room, by what the engine has done so far.
    """

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class EngineFailed(Exception):
    """The engine could not compute."""


class Once:
    """A single attempt that nothing verifies: `Tries` of one request."""

    def __init__(self, request: Request) -> None:
        self.finished: Finished | None = None
        self.early_steps = 0
        self._request = replace(request, key=(self, 0))
        self._taken = False

    @property
    def done(self) -> bool:
        """See `Tries.done`."""
        return self.finished is not None

    @property
    def underway(self) -> list[tuple[Once, int]]:
        """See `Tries.underway`."""
        return [(self, 0)] if self._taken and not self.done else []

    def next(self, *, ahead: bool = False) -> Request | None:
        """See `Tries.next`."""
        if self._taken:
            return None
        self._taken = True
        return self._request

    def record(self, finished: Finished) -> None:
        """See `Tries.record`."""
        self.finished = finished


class StepByStep:
    """Attempts at a puzzle by an engine that shows the last step alone: run to 1, 2, ... steps, so that each is seen.

    Step k costs k steps.
    """

    def __init__(self, attempts: Attempts) -> None:
        self.early_steps = 0
        self._attempts = attempts
        self._request: Request | None = None  # the attempt underway
        self._steps = 0  # that it has come to, or is computed up to
        self._milliseconds = 0.0
        self._computing = False

    @property
    def done(self) -> bool:
        """See `Tries.done`."""
        return self._attempts.done

    @property
    def underway(self) -> list[Any]:
        """See `Tries.underway`."""
        return [(self, self._request.key[1])] if self._request is not None and self._computing else []

    def next(self, *, ahead: bool = False) -> Request | None:
        """The attempt underway to one more step, or the next attempt to its first."""
        if self._computing:
            return None
        if self._request is None:
            self._request, self._steps, self._milliseconds = self._attempts.next(), 0, 0.0
        if self._request is None:
            return None
        self._computing = True
        self._steps += 1
        limits = replace(self._request.limits, max_steps=self._steps)
        return replace(self._request, key=(self, self._request.key[1]), limits=limits)

    def record(self, finished: Finished) -> None:
        """See `Tries.record`."""
        assert self._request is not None
        self._computing = False
        self._milliseconds += finished.milliseconds
        if finished.halted or self._steps == self._request.limits.max_steps:
            self._attempts.record(replace(finished, key=self._request.key, milliseconds=self._milliseconds))
            self._request = None


class Job:
    """The puzzles of one request, on their way through an engine.

    `one_ended` is told the place of each puzzle that is done, in the engine's thread.

    Attributes:
        tries: what is to be computed, puzzle by puzzle.
        ended: done when every puzzle is; has the error where the engine failed.
        watch: is told of every supervision step, in the engine's thread.
        cancelled: whether it ended because nobody waits for it any more.
        submitted, started, finished: times of `time.monotonic`; 0 where it has not come to that.
    """

    def __init__(
        self, tries: Sequence[Tries], *, watch: Watch | None = None, one_ended: Callable[[int], None] | None = None
    ) -> None:
        self.tries = tries
        self.watch, self._one_ended = watch, one_ended
        self.ended: Future[None] = Future()
        self.submitted = self.started = self.finished = 0.0
        self.cancelled = False
        self._waiting = deque(tries)
        self._left = len(tries)

    @property
    def waiting(self) -> int:
        """Number of puzzles that have not begun."""
        return len(self._waiting)

    def take(self) -> Tries:
        """The next puzzle to begin."""
        self.started = self.started or time.monotonic()
        return self._waiting.popleft()

    def record(self, tries: Tries) -> None:
        """One of its puzzles is done; the last one ends the job."""
        self._left -= 1
        if self._one_ended is not None:
            self._one_ended(self.tries.index(tries))
        if not self._left:
            self.end()

    def end(self, error: BaseException | None = None) -> None:
        """Wake up whoever waits for it."""
        self._waiting.clear()
        self.finished = time.monotonic()
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)


class EngineThread:
    """Computes jobs in a thread of its own. Its methods may be called from any other thread."""

    def __init__(self, make: Callable[[], Executor], *, queue: int, speculate: bool | None = None) -> None:
        """Begin; `close` ends it.

        Args:
            make: makes the executor; again where the engine failed.
            queue: maximum number of puzzles that wait.
            speculate: whether idle slots compute attempts ahead of their turn; None: where an idle slot costs as much
                as one in use.
        """
        self._make = make
        self._queue = queue
        self._executor = make()
        self.slots = self._executor.size
        self._speculate = self._executor.computes_idle_slots if speculate is None else speculate
        self._wake = threading.Condition()
        # Guarded by `_wake`: what other threads say, and what they may ask.
        self._new: list[Job] = []
        self._unwanted: list[Job] = []
        self._waiting = 0
        self._closing = False
        self._rate = 0.0  # puzzles a second of computing, of late
        # Of the thread alone.
        self._jobs: deque[Job] = deque()  # with puzzles that have not begun
        self._again: deque[Tries] = deque()  # that have another attempt to make
        self._begun: dict[Tries, Job] = {}
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Number of puzzles that have not begun."""
        return self._waiting

    @property
    def slots_in_use(self) -> int:
        """Number of slots that compute an attempt."""
        return self.slots - self._executor.free

    @property
    def works(self) -> bool:
        """Whether the thread runs and its engine has not failed again and again."""
        return self._thread.is_alive() and self._failures < MOST_FAILURES

    def submit(self, job: Job) -> None:
        """Take a job; its `ended` says when it is done.

        Raises:
            QueueFull: there is no room for its puzzles.
            EngineFailed: the engine is broken.
        """
        with self._wake:
            if not self.works:
                raise EngineFailed("the engine is broken: see the log, and start the server again")
            if self._waiting + job.waiting > self._queue:
                raise QueueFull(
                    f"{self._waiting} puzzles wait and {job.waiting} more came, up to {self._queue} may wait",
                    self._retry_after(),
                )
            job.submitted = time.monotonic()
            if not job.waiting:
                job.end()
                return
            self._waiting += job.waiting
            self._new.append(job)
            self._wake.notify()

    def cancel(self, job: Job) -> None:
        """Nobody waits for a job any more: its slots become free at the next step."""
        with self._wake:
            if not job.ended.done():
                job.cancelled = True
                self._unwanted.append(job)
                self._wake.notify()

    def close(self) -> None:
        """End the thread; what it has not computed has failed."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def _retry_after(self) -> int:
        return min(max(1, math.ceil(self._waiting / self._rate)), LONGEST_RETRY) if self._rate else 1

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._new or self._unwanted or self._closing or self._jobs or self._begun):
                    self._wake.wait()
                new, self._new = self._new, []
                unwanted, self._unwanted = self._unwanted, []
                closing = self._closing
            self._jobs.extend(new)
            for job in unwanted:
                self._drop(job)
            if closing:
                self._fail(EngineFailed("the server was stopped"))
                return
            try:
                self._admit()
                if self._executor.busy:
                    self._compute()
            except Exception as error:  # whatever a runtime raises, the thread goes on
                log.exception("the engine failed")
                self._failures += 1
                self._fail(EngineFailed(f"the engine failed: {error}"), begun_alone=self.works)
                self._executor = self._make()

    def _admit(self) -> None:
        """Fill the slots: further attempts first, then a puzzle of each request in turn."""
        while self._executor.free and (self._again or self._jobs):
            if self._again:
                tries = self._again.popleft()
                job = self._begun[tries]
            else:
                job = self._jobs.popleft()
                tries = job.take()
                with self._wake:
                    self._waiting -= 1
                if job.waiting:
                    self._jobs.append(job)
                self._begun[tries] = job
            request = tries.next()
            if request is not None:
                self._executor.admit(_watched(request, job.watch))
        if self._speculate:
            # Who watches sees the attempts in their order.
            admit_ahead(self._executor, (tries for tries, job in self._begun.items() if job.watch is None))

    def _compute(self) -> None:
        started = time.monotonic()
        ended = 0
        for tries in advance(self._executor):
            if not tries.done:
                self._again.append(tries)
                continue
            ended += 1
            self._begun.pop(tries).record(tries)
        self._failures = 0
        seconds = max(time.monotonic() - started, 1e-6)
        self._rate += (ended / seconds - self._rate) * min(1.0, seconds)

    def _drop(self, job: Job, error: Exception | None = None) -> None:
        """Forget a job, and free its slots."""
        if job.ended.done():
            return
        if job in self._jobs:
            self._jobs.remove(job)
        with self._wake:
            self._waiting -= job.waiting
        for tries in [tries for tries, of in self._begun.items() if of is job]:
            del self._begun[tries]
            if tries in self._again:
                self._again.remove(tries)
            for key in tries.underway:
                self._executor.cancel(key)
        job.end(error)

    def _fail(self, error: Exception, *, begun_alone: bool = False) -> None:
        """Jobs end with an error: those that the engine has begun, or all."""
        for job in {*self._begun.values()}:
            self._drop(job, error)
        if not begun_alone:
            with self._wake:
                self._jobs.extend(self._new)
                self._new = []
            for job in list(self._jobs):
                self._drop(job, error)


def _watched(request: Request, watch: Watch | None) -> Request:
    if watch is None:
        return request
    return replace(request, watch=lambda step: watch(request, step))
