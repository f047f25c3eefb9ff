"""What `trm-deploy serve` takes beside `run`: puzzles a second at the same slots, and latency by number of clients."""

from __future__ import annotations

import itertools
import statistics
import time
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from script import run_script
from serve_load import Server, send, serving

from trm_deploy.puzzles import questions
from trm_deploy.puzzles.sudoku import Sudoku
from trm_deploy.runtimes import registry
from trm_deploy.runtimes.solving.session import SolveOptions, open_session
from trm_deploy.support import machine
from trm_deploy.support.files import write_atomic
from trm_deploy.support.jsontext import dumps

CLIENTS = (1, 8, 64)


def main(
    puzzles: Annotated[str, typer.Argument(help="File with 9 x 9 Sudokus.")],
    limit: Annotated[int, typer.Option(help="Use only the first N puzzles.")] = 200,
    repeats: Annotated[int, typer.Option(help="Number of times that each is measured, in turn.")] = 3,
    output: Annotated[Optional[Path], typer.Option(help="JSON file for the figures.")] = None,
) -> None:
    """Measure the shipped model: `run`, the server with all puzzles in one request, and with a puzzle a request."""
    asked = list(itertools.islice(questions(puzzles, Sudoku(3, 3)), limit))
    lines = [question.text for question in asked if question.tokens is not None]
    session = open_session()
    options = SolveOptions()
    slots = session.batch_size(options)
    rates: dict[str, list[float]] = {"run": [], "one request": []}
    latencies: dict[int, list[float]] = {clients: [] for clients in CLIENTS}
    by_clients: dict[int, list[float]] = {clients: [] for clients in CLIENTS}
    with serving("--batch", slots) as server:
        send(server, [lines[:slots]], clients=1)  # warm
        for _ in range(repeats):
            rates["run"].append(run_rate(session, options, asked, slots))
            rates["one request"].append(len(lines) / send(server, [lines], clients=1)[0])
            for clients in CLIENTS:
                # A client alone waits for each answer in turn, so that it needs not as many.
                rate, found = single(server, lines[: len(lines) if clients > 1 else len(lines) // 4], clients)
                by_clients[clients].append(rate)
                latencies[clients] += found
    document: dict[str, Any] = {
        "schema": 1,
        "machine": machine.describe(registry.packages()),
        "runtime": session.runtime.description,
        "slots": slots,
        "puzzles": len(lines),
        "file": Path(puzzles).name,
        "run_puzzles_per_second": median(rates["run"]),
        "one_request_puzzles_per_second": median(rates["one request"]),
        "clients": [
            {
                "clients": clients,
                "puzzles_per_second": median(by_clients[clients]),
                "requests": len(latencies[clients]),
                "p50_milliseconds": round(statistics.median(latencies[clients]) * 1e3, 1),
                "p95_milliseconds": round(statistics.quantiles(latencies[clients], n=20)[-1] * 1e3, 1),
            }
            for clients in CLIENTS
        ],
    }
    print(dumps(document, indent=2))
    if output is not None:
        write_atomic(output, dumps(document, indent=2) + "\n")


def run_rate(session: Any, options: SolveOptions, asked: list[Any], slots: int) -> float:
    """Puzzles a second of `run`, without its start."""
    started = time.perf_counter()
    count = sum(1 for _ in session.solve(asked, options, slots=slots))
    return count / (time.perf_counter() - started)


def single(server: Server, lines: list[str], clients: int) -> tuple[float, list[float]]:
    """Puzzles a second, and seconds of each request, with a puzzle a request."""
    seconds, found = send(server, [[line] for line in lines], clients=clients)
    return len(lines) / seconds, found


def median(values: list[float]) -> float:
    """To two digits behind the point."""
    return round(statistics.median(values), 2)


if __name__ == "__main__":
    run_script(main)
