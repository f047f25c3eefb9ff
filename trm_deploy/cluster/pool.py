"""A pool of actors: blocks of puzzles in, what became of them out, in the order of the blocks and in constant memory.

An actor has one block at a time, and whoever is done first takes the next. An actor that dies, with its process or with
its machine, costs its block's work: another actor takes the block, and a new actor its place. Where the next answers
wait for an actor that is much slower than the others, an idle one solves the same block; whoever is first counts.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from trm_deploy.cluster.worker import Opened, Order, Worker
from trm_deploy.errors import CannotRunHere, TrmDeployError, reason
from trm_deploy.puzzles.base import Tokens
from trm_deploy.runtimes.solving.attempts import BestAttempt
from trm_deploy.runtimes.solving.scheduling import Work

log = logging.getLogger(__name__)

# Blocks that may be begun and not yet given back, for each actor.
WINDOW = 4
# Actors that a block, or that opening the model, may cost in a row.
MAX_DEATHS = 3
# Seconds without an actor after which a message says what is waited for.
WAITING_S = 30.0
# A block is given to a second actor when it takes this many times the usual, and at least these seconds. An actor that
# is slower by less than the window delays nobody.
SLOW, SLOW_S = 5.0, 5.0
NO_MODULE = "No module named 'trm_deploy"


class Block(Protocol):
    """Puzzles that one actor solves.

    Attributes:
        tokens: the questions int32 [N, L].
        name: what messages call it.
    """

    @property
    def tokens(self) -> Tokens:
        """See the class."""

    @property
    def name(self) -> str:
        """See the class."""


SomeBlock = TypeVar("SomeBlock", bound=Block)


@dataclass
class _Pending(Generic[SomeBlock]):
    """A block on its way.

    Attributes:
        result: what an actor made of it; None before.
        deaths: actors that died over it.
        started: when an actor got it, by `time.monotonic`.
        doubled: whether a second actor has it.
    """

    block: SomeBlock
    result: tuple[list[BestAttempt], Work] | None = None
    deaths: int = 0
    started: float = 0.0
    doubled: bool = False


class Pool:
    """Actors with a model; as many as there are blocks for, up to `size`.

    Attributes:
        opened: the model, as the first actor has it.
        size: maximum number of actors.
        places: host and process of each actor that has opened the model and lives.
        solved_again: blocks that were given to another actor because theirs had died.
        solved_twice: blocks that were given to a second actor because the first was slow.
    """

    def __init__(self, ray: Any, order: Order, *, size: int, gpus: float = 0) -> None:
        """Start the first actor, and wait until it has opened the model.

        Args:
            ray: connected.
            order: what to open.
            size: maximum number of actors.
            gpus: GPUs of each.

        Raises:
            CannotRunHere: the nodes have no trm-deploy, or another version of it.
            TrmDeployError: see `Worker.open`.
        """
        self.size = size
        self.solved_again = self.solved_twice = 0
        self._seconds = self._puzzles = 0.0  # that actors took for finished blocks, and puzzles in them
        self.places: dict[Any, str] = {}
        self._ray = ray
        self._order = ray.put(order)
        self._class = ray.remote(Worker).options(num_cpus=1, num_gpus=gpus, max_restarts=0, max_task_retries=0)
        self._what = "1 CPU" + (f" and {gpus:g} GPU" if gpus else "")
        self._actors: list[Any] = []
        self._idle: list[Any] = []
        self._opening_deaths = 0
        # What is computed: reference -> its actor and its block; no block: the actor opens the model.
        self._underway: dict[Any, tuple[Any, _Pending[Any] | None]] = {}
        self._todo: deque[_Pending[Any]] = deque()
        self._first: Opened | None = None
        self._add_actor()
        while self._first is None:
            self._wait()
        self.opened: Opened = self._first

    @property
    def actors(self) -> int:
        """Actors that there are now, those that are starting included."""
        return len(self._actors)

    def fill(self) -> None:
        """Start as many actors as there may be, and wait until each has opened the model; raises as the class does."""
        for _ in range(self.size - len(self._actors)):
            self._add_actor()
        while len(self.places) < self.size:
            self._wait()

    def solve(self, blocks: Iterable[SomeBlock], slots: int) -> Iterator[tuple[SomeBlock, list[BestAttempt], Work]]:
        """Solve blocks; they are taken as actors become free.

        Args:
            blocks: the puzzles; one without questions needs no actor.
            slots: puzzles at a time in each actor.

        Yields:
            Each block with its answers, in the order of the blocks.

        Raises:
            TrmDeployError: what an actor raises; or a block has cost several actors their lives.
        """
        source = iter(blocks)
        pending: deque[_Pending[SomeBlock]] = deque()
        more = True
        try:
            while True:
                while more and len(pending) < WINDOW * self.size and len(self._todo) <= self.size:
                    block = next(source, None)
                    if block is None:
                        more = False
                        break
                    entry = _Pending(block)
                    pending.append(entry)
                    if len(block.tokens):
                        self._todo.append(entry)
                    else:
                        entry.result = [], Work()
                self._give_out(slots)
                self._double(pending, slots)
                while pending and pending[0].result is not None:
                    entry = pending.popleft()
                    assert entry.result is not None
                    yield entry.block, *entry.result
                if not pending and not more:
                    return
                if pending:
                    self._wait()
        finally:
            self._todo.clear()

    def _give_out(self, slots: int) -> None:
        """Give blocks to idle actors; where there are more blocks than actors, start another."""
        while self._todo and self._idle:
            self._submit(self._todo.popleft(), slots)
        starting = sum(entry is None for _, entry in self._underway.values())
        for _ in range(min(self.size - len(self._actors), len(self._todo) - starting)):
            self._add_actor()

    def _submit(self, entry: _Pending[Any], slots: int) -> None:
        actor = self._idle.pop()
        entry.started = time.monotonic()
        self._underway[actor.solve.remote(entry.block.tokens, slots)] = actor, entry

    def _double(self, pending: Iterable[_Pending[Any]], slots: int) -> None:
        """Let an idle actor solve the block that all answers wait for, where its own takes far longer than usual."""
        entry = next((entry for entry in pending if entry.result is None), None)
        if entry is None or entry.doubled or not (self._idle and self._puzzles) or not entry.started:
            return
        usual = self._seconds / self._puzzles * len(entry.block.tokens)
        if time.monotonic() - entry.started > max(SLOW * usual, SLOW_S):
            entry.doubled = True
            self.solved_twice += 1
            log.info("%s: takes long, so another actor solves them too", entry.block.name)
            self._submit(entry, slots)

    def _add_actor(self) -> None:
        actor = self._class.remote()
        self._actors.append(actor)
        self._underway[actor.open.remote(self._order)] = actor, None

    def _wait(self) -> None:
        """Wait until an actor has done something, or has died."""
        solving = any(entry for _, entry in self._underway.values())
        patience = (1.0 if self._idle else None) if solving else WAITING_S
        done, _ = self._ray.wait(list(self._underway), num_returns=1, timeout=patience)
        if not done:
            if not solving:
                log.info("waiting for the cluster to start an actor, which takes %s", self._what)
            return
        actor, entry = self._underway.pop(done[0])
        errors = self._ray.exceptions
        try:
            result = self._ray.get(done[0])
        except errors.RayTaskError as error:
            raise _told(error.cause) from error
        except errors.RayError as error:  # it died, or what it gave is lost with its machine
            self._ray.kill(actor)
            self._bury(actor, entry, error)
            return
        if entry is None:
            self._opening_deaths = 0
            self._welcome(result)
            self.places[actor] = result.place
        elif entry.result is None:
            entry.result = result
            self._seconds += time.monotonic() - entry.started
            self._puzzles += len(result[0])
        self._idle.append(actor)

    def _welcome(self, opened: Opened) -> None:
        if self._first is None:
            self._first = opened
            for note in opened.notes:
                log.warning("%s", note)
        elif opened.runtime != self._first.runtime:
            raise CannotRunHere(
                f"{opened.place}: computes with {opened.runtime.description}, {self._first.place} with"
                f" {self._first.runtime.description}: their answers may differ",
                hint="install the same packages on each node, or name one of them with --runtime",
            )

    def _bury(self, actor: Any, entry: _Pending[Any] | None, error: Exception) -> None:
        """An actor has died: what it had to do is to be done again."""
        self._actors.remove(actor)
        place = self.places.pop(actor, "")
        if NO_MODULE in str(error):
            raise CannotRunHere(
                "the nodes of the cluster have no trm-deploy", hint="type on each node: pip install trm-deploy"
            ) from error
        if entry is None:
            self._opening_deaths += 1
            if self._opening_deaths >= MAX_DEATHS:
                raise TrmDeployError(
                    f"{MAX_DEATHS} actors in a row died opening the model ({reason(error)})",
                    hint="see whether the nodes have memory enough for it",
                ) from error
        elif entry.result is None:
            entry.deaths += 1
            if entry.deaths >= MAX_DEATHS:
                raise TrmDeployError(
                    f"{entry.block.name}: {MAX_DEATHS} actors died solving them",
                    hint="see whether the nodes have memory enough; a smaller --batch takes less",
                ) from error
            log.warning("the actor on %s died; another one solves %s again", place, entry.block.name)
            self.solved_again += 1
            self._todo.appendleft(entry)
        if not self._actors:
            self._add_actor()

    def close(self) -> None:
        """End the actors."""
        for actor in self._actors:
            self._ray.kill(actor)


def _told(cause: BaseException) -> TrmDeployError:
    """What went wrong in an actor."""
    return cause if isinstance(cause, TrmDeployError) else TrmDeployError(f"an actor failed: {reason(cause)}")
