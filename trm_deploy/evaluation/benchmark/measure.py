"""Measures candidates side by side: one run, interleaved, so that what else the machine does meets all alike."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trm_deploy.evaluation.accuracy import right_answers
from trm_deploy.evaluation.benchmark.candidates import Candidate
from trm_deploy.evaluation.benchmark.limit import gemm_gflops
from trm_deploy.evaluation.benchmark.report import BenchmarkReport, Row
from trm_deploy.evaluation.defaults import REPEATS
from trm_deploy.flops import step_flops
from trm_deploy.puzzles.base import Puzzle, Tokens
from trm_deploy.runtimes import registry
from trm_deploy.runtimes.base import Device
from trm_deploy.runtimes.solving.attempts import Schedule, solve_stream
from trm_deploy.runtimes.solving.scheduling import Executor, Finished, Limits, executor, solve_all
from trm_deploy.support import machine
from trm_deploy.support.progress import progress


@dataclass(frozen=True)
class BenchmarkSettings:
    """How to measure.

    Attributes:
        repeats: number of repeats of the measurements in batches. A candidate in flight solves all puzzles each time,
            so that filling and emptying its slots is in the figure; one whose batches end before the next begins solves
            a part of them each time, and all of them in the end.
        latency_puzzles: number of puzzles to solve one at a time.
        max_steps: maximum number of supervision steps.
        halt_threshold: see `Runtime.solve`.
        device: where the candidates run.
        schedules: by name of the candidate, how it is measured for verified puzzles; one that is absent or None makes
            one attempt.
        speculate: see `solve_stream`.
    """

    repeats: int = REPEATS
    latency_puzzles: int = 24
    max_steps: int = 16
    halt_threshold: float = 0.0
    device: Device = "cpu"
    schedules: Mapping[str, Schedule | None] = field(default_factory=dict)
    speculate: bool | None = None


@dataclass
class _Scheduled:
    """What the repeats by a schedule gave."""

    rates: list[float] = field(default_factory=list)  # verified puzzles a second
    verified: dict[int, bool] = field(default_factory=dict)  # by the puzzle's number
    steps: dict[int, int] = field(default_factory=dict)  # of all attempts up to the one shown
    speculative: list[int] = field(default_factory=list)
    step_rates: list[float] = field(default_factory=list)  # useful ones a second


@dataclass
class _Measured:
    batch: int
    latencies: list[float] = field(default_factory=list)  # ms
    latency_steps: int = 0
    rates: list[float] = field(default_factory=list)  # puzzles a second
    solved: dict[int, bool] = field(default_factory=dict)  # by the puzzle's number
    steps: dict[int, int] = field(default_factory=dict)
    scheduled: _Scheduled = field(default_factory=_Scheduled)


def benchmark(
    found: Sequence[Candidate], puzzle: Puzzle, questions: Tokens, settings: BenchmarkSettings
) -> BenchmarkReport:
    """Measure candidates on questions int32 [N, L].

    Each is tried at its batch sizes first and measured at its best. Then come the latencies, puzzle by puzzle and
    candidate by candidate, and the batches, repeat by repeat and candidate by candidate: once with one attempt a
    puzzle, and where there is a schedule once by it.
    """
    spec = found[0].runtime.spec
    alone = questions[: settings.latency_puzzles]
    passes = {candidate.name: 1 if settings.schedules.get(candidate.name) is None else 2 for candidate in found}
    batch_work = settings.repeats * sum(
        passes[candidate.name] * len(_share(candidate, 0, len(questions), settings)) for candidate in found
    )
    with progress("measuring", len(found) * (1 + len(alone)) + batch_work, unit="puzzles") as advance:
        # A compiled runtime fills a batch up to a size that it has code for: the size of one puzzle comes first.
        for candidate in found:
            _solve(candidate, 1, questions, [0], settings)
            advance(1, candidate.name)
        batches = _best_batches(found, questions, settings)
        measured = {candidate.name: _Measured(batches[candidate.name]) for candidate in found}
        for number in range(len(alone)):
            for candidate in found:
                started = time.perf_counter()
                ((finished,), _) = _solve(candidate, 1, questions, [number], settings)
                measured[candidate.name].latencies.append((time.perf_counter() - started) * 1e3)
                measured[candidate.name].latency_steps += finished.steps
                advance(1, candidate.name)
        for repeat in range(settings.repeats):
            for candidate in found:
                result = measured[candidate.name]
                numbers = _share(candidate, repeat, len(questions), settings)
                done, seconds = _solve(candidate, result.batch, questions, numbers, settings)
                result.rates.append(len(numbers) / seconds)
                right = right_answers(puzzle, questions[numbers], np.stack([finished.answer for finished in done]))
                for number, finished, solved in zip(numbers, done, right):
                    result.solved[number], result.steps[number] = bool(solved), finished.steps
                advance(len(numbers), candidate.name)
                schedule = settings.schedules.get(candidate.name)
                if schedule is not None:
                    _verify(candidate, result, puzzle, questions, numbers, schedule, settings)
                    advance(len(numbers), candidate.name)
    gflops = gemm_gflops(spec, settings.device)
    rows = [
        _row(candidate, measured[candidate.name], settings, step_flops(spec), max(gflops.values()))
        for candidate in found
    ]
    return BenchmarkReport(
        machine=machine.describe(registry.packages()),
        puzzles=len(questions),
        repeats=settings.repeats,
        max_steps=settings.max_steps,
        halt_threshold=settings.halt_threshold,
        step_gflop=step_flops(spec) / 1e9,
        gemm_gflops=gflops,
        rows=rows,
        commands={candidate.name: candidate.command for candidate in found if candidate.command},
    )


def _share(candidate: Candidate, repeat: int, puzzles: int, settings: BenchmarkSettings) -> list[int]:
    """The puzzles of a repeat: all, or the repeat's part where batches end before the next begins."""
    if candidate.way == "in-flight":
        return list(range(puzzles))
    parts: list[NDArray[np.intp]] = np.array_split(np.arange(puzzles), min(settings.repeats, puzzles))
    return [int(number) for number in parts[repeat % len(parts)]]


def _limits(candidate: Candidate, settings: BenchmarkSettings) -> Limits:
    fixed = candidate.way == "fixed"
    steps = candidate.runtime.fixed_steps or settings.max_steps
    return Limits(steps, math.inf if fixed and candidate.runtime.baked is None else settings.halt_threshold)


def _executor(candidate: Candidate, batch: int) -> Executor:
    return executor(candidate.runtime, batch, in_flight=candidate.way == "in-flight")


def _solve(
    candidate: Candidate, batch: int, questions: Tokens, numbers: list[int], settings: BenchmarkSettings
) -> tuple[list[Finished], float]:
    """The puzzles of these numbers, and the seconds that they took."""
    computing = _executor(candidate, batch)
    started = time.perf_counter()
    done = solve_all(computing, questions[numbers], _limits(candidate, settings))
    return done, time.perf_counter() - started


def _verify(
    candidate: Candidate,
    result: _Measured,
    puzzle: Puzzle,
    questions: Tokens,
    numbers: list[int],
    schedule: Schedule,
    settings: BenchmarkSettings,
) -> None:
    """The puzzles of these numbers by a schedule, as `run` solves them."""
    computing = _executor(candidate, result.batch)
    found = result.scheduled
    started = time.perf_counter()
    solved = solve_stream(
        computing, puzzle, numbers, schedule, tokens=lambda number: questions[number], speculate=settings.speculate
    )
    best = {number: attempt for number, attempt in solved if attempt is not None}
    seconds = time.perf_counter() - started
    found.rates.append(sum(attempt.verified for attempt in best.values()) / seconds)
    found.step_rates.append(computing.work.useful_steps / seconds)
    found.speculative.append(computing.work.speculative_steps)
    found.verified |= {number: attempt.verified for number, attempt in best.items()}
    found.steps |= {number: attempt.total_steps for number, attempt in best.items()}


def _best_batches(found: Sequence[Candidate], questions: Tokens, settings: BenchmarkSettings) -> dict[str, int]:
    """For each candidate the batch at which it should be fastest, from the time of one step at each."""
    count = len(questions)
    pilot = questions[: min(count, 32)]
    halting = found[0].runtime.solve(
        pilot,
        max_steps=found[0].runtime.fixed_steps or settings.max_steps,
        halt_threshold=settings.halt_threshold,
    )
    mean = float(halting.steps.mean())
    times: dict[tuple[int, int], float] = {}
    best: dict[str, int] = {}
    in_flight: dict[tuple[str, str, str], int] = {}
    # Engines whose batches wait come last: they get the batch of the same runtime in flight, to be compared with.
    for candidate in sorted(found, key=lambda candidate: candidate.way == "batches"):
        twin = (candidate.library, "step", candidate.precision)
        if candidate.way == "batches" and twin in in_flight:
            best[candidate.name] = in_flight[twin]
            continue
        rates = {}
        for batch in candidate.batches:
            if batch > max(count, candidate.batches[0]):
                break
            key = (id(candidate.runtime), batch)
            if key not in times:
                times[key] = _step_seconds(candidate, batch, questions, settings)
            # In flight, the last puzzles leave their slots empty for up to the largest number of steps.
            calls = count * mean / batch + (settings.max_steps - mean if candidate.way == "in-flight" else 0)
            rates[batch] = 1 / (calls * times[key])
        best[candidate.name] = max(rates, key=lambda batch: rates[batch])
        if candidate.way == "in-flight":
            in_flight[candidate.library, candidate.graph, candidate.precision] = best[candidate.name]
    return best


def _step_seconds(candidate: Candidate, batch: int, questions: Tokens, settings: BenchmarkSettings) -> float:
    """Median time of one supervision step of a full batch."""
    tokens = np.resize(questions, (batch, questions.shape[1])).astype(np.int32)
    steps, baked = candidate.runtime.fixed_steps or 1, candidate.runtime.baked
    threshold = math.inf if baked is None else baked.halt_threshold
    times = []
    for _ in range(4):
        started = time.perf_counter()
        candidate.runtime.solve(tokens, max_steps=steps, halt_threshold=threshold)
        times.append((time.perf_counter() - started) / steps)
    return float(np.median(times[1:]))  # the first one warms up, or compiles


def _row(candidate: Candidate, measured: _Measured, settings: BenchmarkSettings, flops: float, gflops: float) -> Row:
    schedule, scheduled = settings.schedules.get(candidate.name), measured.scheduled
    rate = float(np.median(measured.rates))
    mean_steps = float(np.mean(list(measured.steps.values())))
    solved = float(np.mean(list(measured.solved.values())))
    in_words = schedule.in_words() if schedule else f"1 x {_limits(candidate, settings).max_steps}"
    p50, p95 = (float(value) for value in np.percentile(measured.latencies, (50, 95)))
    return Row(
        name=candidate.name,
        runtime=candidate.library,
        graph=candidate.graph,
        precision=candidate.precision,
        batch=measured.batch,
        latency_ms_p50=p50,
        latency_ms_p95=p95,
        puzzles_per_second=rate,
        spread=(max(measured.rates) - min(measured.rates)) / rate,
        solved=solved,
        mean_steps=mean_steps,
        limit_share=rate * mean_steps * flops / (gflops * 1e9),
        limit_share_alone=measured.latency_steps * flops / (sum(measured.latencies) / 1e3) / (gflops * 1e9),
        schedule=in_words,
        verified=float(np.mean(list(scheduled.verified.values()))) if schedule else solved,
        verified_per_second=float(np.median(scheduled.rates)) if schedule else rate * solved,
        steps_per_puzzle=float(np.mean(list(scheduled.steps.values()))) if schedule else mean_steps,
        speculative_steps=int(np.median(scheduled.speculative)) if schedule else 0,
        limit_share_schedule=(float(np.median(scheduled.step_rates)) if schedule else rate * mean_steps)
        * flops
        / (gflops * 1e9),
    )
