"""In-flight batching: who gets which slot, that it changes no answer, and that attempts share batches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.conftest import exported, random_model, tiny_spec
from tests.fakes import around
from trm_deploy import puzzles, runtimes
from trm_deploy.errors import InputError
from trm_deploy.runtimes.backends.pytorch import TorchRuntime
from trm_deploy.runtimes.base import StepRuntime, host_values, initial_numpy_state
from trm_deploy.runtimes.solving.attempts import BestAttempt, Schedule, solve_stream
from trm_deploy.runtimes.solving.scheduling import (
    Batches,
    Executor,
    Finished,
    InFlight,
    Limits,
    Request,
    check_batch,
    executor,
    solve_all,
)

PUZZLE = puzzles.get("sudoku-4x4")
TOKENS = np.random.default_rng(7).integers(1, 6, (40, 16)).astype(np.int32)
LIMITS = Limits(max_steps=6, halt_threshold=0.0)


@pytest.fixture(scope="module", params=["onnx", "torch"])
def runtime(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> StepRuntime:
    if request.param == "torch":
        return TorchRuntime(random_model(tiny_spec("trm-mlp")))
    path = tmp_path_factory.mktemp("step") / "step.onnx"
    onnx.save(exported("trm-mlp", "step"), path)
    loaded = runtimes.load(path)
    assert isinstance(loaded, StepRuntime)
    return loaded


def test_a_slot_is_taken_again_as_soon_as_its_puzzle_halts(runtime: StepRuntime) -> None:
    alone = runtime.solve(TOKENS, max_steps=6, halt_threshold=0.0)
    assert len(set(alone.steps.tolist())) > 2, "puzzles that halt at different steps are what this is about"
    computing = InFlight(runtime, 4)
    found = solve_all(computing, TOKENS, LIMITS)
    np.testing.assert_array_equal(np.stack([found[key].answer for key in range(40)]), alone.answer)
    np.testing.assert_array_equal([found[key].steps for key in range(40)], alone.steps)
    np.testing.assert_allclose([found[key].halt_logit for key in range(40)], alone.halt_logit, atol=1e-4)
    work = computing.work
    assert work.steps == alone.steps.sum()
    # No slot idles while puzzles wait: only the last four may leave theirs empty.
    assert work.calls <= -(-int(alone.steps.sum()) // 4) + 6
    waiting_for_the_slowest = sum(int(alone.steps[start : start + 4].max()) for start in range(0, 40, 4))
    assert work.calls < waiting_for_the_slowest
    static = Batches(runtime, 4)
    solve_all(static, TOKENS, LIMITS)
    assert static.work.slot_steps == 4 * waiting_for_the_slowest
    assert static.work.occupancy < work.occupancy <= 1


def test_an_answer_is_the_same_to_the_last_bit_whatever_shares_its_batch(runtime: StepRuntime) -> None:
    forwards = solve_all(InFlight(runtime, 4), TOKENS, LIMITS)
    backwards = solve_all(InFlight(runtime, 4), TOKENS[::-1], LIMITS)
    for key in range(40):
        alone = solve_all(InFlight(runtime, 4), TOKENS[key : key + 1], LIMITS)[0]
        for other in (backwards[39 - key], alone):
            assert other.halt_logit == forwards[key].halt_logit
            assert other.steps == forwards[key].steps
            np.testing.assert_array_equal(other.answer, forwards[key].answer)


def test_each_request_has_limits_of_its_own(runtime: StepRuntime) -> None:
    never = Limits(3, np.inf)
    alone = runtime.solve(TOKENS, max_steps=6, halt_threshold=0.0)
    cut = runtime.solve(TOKENS, max_steps=3, halt_threshold=np.inf)
    for computing in (InFlight(runtime, 4), Batches(runtime, 4)):
        found: dict[int, Finished] = {}
        for start in range(0, 40, 4):
            for row in range(start, start + 4):
                computing.admit(Request(row, TOKENS[row], never if row % 2 else LIMITS))
            while computing.busy:
                found |= {attempt.key: attempt for attempt in computing.advance()}
        for row in range(40):
            expected = cut if row % 2 else alone
            np.testing.assert_array_equal(found[row].answer, expected.answer[row])
            assert found[row].steps == expected.steps[row]
            assert found[row].halted == (row % 2 == 0 and bool(alone.halt_logit[row] > 0))


def test_a_request_may_bring_the_state_to_start_from(runtime: StepRuntime) -> None:
    expected = solve_all(InFlight(runtime, 4), TOKENS[:1], Limits(5, np.inf))[0]
    y, z = initial_numpy_state(runtime.spec, 4)
    first = runtime.step(TOKENS[:4], np.ones(4, bool), y, z)
    state = np.array(host_values(first.y)[0]), np.array(host_values(first.z)[0])
    computing = InFlight(runtime, 4)
    computing.admit(Request("before", TOKENS[1], Limits(6, np.inf)))
    computing.advance()
    computing.admit(Request("given", TOKENS[0], Limits(4, np.inf), initial_state=state))
    found: dict[str, Finished] = {}
    while computing.busy:
        found |= {attempt.key: attempt for attempt in computing.advance()}
    assert found["given"].steps == 4
    assert found["given"].halt_logit == expected.halt_logit
    np.testing.assert_array_equal(found["given"].answer, expected.answer)
    undisturbed = solve_all(InFlight(runtime, 4), TOKENS[1:2], Limits(6, np.inf))[0]
    assert found["before"].halt_logit == undisturbed.halt_logit
    with pytest.raises(InputError, match="another needs single steps in flight; type: trm-deploy export"):
        Batches(runtime, 4).admit(Request(0, TOKENS[0], LIMITS, initial_state=state))


class Counting:
    """An executor that solves nothing, and tells how full its batches are."""

    computes_idle_slots = False

    def __init__(self, size: int) -> None:
        self.inner = Batches(TorchRuntime(random_model(tiny_spec("trm-mlp"))), size)
        self.work = self.inner.work
        self.size = size
        self.batches: list[int] = []

    @property
    def free(self) -> int:
        return self.inner.free

    @property
    def busy(self) -> bool:
        return self.inner.busy

    def admit(self, request: Request) -> None:
        self.inner.admit(request)

    def advance(self) -> list[Finished]:
        self.batches.append(self.size - self.free)
        return self.inner.advance()

    def cancel(self, key: object) -> int | None:
        return self.inner.cancel(key)


def stream(computing: Executor, items: Iterator[int], attempts: int) -> Iterator[tuple[int, BestAttempt | None]]:
    schedule = Schedule(attempts=attempts, attempt_steps=(6,), halt_threshold=0.0)
    return solve_stream(computing, PUZZLE, items, schedule, tokens=lambda item: TOKENS[item] if item != 5 else None)


def test_attempts_of_many_puzzles_share_batches_and_order_is_kept() -> None:
    computing = Counting(8)
    found = list(stream(computing, iter(range(40)), attempts=3))
    assert [item for item, _ in found] == list(range(40))
    assert found[5][1] is None
    asked = sum(answer.attempts for _, answer in found if answer is not None)
    assert asked > 100, "a random model verifies next to nothing, so that nearly all are asked three times"
    assert sum(computing.batches) == asked
    assert len(computing.batches) == -(-asked // 8)


def test_items_are_taken_only_while_there_is_room() -> None:
    taken = 0

    def endless() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken % 40

    answers = stream(Counting(2), endless(), attempts=1)
    for _ in range(100):
        next(answers)
    assert taken <= 103


def test_an_engine_without_the_step_form_is_told_so(tmp_path: Path) -> None:
    onnx.save(exported("trm-mlp", "loop"), tmp_path / "loop.onnx")
    loop = runtimes.load(tmp_path / "loop.onnx")
    with pytest.raises(InputError, match=r"e.onnx: has no step form.*type: trm-deploy export CHECKPOINT --graph step"):
        executor(loop, 4, in_flight=True, name="e.onnx")
    assert isinstance(executor(loop, 4), Batches)


def test_a_batch_beyond_the_profile_is_refused(runtime: StepRuntime) -> None:
    narrow = around(runtime, largest_batch=4)
    check_batch(narrow, 4, "e.plan")
    with pytest.raises(InputError, match=r"e.plan: takes up to 4 puzzles at a time, --batch is 5; use --batch 4"):
        check_batch(narrow, 5, "e.plan")
