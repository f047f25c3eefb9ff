"""Measures candidates side by side: one run, interleaved, so that what else the machine does meets all alike."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
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
    """

    repeats: int = REPEATS
    latency_puzzles: int = 24
    max_steps: int = 16
    halt_threshold: float = 0.0
    device: Device = "cpu"


@dataclass
class _Measured:
    batch: int
    latencies: list[float] = field(default_factory=list)  # ms
    latency_steps: int = 0
    rates: list[float] = field(default_factory=list)  # puzzles a second
    solved: dict[int, bool] = field(default_factory=dict)  # by the puzzle's number
    steps: dict[int, int] = field(default_factory=dict)


def benchmark(
    found: Sequence[Candidate], puzzle: Puzzle, questions: Tokens, settings: BenchmarkSettings
) -> BenchmarkReport:
    """Measure candidates on questions int32 [N, L].

    Each is tried at its batch sizes first and measured at its best. Then come the latencies, puzzle by puzzle and
    candidate by candidate, and the batches, repeat by repeat and candidate by candidate.
    """
    spec = found[0].runtime.spec
    alone = questions[: settings.latency_puzzles]
    batch_work = sum(len(_share(candidate, 0, len(questions), settings)) for candidate in found) * settings.repeats
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
    gflops = gemm_gflops(spec, settings.device)
    rows = [_row(candidate, measured[candidate.name], step_flops(spec), max(gflops.values())) for candidate in found]
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
    return Limits(steps, math.inf if fixed else settings.halt_threshold)


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
        twin = (candidate.library, "step", candidate.runtime.precision)
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
            in_flight[candidate.library, candidate.graph, candidate.runtime.precision] = best[candidate.name]
    return best


def _step_seconds(candidate: Candidate, batch: int, questions: Tokens, settings: BenchmarkSettings) -> float:
    """Median time of one supervision step of a full batch."""
    tokens = np.resize(questions, (batch, questions.shape[1])).astype(np.int32)
    steps = candidate.runtime.fixed_steps or 1
    times = []
    for _ in range(4):
        started = time.perf_counter()
        candidate.runtime.solve(tokens, max_steps=steps, halt_threshold=math.inf)
        times.append((time.perf_counter() - started) / steps)
    return float(np.median(times[1:]))  # the first one warms up, or compiles


def _row(candidate: Candidate, measured: _Measured, flops: float, gflops: float) -> Row:
    rate = float(np.median(measured.rates))
    mean_steps = float(np.mean(list(measured.steps.values())))
    p50, p95 = (float(value) for value in np.percentile(measured.latencies, (50, 95)))
    return Row(
        name=candidate.name,
        runtime=candidate.library,
        graph=candidate.graph,
        precision=candidate.runtime.precision,
        batch=measured.batch,
        latency_ms_p50=p50,
        latency_ms_p95=p95,
        puzzles_per_second=rate,
        spread=(max(measured.rates) - min(measured.rates)) / rate,
        solved=float(np.mean(list(measured.solved.values()))),
        mean_steps=mean_steps,
        limit_share=rate * mean_steps * flops / (gflops * 1e9),
        limit_share_alone=measured.latency_steps * flops / (sum(measured.latencies) / 1e3) / (gflops * 1e9),
    )
