"""A model on a cluster with the face of one that is opened here: puzzles in, answers out, in the order of the input."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trm_deploy import puzzles
from trm_deploy.artefacts import kind
from trm_deploy.artefacts.shipped import ShippedModel
from trm_deploy.cluster.connection import LOCAL, connected
from trm_deploy.cluster.pool import Pool
from trm_deploy.cluster.shipping import files_of, ship
from trm_deploy.cluster.worker import Order
from trm_deploy.errors import CannotRunHere, InputError
from trm_deploy.puzzles.base import Tokens
from trm_deploy.puzzles.reading import Question
from trm_deploy.runtimes.base import Device
from trm_deploy.runtimes.solving.answer import Answer
from trm_deploy.runtimes.solving.scheduling import Work
from trm_deploy.runtimes.solving.session import SolveOptions, SolvingSession, announce, path_of
from trm_deploy.signature import Precision

# Puzzles in a block, for each slot, at most. The first blocks, of one each, share a small input out; then they double:
# the slots of an actor run empty at the end of each.
LARGEST_BLOCK = 32


@dataclass(frozen=True)
class _Questions:
    """A block: neighbouring puzzles of the input, those included that could not be read."""

    questions: list[Question]

    @property
    def tokens(self) -> Tokens:
        """The questions to solve, int32 [N, L]."""
        found = [question.tokens for question in self.questions if _is_open(question)]
        return np.stack(found) if found else np.zeros((0, 0), np.int32)  # type: ignore[arg-type]

    @property
    def name(self) -> str:
        """Its first and last puzzle."""
        return f"{self.questions[0].place} to {self.questions[-1].place}"


@dataclass(frozen=True)
class ClusterSession(SolvingSession):
    """An opened model whose puzzles a pool of actors solves.

    Attributes:
        pool: the actors.
    """

    pool: Pool | None = None

    def batch_size(self, options: SolveOptions) -> int:
        """Puzzles at a time in each actor; the actors have their options already."""
        assert self.pool is not None
        return self.pool.opened.batch_size

    def solve(
        self, questions: Iterable[Question], options: SolveOptions, *, slots: int, work: Work | None = None
    ) -> Iterator[Answer]:
        """See `SolvingSession.solve`; `work.seconds` is of an actor, on average."""
        assert self.pool is not None
        found = self.pool.solve(_blocks(questions, slots, self.pool.size), slots)
        for block, solved, done in found:
            if work is not None:
                work.calls += done.calls
                work.steps += done.steps
                work.slot_steps += done.slot_steps
                work.speculative_steps += done.speculative_steps
                work.seconds += done.seconds / self.pool.actors
            bests = iter(solved)
            for question in block.questions:
                yield Answer.of(question, next(bests) if _is_open(question) else None, self.puzzle)


def _is_open(question: Question) -> bool:
    """Whether there is something to solve: it could be read, and no earlier run's answer is passed through."""
    return question.tokens is not None and question.answered is None


def _blocks(questions: Iterable[Question], slots: int, actors: int) -> Iterator[_Questions]:
    """Blocks of whole batches, small ones first so that few puzzles are shared out too."""
    source = iter(questions)
    for number in itertools.count():
        size = slots * min(2 ** min(number // actors, 16), LARGEST_BLOCK)
        block = list(itertools.islice(source, size))
        if not block:
            return
        yield _Questions(block)


@contextlib.contextmanager
def open_cluster(
    engine: Path | ShippedModel | None,
    options: SolveOptions,
    *,
    address: str = LOCAL,
    actors: int | None = None,
    gpus_per_actor: float | None = None,
    device: Device = "cpu",
    allow_host_code: bool = False,
    precision: Precision | None = None,
    compiled: bool = False,
    overrides: Sequence[str] = (),
    runtime: str | None = None,
) -> Iterator[ClusterSession]:
    """A model on a Ray cluster, for as long as the block lasts.

    Args:
        engine: the artefact, the shipped one where None; it need not be on the cluster.
        options: how puzzles are solved.
        address: see `connected`.
        actors: maximum number of actors, each with one CPU and one thread; as many as the cluster has room for where
            None.
        gpus_per_actor: GPUs of each actor, part of one where several share it; where None 1 for a plan or on "cuda",
            else 0.
        device, allow_host_code, precision, compiled, overrides, runtime: see `open_session`.

    Raises:
        InputError: the artefact cannot be read, nothing answers at the address, or the task has no rules.
        CannotRunHere: Ray is missing or another version than the cluster's, the nodes lack what the model needs, or
            there are no GPUs.
    """
    path, files = files_of(path_of(engine))
    if gpus_per_actor is None:
        gpus_per_actor = float(device == "cuda" or kind.of(path).is_plan)
    with connected(address, store=sum(file.stat().st_size for file in files)) as ray:
        arguments: dict[str, Any] = {
            "device": device,
            "allow_host_code": allow_host_code,
            "precision": precision,
            "compiled": compiled,
            "overrides": tuple(overrides),
            "runtime": runtime,
        }
        size = actors or _room(ray, gpus_per_actor)
        pool = Pool(ray, Order(ship(ray, files), arguments, options), size=size, gpus=gpus_per_actor)
        try:
            opened = pool.opened
            task = puzzles.get(opened.runtime.spec.task.name)
            if not task.has_rules:
                raise InputError(
                    f"{path}: is for {task.name}, whose answers vote, and --ray solves puzzles one by one",
                    hint="leave out --ray",
                )
            announce(engine)
            yield ClusterSession(
                path, opened.runtime, task, opened.built, assumed=not isinstance(engine, Path), pool=pool
            )
        finally:
            pool.close()


def _room(ray: Any, gpus: float) -> int:
    """How many actors the cluster has room for."""
    there = ray.cluster_resources()
    cpus = int(there.get("CPU", 0))
    if not gpus:
        return max(1, cpus)
    found = int(there.get("GPU", 0) / gpus)
    if not found:
        raise CannotRunHere(
            f"the cluster has {there.get('GPU', 0):g} GPUs, and --gpus-per-actor is {gpus:g}",
            hint="leave out --gpus-per-actor, or add nodes with GPUs",
        )
    return max(1, min(cpus, found))
