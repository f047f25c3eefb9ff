"""How puzzles a second grow with the actors of `run --ray local`, and what a billion puzzles would take.

    python tools/scaling.py [FILE] [--limit 300] [--rounds 3] --output docs/measurements/scaling.json

Measured: the shipped model on published puzzles in one process and in actors on this machine, each with its slots; and
what the process that reads, hands out and writes can do without solving. Simulated, with the measured times: a pool of
64 actors, some of which are slow or fail. docs/scale.md has the tables.
"""

from __future__ import annotations

import heapq
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from script import run_script

from trm_deploy.cluster import pool as pools
from trm_deploy.cluster.session import LARGEST_BLOCK, ClusterSession, open_cluster
from trm_deploy.errors import InputError
from trm_deploy.runtimes import registry
from trm_deploy.runtimes.solving.files import FileRun
from trm_deploy.runtimes.solving.scheduling import DEFAULT_SLOTS
from trm_deploy.runtimes.solving.session import SolveOptions, SolvingSession, open_session
from trm_deploy.support import machine
from trm_deploy.support.files import write_atomic

DATA = "TRM_DEPLOY_TEST_DATA"
OPTIONS = SolveOptions()
# Lines that the driver passes through, which actors have nothing to do with.
PASSED = 20_000
BILLION = 10**9
# Of the simulation: actors, and puzzles of one run.
ACTORS, SHARD = 64, 1_000_000
RESTART_S = 60.0


def first_puzzles(file: Path | None, limit: int, folder: Path) -> Path:
    """The first puzzles of a CSV file, without what else is in it."""
    if file is None:
        if not os.environ.get(DATA):
            raise InputError(f"there is no file with puzzles, and {DATA} is not set", hint="name a file")
        file = Path(os.environ[DATA], "data", "sudoku", "qqwing_expert.csv")
    lines = file.read_text().splitlines()[1 : limit + 1]
    path = folder / "puzzles.txt"
    path.write_text("".join(line.partition(",")[0] + "\n" for line in lines))
    return path


def solve(session: SolvingSession, names: Sequence[Path], output: Path, **arguments: Any) -> tuple[float, int]:
    """Seconds of a run over files, and answers."""
    started = time.perf_counter()
    with FileRun(session, [*map(str, names)], OPTIONS, output=output, **arguments) as run:
        count = sum(1 for _ in run)
    return time.perf_counter() - started, count


def cpu_seconds(pids: Sequence[int]) -> float:
    """CPU time that processes have had so far, their threads' included."""
    ticks = 0
    for pid in pids:
        fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def pids_of(session: SolvingSession) -> list[int]:
    """The processes that solve."""
    if isinstance(session, ClusterSession) and session.pool is not None:
        return [int(place.rpartition(" ")[2]) for place in session.pool.places.values()]
    return [os.getpid()]


def answers(path: Path) -> list[dict[str, Any]]:
    """The objects of a file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def same(one: Path, other: Path) -> bool:
    """Whether two files hold the same answers; times differ, and on another number of threads last bits of logits."""
    kept = ("puzzle", "answer", "steps", "attempts", "total_steps", "verified")
    return [[line[key] for key in kept] for line in answers(one)] == [
        [line[key] for key in kept] for line in answers(other)
    ]


def measure(file: Path | None, limit: int, rounds: int) -> dict[str, Any]:
    """One process with one thread and with all, then actors, in turns: the best round of each; and the driver alone."""
    rows: dict[tuple[int, int], dict[str, Any]] = {}  # (actors, threads) -> its best round
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        puzzles = first_puzzles(file, limit, folder)
        sessions = {}
        for threads in sorted({1, machine.cores()}):
            os.environ["OMP_NUM_THREADS"] = str(threads)
            sessions[threads] = open_session()
        del os.environ["OMP_NUM_THREADS"]
        expected, output = folder / "expected.jsonl", folder / "answers.jsonl"
        solve(sessions[1], [puzzles], expected)

        def once(session: SolvingSession, actors: int, threads: int, start: float = 0.0) -> None:
            pids = pids_of(session)
            before = cpu_seconds(pids)
            seconds, count = solve(session, [puzzles], output, force=True)
            cpu = cpu_seconds(pids) - before
            if not same(output, expected):
                raise InputError(f"{actors} actors with {threads} threads give other answers")
            row = {"actors": actors, "threads": threads, "seconds": seconds, "puzzles": count, "start_seconds": start}
            row |= {"cpu_seconds": cpu}
            if seconds < rows.get((actors, threads), row)["seconds"] or (actors, threads) not in rows:
                rows[actors, threads] = row

        for number in range(rounds):
            for threads, session in sessions.items():
                once(session, 0, threads)
            for actors in range(1, machine.cores() + 1):
                started = time.perf_counter()
                with open_cluster(None, OPTIONS, actors=actors) as cluster:
                    assert cluster.pool is not None
                    cluster.pool.fill()
                    once(cluster, actors, 1, time.perf_counter() - started)
                    if actors == 1 and not number:
                        driver = measure_driver(cluster, expected, folder)
        return {
            "model": sessions[1].runtime.description,
            "schedule": sessions[1].schedule(OPTIONS).in_words(),
            "slots": DEFAULT_SLOTS,
            "rounds": rounds,
            "rows": list(rows.values()),
            "driver": driver,
            "milliseconds": [line["milliseconds"] for line in answers(expected)],
            "bytes_in": puzzles.stat().st_size / limit,
            "bytes_out": expected.stat().st_size / limit,
            "verified": sum(line["verified"] for line in answers(expected)),
        }


def measure_driver(cluster: ClusterSession, solved: Path, folder: Path) -> dict[str, float]:
    """Lines a second that are read, checked and written without an actor; and that --resume compares."""
    lines = [line for line in solved.read_text().splitlines() if '"verified": true' in line]
    passed = folder / "answered.jsonl"
    passed.write_text("\n".join(lines[number % len(lines)] for number in range(PASSED)) + "\n")
    output = folder / "passed.jsonl"
    seconds, count = solve(cluster, [passed], output)
    resumed, _ = solve(cluster, [passed], output, resume=True)
    return {"passed_a_second": count / seconds, "resumed_a_second": count / resumed}


@dataclass(frozen=True)
class Case:
    """What is simulated.

    Attributes:
        name: for the table.
        slow: actors that are slower than the others.
        times: how many times.
        failures: times that an actor fails, an hour.
        doubles: whether an idle actor takes a slow one's block.
    """

    name: str
    slow: int = 0
    times: float = 1.0
    failures: float = 0.0
    doubles: bool = True


CASES = (
    Case("all alike"),
    Case("one actor 4 times slower", 1, 4),
    Case("eight actors 4 times slower", 8, 4),
    Case("one actor 50 times slower", 1, 50),
    Case("the same, were no block given to a second actor", 1, 50, doubles=False),
    Case("each actor fails once an hour, and is back after a minute", failures=1.0),
)


def simulate(case: Case, seconds: Sequence[float], *, seed: int = 0) -> float:
    """Seconds that a pool takes for a run, by the pool's own rules.

    Args:
        case: who is slow, who fails.
        seconds: of puzzles, to draw from.
        seed: random seed.
    """
    rng = np.random.default_rng(seed)
    size = DEFAULT_SLOTS * LARGEST_BLOCK
    blocks = rng.choice(np.asarray(seconds), (SHARD // size, size)).sum(axis=1)
    usual = float(blocks.mean())
    speed = np.where(np.arange(ACTORS) < case.slow, 1 / case.times, 1.0)
    started = np.full(len(blocks), np.inf)
    done = np.zeros(len(blocks), bool)
    doubled = np.zeros(len(blocks), bool)
    again: list[int] = []
    lowest = following = 0
    # What ends when: time, actor, its block or -1 for one that looks for work.
    events: list[tuple[float, int, int]] = [(0.0, actor, -1) for actor in range(ACTORS)]
    now = 0.0
    while lowest < len(blocks):
        now, actor, block = heapq.heappop(events)
        if block >= 0:
            done[block] = True
            while lowest < len(blocks) and done[lowest]:
                lowest += 1
        if again:
            chosen = again.pop()
        elif following < min(len(blocks), lowest + pools.WINDOW * ACTORS):
            chosen, following = following, following + 1
        else:
            late = started[lowest] + max(pools.SLOW * usual, pools.SLOW_S) if lowest < len(blocks) else np.inf
            if not case.doubles or lowest >= len(blocks) or doubled[lowest] or now < late:
                heapq.heappush(events, (now + 1.0, actor, -1))
                continue
            chosen, doubled[lowest] = lowest, True
        started[chosen] = now
        takes = blocks[chosen] / speed[actor]
        fails = rng.exponential(3600 / case.failures) if case.failures else np.inf
        if fails < takes:
            again.append(chosen)
            heapq.heappush(events, (now + fails + RESTART_S, actor, -1))
        else:
            heapq.heappush(events, (now + takes, actor, chosen))
    return float(now)


def simulated(seconds: Sequence[float]) -> list[dict[str, Any]]:
    """Each case: seconds, and the share of what its actors could do at best."""
    rows = []
    for case in CASES:
        took = simulate(case, seconds)
        power = ACTORS - case.slow * (1 - 1 / case.times)
        rows.append({"name": case.name, "seconds": took, "share": SHARD * float(np.mean(seconds)) / power / took})
    return rows


def rate(row: dict[str, Any]) -> float:
    """Puzzles a second."""
    return float(row["puzzles"] / row["seconds"])


def rate_of_cpu(row: dict[str, Any]) -> float:
    """Puzzles a second of the cores' own time: what other processes took of the cores does not count."""
    return float(row["puzzles"] / row["cpu_seconds"] * max(row["actors"], row["threads"]))


def measured_rows(document: dict[str, Any]) -> list[list[object]]:
    """The table of what was measured."""
    first = rate_of_cpu(document["rows"][0])
    rows: list[list[object]] = []
    for row in document["rows"]:
        threads = f"{row['threads']} thread{'s' if row['threads'] > 1 else ''}"
        name = f"{row['actors']} actor{'s' if row['actors'] > 1 else ''}" if row["actors"] else f"`run`, {threads}"
        start = f"{row['start_seconds']:.0f} s" if row["actors"] else "-"
        alone = rate_of_cpu(row)
        rows.append([name, f"{rate(row):.1f}", f"{alone:.1f}", f"{alone / first:.2f}", start])
    return rows


def driver_rows(document: dict[str, Any]) -> list[list[object]]:
    """The table of what the driver can do, and of the bytes that it reads and writes."""
    driver = document["driver"]
    volume = {name: document[name] * BILLION / 1e9 for name in ("bytes_in", "bytes_out")}
    return [
        ["lines read, checked and written, a second", f"{driver['passed_a_second']:,.0f}"],
        ["lines that `--resume` compares, a second", f"{driver['resumed_a_second']:,.0f}"],
        ["bytes of a puzzle, one a line", f"{document['bytes_in']:.0f} (10^9: {volume['bytes_in']:,.0f} GB)"],
        ["bytes of its answer", f"{document['bytes_out']:.0f} (10^9: {volume['bytes_out']:,.0f} GB)"],
    ]


def billion_rows(document: dict[str, Any], cores: int = 64) -> list[list[object]]:
    """The table of what a billion puzzles would take, from the rate of an actor's own time while all of them work."""
    last = document["rows"][-1]
    each = rate_of_cpu(last) / last["actors"]
    rows: list[list[object]] = []
    for machines in (1, 10, 100, 1000):
        all_of_them = each * cores * machines
        hours = BILLION / all_of_them / 3600
        took = (
            f"{hours / 24:.0f} days"
            if hours > 72
            else f"{hours:.0f} hours"
            if hours >= 2
            else f"{hours * 60:.0f} minutes"
        )
        drivers = int(np.ceil(all_of_them / document["driver"]["passed_a_second"]))
        rows.append([f"{machines:,}", f"{all_of_them:,.0f}", took, drivers])
    return rows


def simulated_rows(document: dict[str, Any]) -> list[list[object]]:
    """The table of the simulation."""
    return [[row["name"], f"{row['seconds'] / 60:.0f} min", f"{row['share']:.0%}"] for row in document["simulated"]]


def main(
    file: Annotated[
        Path | None, typer.Argument(help="CSV file with puzzles.", show_default="QQWing's expert puzzles")
    ] = None,
    limit: Annotated[int, typer.Option(help="Use only the first N puzzles.")] = 300,
    rounds: Annotated[int, typer.Option(help="Number of rounds; the best of each counts.")] = 3,
    output: Annotated[Path, typer.Option("-o", "--output", help="JSON file to write.")] = Path("build/scaling.json"),
) -> None:
    """Measure and simulate."""
    document = {"schema": 1, "machine": machine.describe(("ray", *registry.packages())), **measure(file, limit, rounds)}
    document["simulated"] = simulated([value / 1e3 for value in document["milliseconds"]])
    write_atomic(output, json.dumps(document, indent=1) + "\n")
    table: Callable[[dict[str, Any]], list[list[object]]]
    for table in (measured_rows, billion_rows, simulated_rows):
        for row in table(document):
            print("  ".join(map(str, row)))


if __name__ == "__main__":
    run_script(main)
