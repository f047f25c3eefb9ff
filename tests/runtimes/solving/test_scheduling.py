"""In-flight batching: who gets which slot, that it changes no answer, and that attempts share batches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.conftest import exported, random_model, tiny_spec
from trm_deploy import puzzles, runtimes
from trm_deploy.errors import InputError
from trm_deploy.puzzles.base import Tokens
from trm_deploy.runtimes.backends.pytorch import TorchRuntime
from trm_deploy.runtimes.base import StepRuntime
from trm_deploy.runtimes.solving.attempts import Answer, SolveSettings, solve_stream
from trm_deploy.runtimes.solving.scheduling import (
    Batches,
    Executor,
    Finished,
    InFlight,
    Limits,
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
    computing = InFlight(runtime, 4, LIMITS)
    found = solve_all(computing, TOKENS)
    np.testing.assert_array_equal(np.stack([found[key].answer for key in range(40)]), alone.answer)
    np.testing.assert_array_equal([found[key].steps for key in range(40)], alone.steps)
    np.testing.assert_allclose([found[key].halt_logit for key in range(40)], alone.halt_logit, atol=1e-4)
    work = computing.work
    assert work.steps == alone.steps.sum()
    # No slot idles while puzzles wait: only the last four may leave theirs empty.
    assert work.calls <= -(-int(alone.steps.sum()) // 4) + 6
    waiting_for_the_slowest = sum(int(alone.steps[start : start + 4].max()) for start in range(0, 40, 4))
    assert work.calls < waiting_for_the_slowest
    static = Batches(runtime, 4, LIMITS)
    solve_all(static, TOKENS)
    assert static.work.places == 4 * waiting_for_the_slowest
    assert static.work.occupancy < work.occupancy <= 1


def test_an_answer_is_the_same_to_the_last_bit_whatever_shares_its_batch(runtime: StepRuntime) -> None:
    forwards = solve_all(InFlight(runtime, 4, LIMITS), TOKENS)
    backwards = solve_all(InFlight(runtime, 4, LIMITS), TOKENS[::-1])
    for key in range(40):
        alone = solve_all(InFlight(runtime, 4, LIMITS), TOKENS[key : key + 1])[0]
        for other in (backwards[39 - key], alone):
            assert other.halt_logit == forwards[key].halt_logit
            assert other.steps == forwards[key].steps
            np.testing.assert_array_equal(other.answer, forwards[key].answer)


class Counting:
    """An executor that solves nothing, and tells how full its batches are."""

    def __init__(self, size: int) -> None:
        self.inner = Batches(TorchRuntime(random_model(tiny_spec("trm-mlp"))), size, LIMITS)
        self.work = self.inner.work
        self.size = size
        self.batches: list[int] = []

    @property
    def free(self) -> int:
        return self.inner.free

    @property
    def busy(self) -> bool:
        return self.inner.busy

    def admit(self, key: object, tokens: Tokens, puzzle_id: int = 0) -> None:
        self.inner.admit(key, tokens, puzzle_id)

    def advance(self) -> list[Finished]:
        self.batches.append(self.size - self.free)
        return self.inner.advance()


def stream(computing: Executor, items: Iterator[int], attempts: int) -> Iterator[tuple[int, Answer | None]]:
    settings = SolveSettings(attempts=attempts, max_steps=6, halt_threshold=0.0)
    return solve_stream(computing, PUZZLE, items, settings, tokens=lambda item: TOKENS[item] if item != 5 else None)


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
        executor(loop, 4, LIMITS, in_flight=True, name="e.onnx")
    assert isinstance(executor(loop, 4, LIMITS), Batches)


def test_a_batch_beyond_the_profile_is_refused(runtime: StepRuntime) -> None:
    class Narrow(TorchRuntime):
        largest_batch = 4  # type: ignore[assignment]

    narrow = Narrow(random_model(tiny_spec("trm-mlp")))
    check_batch(narrow, 4, "e.plan")
    with pytest.raises(InputError, match=r"e.plan: takes up to 4 puzzles at a time, --batch asks for 5; use --batch 4"):
        check_batch(narrow, 5, "e.plan")
