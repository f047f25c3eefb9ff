"""The thread that owns an engine: slots shared fairly, cancelled jobs, an engine that fails."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fakes import FakeStepRuntime
from tests.serving.conftest import SMALL
from trm_deploy.errors import TrmDeployError
from trm_deploy.puzzles.sudoku import Sudoku
from trm_deploy.runtimes import load
from trm_deploy.runtimes.base import StepResult, StepRuntime
from trm_deploy.runtimes.solving.scheduling import InFlight, Limits, Request
from trm_deploy.serving.engine import EngineFailed, EngineThread, Job, Once, QueueFull
from trm_deploy.serving.http import Frame
from trm_deploy.serving.metrics import Metrics

PUZZLE = Sudoku(2, 2)
QUESTIONS = [PUZZLE.parse_line(line) for line in SMALL]


@pytest.fixture(scope="module")
def runtime(engines: dict[str, Path]) -> StepRuntime:
    found = load(engines["step"])
    assert isinstance(found, StepRuntime)
    return found


Start = Callable[..., EngineThread]


@pytest.fixture
def start(runtime: StepRuntime) -> Iterator[Start]:
    """Starts engines of 2 slots whose steps go through a function."""
    started: list[EngineThread] = []

    def make(change: Callable[[StepResult], StepResult] = lambda result: result, queue: int = 100) -> EngineThread:
        fake = FakeStepRuntime(runtime, change)
        started.append(EngineThread(lambda: InFlight(fake, 2), queue=queue))
        return started[-1]

    yield make
    for engine in started:
        engine.close()


def job(count: int, steps: int = 3, **more: Any) -> Job:
    """A job of puzzles that take a number of steps each."""
    limits = Limits(steps, np.inf)
    return Job([Once(Request(None, QUESTIONS[n % len(QUESTIONS)], limits)) for n in range(count)], **more)


def test_a_large_job_does_not_hold_back_a_small_one(start: Start) -> None:
    ended: list[str] = []
    gate = threading.Event()

    def held(result: StepResult) -> StepResult:
        gate.wait(10)
        return result

    engine = start(held)
    large, small = job(40), job(1)
    large.ended.add_done_callback(lambda _: ended.append("large"))
    small.ended.add_done_callback(lambda _: ended.append("small"))
    engine.submit(large)
    engine.submit(small)
    gate.set()
    wait([large.ended, small.ended], timeout=30)
    assert ended == ["small", "large"]
    assert [each.finished.steps for each in large.tries if isinstance(each, Once) and each.finished] == [3] * 40


def test_a_cancelled_job_leaves_its_slots_and_its_place_in_the_queue(start: Start) -> None:
    engine = start(queue=10)
    endless = job(8, steps=10_000)
    engine.submit(endless)
    until = time.monotonic() + 10
    while engine.slots_in_use < 2 and time.monotonic() < until:
        time.sleep(0.01)
    with pytest.raises(QueueFull, match="6 puzzles wait and 5 more came, up to 10 may wait") as full:
        engine.submit(job(5))
    assert full.value.retry_after >= 1
    engine.cancel(endless)
    endless.ended.result(timeout=10)
    after = job(10)
    engine.submit(after)
    after.ended.result(timeout=10)
    assert (engine.waiting, engine.slots_in_use, endless.cancelled, after.cancelled) == (0, 0, True, False)


def test_a_failure_ends_what_has_begun_and_nothing_else(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    calls = 0
    gate = threading.Event()

    def once_wrong(result: StepResult) -> StepResult:
        nonlocal calls
        calls += 1
        gate.wait(10)
        if calls == 2:
            raise TrmDeployError("out of memory")
        return result

    engine = start(once_wrong)
    begun, waiting = job(2), job(3)
    engine.submit(begun)
    while not calls:
        time.sleep(0.01)
    engine.submit(waiting)
    gate.set()
    with pytest.raises(EngineFailed, match="the engine failed: out of memory"):
        begun.ended.result(timeout=10)
    waiting.ended.result(timeout=10)
    assert engine.works
    assert "the engine failed" in caplog.text


def test_an_engine_that_fails_again_and_again_takes_no_more(start: Start) -> None:
    def wrong(result: StepResult) -> StepResult:
        raise ValueError("the device is lost")

    engine = start(wrong)
    jobs = [job(4) for _ in range(4)]
    for each in jobs:
        try:
            engine.submit(each)
        except EngineFailed:
            each.end(EngineFailed("refused"))
        with pytest.raises(EngineFailed):
            each.ended.result(timeout=10)
    assert not engine.works
    assert (engine.waiting, engine.slots_in_use) == (0, 0)
    with pytest.raises(EngineFailed, match="the engine is broken"):
        engine.submit(job(1))


def test_closing_ends_what_is_left(start: Start) -> None:
    engine = start()
    endless = job(5, steps=10_000)
    engine.submit(endless)
    engine.close()
    with pytest.raises(EngineFailed, match="the server was stopped"):
        endless.ended.result(timeout=10)
    assert not engine.works


def test_what_nobody_foresaw_is_a_500_with_the_id_of_the_request(caplog: pytest.LogCaptureFixture) -> None:
    async def wrong(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("a defect")

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    metrics = Metrics({})
    scope = {"type": "http", "path": "/solve", "method": "POST", "headers": [(b"x-request-id", b"mine")]}
    # In a thread of its own: a browser's tests leave an event loop in this one.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, Frame(wrong, token=None, deadline=1, metrics=metrics)(scope, receive, send)).result()
    assert sent[0]["status"] == 500
    assert (b"x-request-id", b"mine") in sent[0]["headers"]
    assert b"see its log, id mine" in sent[1]["body"]
    assert "a defect" in caplog.text
    assert b'endpoint="other",status="500"} 1.0' in metrics.text()
