"""Solved share, steps and wrong halts of an engine on the published Sudoku sets, as a table and as JSON.

    TRM_DEPLOY_TEST_DATA=FOLDER python tools/evaluate.py [--engine FILE] [--limit N] [--output FILE]

FOLDER/data/sudoku holds the sets as CSV files. One attempt a puzzle, up to 16 supervision steps, halting on;
verified_shares.py measures several attempts.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from trm_deploy import puzzles
from trm_deploy.artefacts import record
from trm_deploy.cli import messages
from trm_deploy.errors import InputError
from trm_deploy.evaluation import accuracy
from trm_deploy.puzzles.base import Puzzle
from trm_deploy.runtimes import Runtime, load
from trm_deploy.runtimes.solving.attempts import Schedule
from trm_deploy.runtimes.solving.session import shipped_engine
from trm_deploy.support.files import sha256, write_atomic
from trm_deploy.support.progress import progress

SETS = ("qqwing_simple", "qqwing_easy", "qqwing_intermediate", "qqwing_expert", "sudoku17_sample")
SCHEMA = 2
STEPS = 16
# Puzzles at a time: what `run` takes.
BATCH = 8


def evaluate(runtime: Runtime, puzzle: Puzzle, path: Path, schedule: Schedule, limit: int | None) -> dict[str, Any]:
    """The shares of one set."""
    tokens = puzzles.read_tokens(str(path), puzzle, limit)
    with progress(path.stem, len(tokens), unit="puzzles") as advance:
        found = accuracy.solve(
            runtime, tokens, schedule, judge=accuracy.by_rules(puzzle, tokens), batch=BATCH, report=advance
        ).shares()
    return {
        "set": path.stem,
        "puzzles": len(tokens),
        "solved": found.solved,
        "halted": found.halted,
        "halted_wrong": found.halted_wrong,
        "mean_steps": found.mean_steps,
    }


def main(
    engine: Annotated[Optional[Path], typer.Option(help="The shipped model if left out.")] = None,
    limit: Annotated[Optional[int], typer.Option(min=1, help="Puzzles a set.")] = None,
    output: Annotated[Optional[Path], typer.Option(help="JSON file to write.")] = None,
) -> None:
    """Evaluate an engine on the published sets."""
    data = os.environ.get("TRM_DEPLOY_TEST_DATA")
    if not data:
        raise InputError("TRM_DEPLOY_TEST_DATA is not set", hint="name the folder that holds data/sudoku")
    path = engine or shipped_engine("step")
    runtime = load(path)
    threshold = record.halting_threshold(None, path, runtime.spec)
    schedule = Schedule(attempts=1, attempt_steps=(STEPS,), halt_threshold=threshold)
    puzzle = puzzles.get(runtime.spec.task.name)
    print(f"{'set':22} {'puzzles':>7} {'solved':>7}  halted wrong  mean steps")
    rows = []
    for name in SETS:
        row = evaluate(runtime, puzzle, Path(data) / "data" / "sudoku" / f"{name}.csv", schedule, limit)
        rows.append(row)
        print(
            f"{name:22} {row['puzzles']:>7} {row['solved']:>7.1%}  {row['halted_wrong']:>12.1%}"
            f"  {row['mean_steps']:>10.2f}",
            flush=True,
        )
    if output:
        document = {"schema": SCHEMA, "engine_sha256": sha256(path), "max_steps": STEPS, "sets": rows}
        write_atomic(output, json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    try:
        messages.show()
        typer.run(main)
    except InputError as error:
        sys.exit(f"error: {error}")
