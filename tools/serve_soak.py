"""10,000 requests to `trm-deploy serve` with a model of 4 x 4 Sudoku: all are answered, and its memory stays flat."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Annotated, Optional

import torch
import typer
from script import run_script
from serve_load import send, serving

from trm_deploy import api, checkpoints, puzzles
from trm_deploy.checkpoints import Checkpoint
from trm_deploy.errors import TrmDeployError
from trm_deploy.models.presets import preset
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.spec import TaskSpec
from trm_deploy.support.files import write_atomic
from trm_deploy.support.jsontext import dumps

PARTS = 10
CLIENTS = 8
# Resident memory may differ by this between the first tenth of the requests and the last.
MOST_GROWTH_MIB = 10.0


def small_engine(folder: Path) -> Path:
    """The step form of a small model with random weights, which halts now and then."""
    puzzle = puzzles.get("sudoku-4x4")
    task = TaskSpec(name=puzzle.name, sequence_length=puzzle.cells, vocabulary=puzzle.vocabulary, puzzle_identifiers=1)
    torch.manual_seed(0)
    architecture = {"hidden_size": 32, "layers": 2, "heads": 4}
    spec = preset(
        "trm-mlp", task, architecture=architecture, recursion={"latent": 2, "deep": 2}, halting={"max_steps": 6}
    )
    path = folder / "small.pt"
    checkpoints.save(
        path, Checkpoint(spec, RecursiveReasoner(spec).state_dict(), {"steps": 0, "recipe": "", "seed": 0})
    )
    return api.export_model(path, folder / "small.onnx", graph="step")


def main(
    requests: Annotated[int, typer.Option(help="Number of requests.")] = 10_000,
    output: Annotated[Optional[Path], typer.Option(help="JSON file for the figures.")] = None,
) -> None:
    """Send the requests in ten parts, and look at the server's memory after each."""
    lines = [puzzles.get("sudoku-4x4").text(row) for row in puzzles.get("sudoku-4x4").examples()]
    with (
        tempfile.TemporaryDirectory() as folder,
        serving("--engine", small_engine(Path(folder)), "--attempts", 2) as server,
    ):
        memory, seconds = [], 0.0
        for _ in range(PARTS):
            part = [[line] for line in itertools.islice(itertools.cycle(lines), requests // PARTS)]
            seconds += send(server, part, clients=CLIENTS)[0]
            memory.append(round(server.resident_mib, 1))
            print(f"{len(memory) * len(part):,} requests, {seconds:.0f} s, {memory[-1]} MiB", flush=True)
    if output is not None:
        document = {"requests": requests, "clients": CLIENTS, "seconds": round(seconds, 1), "resident_mib": memory}
        write_atomic(output, dumps(document, indent=2) + "\n")
    if memory[-1] - memory[0] > MOST_GROWTH_MIB:
        raise TrmDeployError(
            f"memory grew from {memory[0]} to {memory[-1]} MiB, expected at most {MOST_GROWTH_MIB} more"
        )


if __name__ == "__main__":
    run_script(main)
