"""What is measured of each runtime on a GPU, and written down: parity, verify, latency, verified puzzles, memory."""

from __future__ import annotations

import json
import math
import statistics
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trm_deploy.evaluation.parity import ParityReport
from trm_deploy.puzzles.base import Puzzle
from trm_deploy.runtimes.base import Int32, Runtime, StepRuntime
from trm_deploy.runtimes.solving.attempts import Schedule, solve_stream
from trm_deploy.runtimes.solving.scheduling import executor
from trm_deploy.support.files import write_atomic

SCHEMA = 2
BATCHES = (1, 8, 64, 512)
STEPS = 16
REPEATS = 20
# The shipped model's, see docs/performance.md.
SCHEDULE = Schedule(attempts=128, attempt_steps=(2,), halt_threshold=0.0)


@dataclass
class Row:
    """One runtime.

    Attributes:
        runtime: its description.
        parity: `ParityReport.summary`, and the free run beside PyTorch's on the CPU.
        milliseconds: batch size -> median wall time of a whole call with 16 supervision steps, halting off.
        verify: what failed of the golden vectors; None where there are none for it.
        verified_per_second: puzzles that were verified by `SCHEDULE`, a second.
        memory_mib: device memory that loading and running took, MiB; None where it could not be read.
    """

    runtime: str
    parity: dict[str, Any]
    milliseconds: dict[int, float] = field(default_factory=dict)
    verify: list[str] | None = None
    verified_per_second: float | None = None
    memory_mib: float | None = None


@dataclass
class Measurements:
    """Everything of one machine; neither its name nor any path is part of it."""

    device: str
    compute_capability: str
    versions: dict[str, str]
    puzzles: int
    repeats: int = REPEATS
    rows: list[Row] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """`gpu.json` and `gpu.md` in a folder."""
        write_atomic(folder / "gpu.json", json.dumps({"schema": SCHEMA, **asdict(self)}, indent=2) + "\n")
        write_atomic(folder / "gpu.md", self.table())

    def table(self) -> str:
        """The rows in Markdown."""
        head = ["runtime", "parity", "verify", "solved", "mean steps"]
        head += [*(f"batch {batch}, ms" for batch in BATCHES), "verified/s", "MiB"]
        lines = [
            f"{self.device}, compute capability {self.compute_capability}; {self.puzzles} puzzles;"
            f" times are medians of {self.repeats} calls of {STEPS} supervision steps with halting off",
            "",
            "| " + " | ".join(head) + " |",
            "|" + " --- |" * len(head),
        ]
        for row in self.rows:
            cells = [
                row.runtime,
                "holds" if row.parity["passed"] else "FAILS",
                "-" if row.verify is None else "FAILS" if row.verify else "holds",
                f"{row.parity['solved']:.1%}",
                f"{row.parity['mean_steps']:.2f}",
                *(f"{row.milliseconds[batch]:.2f}" if batch in row.milliseconds else "-" for batch in BATCHES),
                "-" if row.verified_per_second is None else f"{row.verified_per_second:.1f}",
                "-" if row.memory_mib is None else f"{row.memory_mib:.0f}",
            ]
            lines.append("| " + " | ".join(cells) + " |")
        lines += ["", *(f"Not tested: {name}: {reason}" for name, reason in self.skipped.items())]
        return "\n".join(lines).rstrip() + "\n"


def latency(runtime: Runtime, tokens: Int32, *, repeats: int = REPEATS) -> dict[int, float]:
    """Batch size -> median milliseconds of a call with halting off; of sizes that `tokens` and the runtime can fill."""
    steps = runtime.fixed_steps or STEPS
    found = {}
    for batch in BATCHES:
        if batch > min(len(tokens), runtime.largest_batch or len(tokens)):
            continue
        times = []
        for number in range(repeats + 2):
            started = time.perf_counter()
            runtime.solve(tokens[:batch], max_steps=steps, halt_threshold=math.inf)
            if number >= 2:  # the first calls set things up
                times.append((time.perf_counter() - started) * 1e3)
        found[batch] = statistics.median(times)
    return found


def verified_per_second(runtime: Runtime, puzzle: Puzzle, tokens: Int32, *, schedule: Schedule = SCHEDULE) -> float:
    """Puzzles that are verified a second, as `run` solves them, in batches as large as puzzles and runtime allow."""
    batch = max(size for size in BATCHES if size <= min(len(tokens), runtime.largest_batch or len(tokens)))
    computing = executor(runtime, batch, in_flight=isinstance(runtime, StepRuntime))
    started = time.perf_counter()
    solved = solve_stream(computing, puzzle, range(len(tokens)), schedule, tokens=lambda number: tokens[number])
    right = sum(attempt is not None and attempt.verified for _, attempt in solved)
    return right / (time.perf_counter() - started)


def parity_of(report: ParityReport) -> dict[str, Any]:
    """One engine's parity, short."""
    (engine,) = report.engines
    return {
        **report.summary(),
        "failures": engine.failures,
        "solved": engine.free.solved,
        "mean_steps": engine.free.mean_steps,
        "same_answer": engine.free.same_answer,
        "reference_solved": report.reference.solved,
        "reference_mean_steps": report.reference.mean_steps,
    }
