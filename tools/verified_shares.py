"""Verified share against attempts on the published Sudoku sets, as JSON and PNG; goes on where it was stopped.

    TRM_DEPLOY_TEST_DATA=FOLDER python tools/verified_shares.py [--engine FILE] [--runtime NAME]
        [--precision P] [--limit N] [--output FILE.json]

FOLDER/data/sudoku holds the sets as CSV files: the four grades of QQWing, and puzzles of Gordon Royle's 17-clue list.
Up to 16 supervision steps an attempt, halting on. The JSON, written every 256 puzzles, has all that is known: which
attempt verified each.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Optional

import numpy as np
import typer
from script import run_script

from trm_deploy import puzzles
from trm_deploy.artefacts import record
from trm_deploy.errors import InputError
from trm_deploy.evaluation import accuracy
from trm_deploy.puzzles.base import Puzzle, Tokens
from trm_deploy.runtimes import Runtime, load
from trm_deploy.runtimes.solving.attempts import Schedule
from trm_deploy.runtimes.solving.session import shipped_engine
from trm_deploy.support.figures import require_matplotlib, write_figure
from trm_deploy.support.files import sha256, write_atomic
from trm_deploy.support.progress import progress

SETS = {
    "qqwing_simple": "QQWing simple",
    "qqwing_easy": "QQWing easy",
    "qqwing_intermediate": "QQWing intermediate",
    "qqwing_expert": "QQWing expert",
    "sudoku17_sample": "17 clues",
}
ATTEMPTS = (1, 2, 4, 8, 16, 32)
STEPS = 16
BATCH = 8  # as fast as more, and the last few puzzles of many attempts keep no more slots in use
# Puzzles after which the file is written again: enough to keep the slots full.
SAVED = 256
SCHEMA = 1


def measured(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """What a file knows already, empty where there is none.

    Raises:
        InputError: it is of another engine or other settings.
    """
    if not path.exists():
        return {"schema": SCHEMA, **settings, "attempts": list(ATTEMPTS), "sets": []}
    try:
        document: dict[str, Any] = json.loads(path.read_text("utf-8"))
        differing = [key for key, value in settings.items() if document[key] != value]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: is not a measurement of this tool ({error})", hint="name another --output"
        ) from error
    if differing:
        raise InputError(
            f"{path}: has {differing[0]} {document[differing[0]]}, this run {settings[differing[0]]}",
            hint="name another --output, or remove it",
        )
    return document


def row_of(document: dict[str, Any], name: str) -> dict[str, Any]:
    """A set's entry, made where it is missing."""
    for row in document["sets"]:
        if row["set"] == name:
            return row  # type: ignore[no-any-return]
    row = {"set": name, "verified_at": [], "total_steps": []}
    document["sets"].append(row)
    return row


def measure(
    runtime: Runtime,
    puzzle: Puzzle,
    questions: Tokens,
    row: dict[str, Any],
    schedule: Schedule,
    save: Callable[[], None],
) -> None:
    """Solve what a row lacks, and save now and then. Attempts of all the puzzles share batches.

    `verified_at` is the attempt that verified a puzzle, null where none did; `total_steps` are of all its attempts.
    """
    done = len(row["verified_at"])
    with progress(row["set"], len(questions), done=done, unit="puzzles") as advance:
        for start in range(done, len(questions), SAVED):
            chosen = questions[start : start + SAVED]
            judge = accuracy.by_rules(puzzle, chosen)
            found = accuracy.solve(runtime, chosen, schedule, judge=judge, puzzle=puzzle, batch=BATCH)
            assert found.verified is not None
            pairs = zip(found.attempts.tolist(), found.verified.tolist())
            row["verified_at"] += [attempt if verified else None for attempt, verified in pairs]
            row["total_steps"] += found.total_steps.tolist()
            advance(len(chosen))
            save()


def summarise(row: dict[str, Any], limit: int | None) -> None:
    """Shares of the first `limit` puzzles, by attempts, into the row."""
    found, steps = row["verified_at"][:limit], row["total_steps"][:limit]
    row["puzzles"] = len(found)
    row["verified"] = {
        str(k): sum(attempt is not None and attempt <= k for attempt in found) / len(found) for k in ATTEMPTS
    }
    row["mean_total_steps"] = float(np.mean(steps))


def table(document: dict[str, Any]) -> str:
    """The shares as a Markdown table."""
    lines = [
        "| puzzles | " + " | ".join(f"{k} attempts" if k > 1 else "1 attempt" for k in ATTEMPTS) + " | steps in all |",
        "|" + " --- |" * (len(ATTEMPTS) + 2),
    ]
    for row in document["sets"]:
        shares = " | ".join(f"{row['verified'][str(k)]:.1%}" for k in ATTEMPTS)
        lines.append(f"| {SETS[row['set']]} ({row['puzzles']}) | {shares} | {row['mean_total_steps']:.2f} |")
    return "\n".join(lines) + "\n"


def plot(document: dict[str, Any], path: Path) -> None:
    """Verified share against attempts, a line a set."""

    def draw(figure: Any) -> None:
        axis = figure.subplots()
        for row, marker in zip(document["sets"], "ovs^D"):
            shares = [100 * row["verified"][str(k)] for k in ATTEMPTS]
            axis.plot(ATTEMPTS, shares, f"{marker}-", label=f"{SETS[row['set']]} ({row['puzzles']})", markersize=5)
        axis.set_xscale("log", base=2)
        axis.set_xticks(ATTEMPTS, [str(k) for k in ATTEMPTS])
        axis.set_xlabel("maximum number of attempts a puzzle")
        axis.set_ylabel("verified answers, %")
        axis.set_title(document["engine"], fontsize=10)
        axis.grid(alpha=0.3)
        axis.legend(loc="lower right", fontsize=9)

    write_figure(path, draw, width=7.0, height=4.5)


def main(
    engine: Annotated[Optional[Path], typer.Option(help="The shipped model as ONNX if left out.")] = None,
    runtime_name: Annotated[Optional[str], typer.Option("--runtime", help="As of `run`; else the file's own.")] = None,
    precision: Annotated[Optional[str], typer.Option(help="Of a checkpoint, or of what a runtime computes in.")] = None,
    compiled: Annotated[bool, typer.Option("--compile", help="Run a checkpoint through torch.compile.")] = False,
    limit: Annotated[Optional[int], typer.Option(min=1, help="Puzzles a set; all if left out.")] = None,
    output: Annotated[Path, typer.Option(help="JSON file, continued where it exists; the PNG is beside it.")] = (
        Path("build/verified-shares.json")
    ),
) -> None:
    """Measure the verified share against attempts."""
    data = os.environ.get("TRM_DEPLOY_TEST_DATA")
    if not data:
        raise InputError("TRM_DEPLOY_TEST_DATA is not set", hint="name the folder that holds data/sudoku")
    require_matplotlib()
    path = engine or shipped_engine("step")
    runtime = load(path, runtime_name, precision=precision, compiled=compiled)
    puzzle = puzzles.get(runtime.spec.task.name)
    threshold = record.halting_threshold(None, path, runtime.spec)
    settings = {
        "engine": f"{path.name}, {runtime.description}",
        "engine_sha256": sha256(path),
        "max_steps": STEPS,
        "halt_threshold": threshold,
    }
    document = measured(output, settings)
    schedule = Schedule(attempts=max(ATTEMPTS), attempt_steps=(STEPS,), halt_threshold=threshold)

    def save() -> None:
        write_atomic(output, json.dumps(document) + "\n")

    for name in SETS:
        questions = puzzles.read_tokens(str(Path(data) / "data" / "sudoku" / f"{name}.csv"), puzzle, limit)
        row = row_of(document, name)
        measure(runtime, puzzle, questions, row, schedule, save)
        summarise(row, limit)
    save()
    plot(document, output.with_suffix(".png"))
    print(table(document), end="")


if __name__ == "__main__":
    run_script(main)
