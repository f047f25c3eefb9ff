"""Milliseconds of a sign-SGD step on puzzle tables of two sizes, with the rows of a batch of 768.

OMP_NUM_THREADS=1 python tools/puzzle_table_speed.py
"""

from __future__ import annotations

import time

import torch

from trm_deploy import puzzles
from trm_deploy.models.presets import preset
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.spec import TaskSpec
from trm_deploy.train.distributed import Ranks
from trm_deploy.train.optimizers import PuzzleTable
from trm_deploy.train.recipe import OptimizerSection

BATCH = 768
REPEATS = 20


def milliseconds(identifiers: int) -> float:
    """The best of some steps on a table of that many rows of 512."""
    puzzle = puzzles.get("sudoku-4x4")
    task = TaskSpec(
        name=puzzle.name,
        sequence_length=puzzle.cells,
        vocabulary=puzzle.vocabulary,
        puzzle_identifiers=identifiers,
    )
    table = PuzzleTable(
        RecursiveReasoner(preset("trm-mlp", task)), OptimizerSection(puzzle_learning_rate=1e-2), Ranks()
    )
    table.weight.fill_(1.0)  # memory that nothing has written yet is slow to reach for the first time
    gradient = torch.randn(BATCH, table.weight.shape[1])
    taken = []
    for _ in range(REPEATS):
        ids = torch.randint(identifiers, (BATCH,))
        started = time.perf_counter()
        table.rows(ids)
        table.update(ids, gradient, factor=1.0)
        taken.append(time.perf_counter() - started)
    return 1000 * min(taken)


if __name__ == "__main__":
    for rows in (1000, 1_000_000):
        print(f"{rows:>9,} rows: {milliseconds(rows):.1f} ms")
