"""A pool of actors: blocks of puzzles in, what became of them out, in the order of the blocks and in constant memory.

An actor has one block at a time, and whoever is done first takes the next. An actor that dies, with its process or with
its machine, costs its block's work: another actor takes the block, and a new actor its place.
"""

from __future__ import annotations

import logging
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
    """

    block: SomeBlock
    result: tuple[list[BestAttempt], Work] | None = None
    deaths: int = 0


class Pool:
    """Actors with a model; as many as there are blocks for, up to `size`.

    Attributes:
        opened: the model, as the first actor has it.
        size: maximum number of actors.
        places: host and process of each actor that has opened the model and lives.
        solved_again: blocks that were given to another actor because theirs had died.
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
        self.solved_again = 0
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
            actor, entry = self._idle.pop(), self._todo.popleft()
            self._underway[actor.solve.remote(entry.block.tokens, slots)] = actor, entry
        starting = sum(entry is None for _, entry in self._underway.values())
        for _ in range(min(self.size - len(self._actors), len(self._todo) - starting)):
            self._add_actor()

    def _add_actor(self) -> None:
        actor = self._class.remote()
        self._actors.append(actor)
        self._underway[actor.open.remote(self._order)] = actor, None

    def _wait(self) -> None:
        """Wait until an actor has done something, or has died."""
        patience = None if self._idle or any(entry for _, entry in self._underway.values()) else WAITING_S
        done, _ = self._ray.wait(list(self._underway), num_returns=1, timeout=patience)
        if not done:
            log.info("waiting for the cluster to start an actor, which takes %s", self._what)
            return
        actor, entry = self._underway.pop(done[0])
        errors = self._ray.exceptions
        try:
            result = self._ray.get(done[0])
        except errors.RayTaskError as error:
            raise _told(error.cause) from error
        except errors.RayActorError as error:
            self._bury(actor, entry, error)
            return
        if entry is None:
            self._opening_deaths = 0
            self._welcome(result)
            self.places[actor] = result.place
        else:
            entry.result = result
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
        else:
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
