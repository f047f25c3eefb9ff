"""Seconds that `trm-deploy export --format rtx` takes, the check of parity included. Needs no GPU.

Both presets at their published size with random weights, and the shipped model; in fp16, in every graph form.

    python tools/engine_build_times.py [--output FILE]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, Optional

import torch
import typer

from trm_deploy import checkpoints, puzzles
from trm_deploy.checkpoints import Checkpoint
from trm_deploy.models.presets import PRESETS, preset
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.spec import TaskSpec
from trm_deploy.support.files import write_atomic

SCHEMA = 1
FORMS = (("loop",), ("step",), ("unrolled", "--steps", "2"))
SHIPPED = Path(__file__).parent.parent / "trm_deploy" / "assets" / "sudoku.pt"


def random_checkpoint(name: str, path: Path) -> None:
    """A preset for 9 x 9 Sudoku at its published size, D = 512."""
    task = puzzles.get("sudoku-9x9")
    spec = preset(name, TaskSpec(name=task.name, sequence_length=task.cells, vocabulary=task.vocabulary))
    torch.manual_seed(0)
    checkpoints.save(path, Checkpoint(spec, RecursiveReasoner(spec).state_dict(), {"steps": 0}))


def main(output: Annotated[Optional[Path], typer.Option(help="JSON file to write.")] = None) -> None:
    """Measure and print."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        sources = {"shipped": SHIPPED}
        for name in PRESETS:
            sources[name] = Path(folder, f"{name}.pt")
            random_checkpoint(name, sources[name])
        for name, source in sources.items():
            for form in FORMS:
                plan = Path(folder, f"{name}-{form[0]}.plan")
                command = [sys.executable, "-m", "trm_deploy", "export", str(source), "--format", "rtx"]
                command += ["--compute-capability", "8.6", "--graph", *form, "-o", str(plan)]
                started = time.monotonic()
                done = subprocess.run(command, capture_output=True, text=True)
                seconds = time.monotonic() - started
                if done.returncode:
                    sys.exit(f"error: {name} {form[0]}: {done.stderr.strip().splitlines()[-1]}")
                rows.append(
                    {"model": name, "graph": form[0], "seconds": round(seconds, 1), "bytes": plan.stat().st_size}
                )
                print(f"{name:10} {form[0]:10} {seconds:6.1f} s  {plan.stat().st_size / 2**20:6.1f} MiB", flush=True)
    if output:
        write_atomic(output, json.dumps({"schema": SCHEMA, "exports": rows}, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
