"""Solved share, steps and wrong halts of an engine on the published Sudoku sets, as a table and as JSON.

    TRM_DEPLOY_TEST_DATA=FOLDER python tools/evaluate.py [--engine FILE] [--limit N] [--output FILE]

FOLDER/data/sudoku holds the sets as CSV files. Each row is what `trm-deploy evaluate` says of a set: one attempt a
puzzle, at most 16 supervision steps, halting on; several attempts are what verified_shares.py measures.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from script import run_script

import trm_deploy as trm
from trm_deploy.errors import InputError
from trm_deploy.runtimes.solving.session import shipped_engine
from trm_deploy.support.files import sha256, write_atomic

SETS = ("qqwing_simple", "qqwing_easy", "qqwing_intermediate", "qqwing_expert", "sudoku17_sample")
SCHEMA = 2
STEPS = 16


def evaluate(engine: Path, path: Path, limit: int | None) -> dict[str, Any]:
    """The shares of one set."""
    # ONNX Runtime, as the committed figures are: the fastest installed runtime may round otherwise.
    found = trm.evaluate(engine, path, limit=limit, runtime="onnxruntime", attempts=1, attempt_steps=STEPS).to_plain()
    return {
        "set": path.stem,
        "puzzles": found["puzzles"],
        "solved": found["verified"],
        "halted": found["halted"],
        "halted_wrong": found["halted_wrong"],
        "mean_steps": found["mean_steps"],
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
    print(f"{'set':22} {'puzzles':>7} {'solved':>7}  halted wrong  mean steps")
    rows = []
    for name in SETS:
        row = evaluate(path, Path(data) / "data" / "sudoku" / f"{name}.csv", limit)
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
    run_script(main)
