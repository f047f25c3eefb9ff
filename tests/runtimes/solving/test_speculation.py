"""Attempts ahead of their turn: idle slots compute them, and no answer changes by it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.conftest import exported, random_model, tiny_spec
from tests.runtimes.solving.test_attempts import QUESTION, search
from trm_deploy import puzzles, runtimes
from trm_deploy.puzzles.base import Tokens
from trm_deploy.runtimes.backends.pytorch import TorchRuntime
from trm_deploy.runtimes.base import StepRuntime
from trm_deploy.runtimes.solving.attempts import Attempts, BestAttempt, Forms, Schedule, solve_stream
from trm_deploy.runtimes.solving.scheduling import Batches, Finished, InFlight, Request, Work

PUZZLE = puzzles.get("sudoku-4x4")
TOKENS = np.random.default_rng(3).integers(1, 6, (3, 16)).astype(np.int32)


class Scripted:
    """An executor whose attempts take as many steps, and are as right, as a script says by their number."""

    computes_idle_slots = True

    def __init__(self, size: int, steps: list[int], right: set[int]) -> None:
        self.work = Work()
        self.size = size
        self._steps, self._right = steps, right
        self.held: dict[object, tuple[Request, int]] = {}
        self.admitted: list[int] = []

    @property
    def free(self) -> int:
        return self.size - len(self.held)

    @property
    def busy(self) -> bool:
        return bool(self.held)

    def admit(self, request: Request) -> None:
        self.admitted.append(request.key[1])
        self.held[request.key] = (request, 0)

    def cancel(self, key: object) -> int | None:
        held = self.held.pop(key, None)
        return None if held is None else held[1]

    def advance(self) -> list[Finished]:
        self.work.calls += 1
        finished = []
        for key, (request, done) in list(self.held.items()):
            self.held[key] = (request, done + 1)
            self.work.steps += 1
            number = request.key[1]
            if done + 1 == min(self._steps[number], request.limits.max_steps):
                del self.held[key]
                answer: Tokens = search(request.tokens) if number in self._right else request.tokens
                finished.append(Finished(key, answer, done + 1, 0.0, True, 1.0))
        return finished


def solve(computing: Scripted, *, attempts: int = 8, budget: int | None = None, speculate: bool = True) -> BestAttempt:
    schedule = Schedule(attempts, (16,), 0.0, budget=budget)
    stream = solve_stream(computing, PUZZLE, [QUESTION], schedule, tokens=lambda item: item, speculate=speculate)
    ((_, best),) = stream
    assert best is not None
    return best


def test_the_first_verified_attempt_in_order_wins_whichever_ends_first() -> None:
    steps = [2, 9, 5, 1, 3, 3, 3, 3]
    right = {1, 3, 4}
    alone = solve(Scripted(1, steps, right), speculate=False)
    computing = Scripted(4, steps, right)
    together = solve(computing)
    assert (alone.attempts, alone.total_steps, alone.verified) == (2, 11, True)
    assert (together.attempts, together.total_steps) == (2, 11)
    np.testing.assert_array_equal(together.answer, alone.answer)
    assert computing.work.calls == 9, "as long as the slowest that counts, not as all one after the other"
    assert computing.work.useful_steps == 11
    assert computing.work.speculative_steps == computing.work.steps - 11 > 0


def test_what_is_underway_is_cancelled_when_an_earlier_attempt_is_verified() -> None:
    computing = Scripted(4, [3, 16, 16, 16, 16, 16, 16, 16], {0})
    assert solve(computing).attempts == 1
    assert not computing.held
    assert (computing.work.calls, computing.work.speculative_steps) == (3, 9)


def test_without_speculation_nothing_is_computed_in_vain() -> None:
    computing = Scripted(4, [3] * 8, {5})
    assert solve(computing, speculate=False).attempts == 6
    assert (computing.work.speculative_steps, computing.admitted) == (0, [0, 1, 2, 3, 4, 5])


def test_a_budget_ends_the_attempts_and_is_kept_by_what_is_ahead() -> None:
    for slots in (1, 4):
        computing = Scripted(slots, [16] * 8, set())
        best = solve(computing, budget=40)
        assert (best.attempts, best.total_steps, best.verified) == (3, 40, False)
        assert max(computing.admitted) == 2
    # The third attempt halts early: what it leaves is spent.
    assert solve(Scripted(4, [16, 16, 4, 9, 9, 9, 9, 9], set()), budget=40).attempts == 4


def test_attempts_are_handed_out_once_each() -> None:
    attempts = Attempts(Forms(PUZZLE, Schedule(3, (4,), 0.0)), QUESTION)
    assert attempts.next() is not None
    assert attempts.next() is None
    ahead = [attempts.next(ahead=True), attempts.next(ahead=True)]
    assert [request.key[1] for request in ahead if request is not None] == [1, 2]
    assert attempts.next(ahead=True) is None
    assert [key[1] for key in attempts.underway] == [0, 1, 2]


@pytest.fixture(scope="module", params=["onnx", "torch"])
def runtime(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> StepRuntime:
    if request.param == "torch":
        return TorchRuntime(random_model(tiny_spec("trm-mlp")))
    path = tmp_path_factory.mktemp("step") / "step.onnx"
    onnx.save(exported("trm-mlp", "step"), path)
    loaded = runtimes.load(path)
    assert isinstance(loaded, StepRuntime)
    return loaded


def test_answers_are_the_same_to_the_last_bit_with_and_without(runtime: StepRuntime) -> None:
    schedule = Schedule(5, (2, 2, 6), 0.0)

    def answers(speculate: bool) -> tuple[list[BestAttempt], Work]:
        computing = InFlight(runtime, 8)
        found = solve_stream(computing, PUZZLE, list(TOKENS), schedule, tokens=lambda item: item, speculate=speculate)
        return [best for _, best in found if best is not None], computing.work

    plain, work = answers(False)
    ahead, more = answers(True)
    for one, other in zip(plain, ahead):
        np.testing.assert_array_equal(one.answer, other.answer)
        assert (one.steps, one.attempts, one.total_steps) == (other.steps, other.attempts, other.total_steps)
        assert one.halt_logit == other.halt_logit
    assert more.useful_steps == work.steps == sum(best.total_steps for best in plain)
    assert more.calls < work.calls


def test_whole_batches_do_not_speculate_unless_told(tmp_path: Path) -> None:
    computing = Batches(TorchRuntime(random_model(tiny_spec("trm-mlp"))), 8)
    schedule = Schedule(3, (4,), 0.0)

    def items() -> Iterator[Tokens]:
        yield from TOKENS[:2]

    list(solve_stream(computing, PUZZLE, items(), schedule, tokens=lambda item: item))
    assert computing.work.speculative_steps == 0
    assert computing.work.calls >= 3
