"""Solved and verified shares of an engine on the published Sudoku sets, as a table and as JSON.

    TRM_DEPLOY_TEST_DATA=FOLDER python tools/evaluate.py [--engine FILE] [--attempts 8] [--limit N] [--output FILE]

FOLDER/data/sudoku holds the sets as CSV files. At most 16 supervision steps an attempt, halting on.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Optional

import numpy as np
import typer

from trm_deploy import puzzles, record
from trm_deploy.errors import InputError
from trm_deploy.files import write_atomic
from trm_deploy.progress import progress
from trm_deploy.puzzles.base import Puzzle, Tokens
from trm_deploy.runtimes import Runtime, load
from trm_deploy.runtimes.running import shipped_engine
from trm_deploy.runtimes.verified import Answer, SolveSettings, solve_verified

SETS = ("qqwing_simple", "qqwing_easy", "qqwing_intermediate", "qqwing_expert", "sudoku17_sample")
SCHEMA = 1


def solve(
    runtime: Runtime, puzzle: Puzzle, questions: list[Tokens], settings: SolveSettings, title: str
) -> list[Answer]:
    """One puzzle at a time: on a CPU the fastest for the loop graph, and what a user gets."""
    answers = []
    with progress(title, len(questions), unit="puzzles") as advance:
        for question in questions:
            answers += solve_verified(runtime, puzzle, question[None], settings)
            advance(1)
    return answers


def evaluate(
    runtime: Runtime, puzzle: Puzzle, path: Path, first: SolveSettings, attempts: int, limit: int | None
) -> dict[str, Any]:
    """The shares of one set after 1, 2, ... attempts."""
    found = list(puzzles.questions(str(path), puzzle))[:limit]
    questions = [question.tokens for question in found if question.tokens is not None]
    answers = solve(runtime, puzzle, questions, first, path.stem)
    unsolved = [question for question, answer in zip(questions, answers) if not answer.verified]
    again = SolveSettings(attempts=attempts, max_steps=first.max_steps, halt_threshold=first.halt_threshold)
    retried = solve(runtime, puzzle, unsolved, again, f"{path.stem}, attempts") if attempts > 1 else []
    needed = [1] * (len(questions) - len(unsolved)) + [answer.attempts for answer in retried if answer.verified]
    return {
        "set": path.stem,
        "puzzles": len(questions),
        "verified": {str(k): sum(n <= k for n in needed) / len(questions) for k in range(1, attempts + 1)},
        "halted": float(np.mean([answer.halted for answer in answers])),
        "halted_wrong": float(np.mean([answer.halted and not answer.verified for answer in answers])),
        "mean_steps": float(np.mean([answer.steps for answer in answers])),
        "milliseconds_median": float(np.median([answer.milliseconds for answer in answers])),
    }


def main(
    engine: Annotated[Optional[Path], typer.Option(help="The shipped model if left out.")] = None,
    attempts: Annotated[int, typer.Option(min=1)] = 8,
    limit: Annotated[Optional[int], typer.Option(min=1, help="Puzzles a set.")] = None,
    output: Annotated[Optional[Path], typer.Option(help="JSON file to write.")] = None,
) -> None:
    """Evaluate an engine on the published sets."""
    data = os.environ.get("TRM_DEPLOY_TEST_DATA")
    if not data:
        raise InputError("TRM_DEPLOY_TEST_DATA is not set", hint="name the folder that holds data/sudoku")
    path = engine or shipped_engine()
    runtime = load(path)
    settings = SolveSettings(
        attempts=1, max_steps=16, halt_threshold=record.halting_threshold(None, path, runtime.spec)
    )
    puzzle = puzzles.get(runtime.spec.task.name)
    shown = sorted({1, min(4, attempts), attempts})
    print(f"{'set':22} {'puzzles':>7} " + " ".join(f"{f'at {k}':>7}" for k in shown) + "  halted wrong  mean steps  ms")
    rows = []
    for name in SETS:
        row = evaluate(runtime, puzzle, Path(data) / "data" / "sudoku" / f"{name}.csv", settings, attempts, limit)
        rows.append(row)
        shares = " ".join(f"{row['verified'][str(k)]:>7.1%}" for k in shown)
        print(
            f"{name:22} {row['puzzles']:>7} {shares}  {row['halted_wrong']:>12.1%}  {row['mean_steps']:>10.2f}"
            f"  {row['milliseconds_median']:.0f}",
            flush=True,
        )
    if output:
        document = {"schema": SCHEMA, "engine_sha256": record.sha256(path), "max_steps": 16, "sets": rows}
        write_atomic(output, json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    try:
        typer.run(main)
    except InputError as error:
        sys.exit(f"error: {error}")
