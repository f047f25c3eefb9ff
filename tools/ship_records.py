"""What is beside the shipped artefacts beyond what an export knows or affords; `make assets` runs it after the exports.

    python tools/ship_records.py [MODEL ...]

The schedules: two or three steps an attempt, because the models seldom halt later; for Sudoku 128 attempts, because the
hardest puzzles take dozens (`trm-deploy tune --schedule` compares others), for mazes their eight symmetric forms.
bfloat16 is accepted where parity holds in it (docs/precision.md). The golden vectors are of all examples and all 16
supervision steps, where the check after an export takes a few of either.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, Optional

import typer

from trm_deploy import checkpoints
from trm_deploy.artefacts import golden, record
from trm_deploy.artefacts.record import RecordedSchedule
from trm_deploy.evaluation.parity.export_check import verify_export

ASSETS = Path(__file__).parent.parent / "trm_deploy" / "assets"
# A model -> its artefacts, its schedule, and the narrowest arithmetic that is accepted.
SHIPPED: dict[str, tuple[tuple[str, ...], RecordedSchedule, Literal["", "bf16"]]] = {
    "sudoku": (("sudoku.onnx", "sudoku-step.onnx"), RecordedSchedule(attempts=128, attempt_steps=(2,)), "bf16"),
    "sudoku-6x6": (("sudoku-6x6-step.onnx",), RecordedSchedule(attempts=16, attempt_steps=(3,)), ""),
    "maze": (("maze-step.onnx",), RecordedSchedule(attempts=8, attempt_steps=(3,)), ""),
}


def main(
    model: Annotated[Optional[list[str]], typer.Argument(help="Models, by default all that are shipped.")] = None,
) -> None:
    """Write the records and the golden vectors of every graph form."""
    for title in model or SHIPPED:
        names, schedule, arithmetic = SHIPPED[title]
        checkpoint = checkpoints.load(ASSETS / f"{title}.pt")
        for name in names:
            built = record.read_matching(ASSETS / name)
            assert built is not None
            record.write(ASSETS / name, replace(built, schedule=schedule, arithmetic=arithmetic))
            report, vectors = verify_export(checkpoint, ASSETS / name, name, budget=math.inf)
            report.raise_if_failed()
            golden.write(ASSETS / name, vectors)
            print(f"{name}: {schedule.attempts} attempts of {schedule.attempt_steps[0]} steps, {arithmetic or 'fp32'}")


if __name__ == "__main__":
    typer.run(main)
