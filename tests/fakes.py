"""One runtime in place of a real one: its answers are a function's, and what it was called with is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trm_deploy.runtimes.base import Float32, Int32, Runtime, Solution, StepResult, StepRuntime
from trm_deploy.signature import Graph
from trm_deploy.spec import ModelSpec


@dataclass(frozen=True)
class Call:
    """One call of `solve`."""

    tokens: Int32
    puzzle_ids: Int32 | None
    max_steps: int
    halt_threshold: float


class FakeRuntime:
    """A runtime of the loop form that gives what `answer` makes of a call.

    Everything else that a runtime says of itself is given as it should be; `calls` fills up.
    """

    backend = "fake"
    baked = None

    def __init__(
        self,
        spec: ModelSpec,
        answer: Callable[[Call], Solution],
        *,
        graph: Graph = "loop",
        precision: str = "fp32",
        arithmetic: str | None = None,
        description: str = "fake",
        fixed_steps: int | None = None,
        smallest_batch: int = 1,
        largest_batch: int | None = None,
    ) -> None:
        self.spec = spec
        self.graph: Graph = graph
        self.precision = precision
        self.arithmetic = arithmetic or precision
        self.description = description
        self.fixed_steps = fixed_steps
        self.smallest_batch = smallest_batch
        self.largest_batch = largest_batch
        self.calls: list[Call] = []
        self._answer = answer

    def solve(
        self, tokens: Int32, puzzle_ids: Int32 | None = None, *, max_steps: int, halt_threshold: float
    ) -> Solution:
        call = Call(tokens.copy(), puzzle_ids, max_steps, halt_threshold)
        self.calls.append(call)
        return self._answer(call)


def unchanged(call: Call) -> Call:
    return call


def as_it_is(solution: Solution) -> Solution:
    return solution


def around(
    runtime: Runtime,
    *,
    before: Callable[[Call], Call] = unchanged,
    after: Callable[[Solution], Solution] = as_it_is,
    **what: Any,
) -> FakeRuntime:
    """A loop engine that computes as another runtime does, with one thing changed on the way in or out."""

    def answer(call: Call) -> Solution:
        call = before(call)
        solution = runtime.solve(
            call.tokens, call.puzzle_ids, max_steps=call.max_steps, halt_threshold=call.halt_threshold
        )
        return after(solution)

    return FakeRuntime(runtime.spec, answer, **what)


class FakeStepRuntime(FakeRuntime):
    """A step engine that computes as another one does, but for what `change` makes of each step's result."""

    def __init__(self, runtime: StepRuntime, change: Callable[[StepResult], StepResult], **what: Any) -> None:
        def answer(call: Call) -> Solution:
            return runtime.solve(
                call.tokens, call.puzzle_ids, max_steps=call.max_steps, halt_threshold=call.halt_threshold
            )

        super().__init__(runtime.spec, answer, **{"graph": "step", "precision": runtime.precision, **what})
        self.steps = 0  # done so far
        self._runtime, self._change = runtime, change

    def step(
        self, tokens: Int32, reset: NDArray[np.bool_], y: Any, z: Any, puzzle_ids: Int32 | None = None
    ) -> StepResult:
        result = self._runtime.step(tokens, reset, y, z, puzzle_ids)
        self.steps += 1
        return self._change(result)


def solution(answers: Int32, *, steps: int, halt_logit: Float32 | float, vocabulary: int) -> Solution:
    """What a fake gives where nobody looks at logits: answers int32 [B, L]."""
    batch, length = answers.shape
    return Solution(
        answers,
        np.full(batch, steps, np.int32),
        np.broadcast_to(np.asarray(halt_logit, np.float32), batch).copy(),
        np.zeros((batch, length, vocabulary), np.float32),
    )
