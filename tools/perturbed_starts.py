"""What further attempts bring: symmetric forms, a perturbed initial state (PTRM, arXiv 2605.19943), or both.

    python tools/perturbed_starts.py CHECKPOINT ENGINE DATASET [--limit N] [--attempts K] [--output FILE]

ENGINE is the checkpoint's step graph, DATASET a folder in the published layout. The first attempt is the plain one in
every row; the others of a perturbed row add normal noise of deviation SIGMA to each value of the model's initial z,
which has deviation 1.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Optional

import numpy as np
import typer
from script import run_script

from trm_deploy import checkpoints, puzzles, runtimes
from trm_deploy.puzzles.base import Puzzle
from trm_deploy.runtimes.base import Float32, Int32
from trm_deploy.runtimes.solving.attempts import Attempts, Forms, Schedule
from trm_deploy.runtimes.solving.scheduling import Request, executor
from trm_deploy.support.files import write_atomic
from trm_deploy.support.progress import progress
from trm_deploy.train.data.layout import read_split

SIGMAS = (0.1, 0.5, 1.0)
STEPS = 3


class OwnForm(Forms):
    """Every attempt solves the question itself."""

    def has(self, number: int) -> bool:
        """See `Forms.has`."""
        self._known += [None] * (number + 1 - len(self._known))
        return number < self.schedule.attempts


def rows() -> Iterator[tuple[str, bool, float]]:
    """Name, whether attempts are symmetric forms, and the noise."""
    yield "symmetric forms", True, 0.0
    for sigma in SIGMAS:
        yield f"the puzzle itself, noise {sigma}", False, sigma
    yield f"symmetric forms, noise {SIGMAS[0]}", True, SIGMAS[0]


def attempt_numbers(
    runtime: Any,
    puzzle: Puzzle,
    questions: Int32,
    attempts: int,
    start: tuple[Float32, Float32],
    how: tuple[bool, float],
) -> list[tuple[int, int]]:
    """For each question the number of the attempt that was verified (0: none) and the supervision steps of all."""
    symmetric, sigma = how
    schedule = Schedule(attempts=attempts, attempt_steps=(STEPS,), halt_threshold=0.0)
    forms = Forms(puzzle, schedule) if symmetric else OwnForm(puzzle, schedule)
    rng = np.random.default_rng(0)
    y, z = start
    noise = [sigma * rng.standard_normal(z.shape, np.float32) for _ in range(attempts)]

    def perturbed(request: Request) -> Request:
        number = request.key[1]
        return replace(request, initial_state=(y, z + noise[number])) if number and sigma else request

    computing = executor(runtime, 16)
    all_of_them = [Attempts(forms, question) for question in questions]
    waiting = deque(all_of_them)
    with progress("solving", len(questions), unit="puzzles") as advance:
        while waiting or computing.busy:
            while waiting and computing.free:
                request = waiting.popleft().next()
                if request is not None:
                    computing.admit(perturbed(request))
            for finished in computing.advance():
                tries = finished.key[0]
                tries.record(finished)
                if tries.done:
                    advance(1)
                else:
                    waiting.append(tries)
    best = [tries.best for tries in all_of_them]
    return [(one.attempts if one.verified else 0, one.total_steps) for one in best if one is not None]


def main(
    checkpoint: Annotated[Path, typer.Argument(help="The checkpoint: has the initial state.")],
    engine: Annotated[Path, typer.Argument(help="Its step graph as ONNX.")],
    dataset: Annotated[Path, typer.Argument(help="Folder in the published layout.")],
    limit: Annotated[int, typer.Option(min=1, help="Use only the first N puzzles.")] = 300,
    attempts: Annotated[int, typer.Option(min=2, help="Maximum number of attempts.")] = 16,
    output: Annotated[Optional[Path], typer.Option(help="JSON file to write.")] = None,
) -> None:
    """Measure the verified share against attempts."""
    model = checkpoints.load(checkpoint).model()
    y, z = (state[0].numpy().astype(np.float32).copy() for state in model.initial_state(1))
    puzzle = puzzles.get(model.spec.task.name)
    questions = read_split(dataset, "test").inputs[:limit].astype(np.int32)
    runtime = runtimes.load(engine)
    counts = [count for count in (1, 2, 4, 8, 16, 32, 64) if count <= attempts]
    found = []
    print(f"{'attempts are':32}" + "".join(f"{count:>8}" for count in counts) + "   steps")
    for name, symmetric, sigma in rows():
        solved = attempt_numbers(runtime, puzzle, questions, attempts, (y, z), (symmetric, sigma))
        shares = {count: float(np.mean([0 < number <= count for number, _ in solved])) for count in counts}
        steps = float(np.mean([total for _, total in solved]))
        found.append(
            {"attempts": name, "sigma": sigma, "symmetric": symmetric, "verified": shares, "mean_steps": steps}
        )
        print(f"{name:32}" + "".join(f"{share:>8.1%}" for share in shares.values()) + f"{steps:>8.2f}", flush=True)
    if output is not None:
        document = {"task": puzzle.name, "puzzles": len(questions), "attempt_steps": STEPS, "rows": found}
        write_atomic(output, json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    run_script(main)
