"""What every profiler gives: for each run of an artefact, the time of each layer as the runtime's own profiler says."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from trm_deploy.runtimes.base import Runtime


@dataclass(frozen=True)
class Layer:
    """What a profiler times as one: an operator, or several that the runtime has fused.

    Attributes:
        name: the runtime's own.
        operator: as the runtime calls what it executes.
        tensors: names of tensors of the exported graph that it computes, as far as the runtime tells; its own names for
            them else.
        inputs: names of tensors that it takes, in the same words.
        group: the layer group where the runtime knows it without the graph.
    """

    name: str
    operator: str
    tensors: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    group: str | None = None


@dataclass(frozen=True)
class ProfiledRun:
    """One run, or the mean of several where a profiler does not tell them apart.

    Attributes:
        milliseconds: that the caller waited.
        layers: milliseconds of each layer, all its executions together, what it contains not counted. A layer of 0 was
            not executed, but says what is connected with what.
    """

    milliseconds: float
    layers: dict[Layer, float]
    count: int = 1


class Profiler(Protocol):
    """An artefact that is loaded with the profiler on."""

    @property
    def runtime(self) -> Runtime:
        """What to run."""

    @property
    def method(self) -> str:
        """What times the layers, in words."""

    def measure(self, run: Callable[[], None], count: int) -> list[ProfiledRun]:
        """Time the layers of a number of runs.

        Args:
            run: runs the artefact once, as it has been run before.
            count: number of runs.
        """


def timed(run: Callable[[], None]) -> float:
    """Milliseconds of a run."""
    start = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - start)
