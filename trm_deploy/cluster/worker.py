"""What an actor does: opens the model that arrives, then solves blocks of puzzles."""

from __future__ import annotations

import importlib
import logging
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import trm_deploy
from trm_deploy.artefacts.record import BuildRecord
from trm_deploy.cluster.shipping import Shipment, unpacked
from trm_deploy.errors import CannotRunHere, TrmDeployError
from trm_deploy.puzzles.base import Tokens
from trm_deploy.runtimes.base import Int32, Runtime, Solution
from trm_deploy.runtimes.solving.attempts import BestAttempt, solve_stream
from trm_deploy.runtimes.solving.scheduling import Work
from trm_deploy.runtimes.solving.session import SolveOptions, SolvingSession, open_session
from trm_deploy.signature import BakedLimits, Graph
from trm_deploy.spec import ModelSpec


@dataclass(frozen=True)
class Order:
    """What an actor is to open, and how it solves.

    Attributes:
        shipment: the artefact.
        arguments: of `open_session`.
        options: how to solve.
        version: of this package where the run was started.
    """

    shipment: Shipment
    arguments: Mapping[str, Any]
    options: SolveOptions
    version: str = trm_deploy.__version__


@dataclass(frozen=True)
class RemoteRuntime:
    """What a runtime in another process says of itself; see `Runtime`. It computes nothing here."""

    spec: ModelSpec
    backend: str
    graph: Graph
    precision: str
    arithmetic: str
    description: str
    fixed_steps: int | None
    baked: BakedLimits | None
    smallest_batch: int
    largest_batch: int | None

    @staticmethod
    def of(runtime: Runtime) -> RemoteRuntime:
        """Describe a runtime."""
        return RemoteRuntime(
            runtime.spec,
            runtime.backend,
            runtime.graph,
            runtime.precision,
            runtime.arithmetic,
            runtime.description,
            runtime.fixed_steps,
            runtime.baked,
            runtime.smallest_batch,
            runtime.largest_batch,
        )

    def solve(
        self, tokens: Int32, puzzle_ids: Int32 | None = None, *, max_steps: int, halt_threshold: float
    ) -> Solution:
        """Raises `TrmDeployError`: the actors compute."""
        raise TrmDeployError(f"{self.description}: is in another process, which solves blocks of puzzles alone")


@dataclass(frozen=True)
class Opened:
    """A model as an actor has opened it.

    Attributes:
        runtime: what it says of itself.
        built: its record.
        batch_size: puzzles at a time, see `SolvingSession.batch_size`.
        notes: what opening it had to say.
        place: host and process, for messages.
    """

    runtime: RemoteRuntime
    built: BuildRecord | None
    batch_size: int
    notes: tuple[str, ...]
    place: str


class Worker:
    """A model in a process of its own. `open` comes first."""

    def __init__(self) -> None:
        self._session: SolvingSession | None = None
        self._options = SolveOptions()

    def open(self, order: Order) -> Opened:
        """Open the model.

        Raises:
            CannotRunHere: this node has another version of this package, or lacks what the model needs.
            TrmDeployError: see `open_session`; or the schedule does not fit the model.
        """
        place = f"{socket.gethostname()} process {os.getpid()}"
        if order.version != trm_deploy.__version__:
            raise CannotRunHere(
                f"{socket.gethostname()}: has trm-deploy {trm_deploy.__version__}, this run is of {order.version}",
                hint=f"type on each node: pip install trm-deploy=={order.version}",
            )
        notes = _Notes()
        logger = logging.getLogger("trm_deploy")
        logger.addHandler(notes)
        try:
            with unpacked(importlib.import_module("ray"), order.shipment) as path:
                try:
                    session = open_session(path, **order.arguments)
                    size = session.batch_size(order.options)
                    session.executor(size, order.options)
                    if session.puzzle.has_rules:
                        session.schedule(order.options)
                except TrmDeployError as error:
                    # What the files are called here says nothing to the user.
                    error.args = (str(error.args[0]).replace(f"{path.parent}{os.sep}", ""),)
                    raise
        finally:
            logger.removeHandler(notes)
        self._session, self._options = session, order.options
        return Opened(RemoteRuntime.of(session.runtime), session.built, size, tuple(notes.found), place)

    def solve(self, tokens: Tokens, slots: int) -> tuple[list[BestAttempt], Work]:
        """Solve the questions of a block.

        Args:
            tokens: int32 [N, L].
            slots: puzzles at a time.

        Returns:
            An answer a question, in their order, and what was computed for them.
        """
        session, options = self._session, self._options
        assert session is not None
        computing = session.executor(slots, options)
        found = solve_stream(
            computing,
            session.puzzle,
            np.array(tokens),  # what comes out of the object store cannot be written to
            session.schedule(options),
            tokens=lambda question: question,
            speculate=options.speculate,
        )
        return [best for _, best in found if best is not None], computing.work


class _Notes(logging.Handler):
    """Keeps what is worth telling the user, who sees nothing of what is logged here."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record.getMessage())
