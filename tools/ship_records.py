"""What is beside the shipped artefacts beyond what an export knows or affords; `make assets` runs it after the exports.

    python tools/ship_records.py

The schedule: three steps an attempt, because the model seldom halts later, and 64 attempts, because the hardest puzzles
take dozens; `trm-deploy tune --schedule` compares others. bfloat16 is
accepted because of parity over 1,000 puzzles of each QQWing grade (docs/precision.md). The golden vectors are of
all examples and all 16 supervision steps, where the check after an export takes a few of either.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from trm_deploy import checkpoints
from trm_deploy.artefacts import golden, record
from trm_deploy.artefacts.record import RecordedSchedule
from trm_deploy.evaluation.parity.export_check import verify_export

ASSETS = Path(__file__).parent.parent / "trm_deploy" / "assets"
SCHEDULE = RecordedSchedule(attempts=64, attempt_steps=(3,))


def main() -> None:
    """Write the records and the golden vectors of both graph forms."""
    checkpoint = checkpoints.load(ASSETS / "sudoku.pt")
    for name in ("sudoku.onnx", "sudoku-step.onnx"):
        built = record.read_matching(ASSETS / name)
        assert built is not None
        record.write(ASSETS / name, replace(built, schedule=SCHEDULE, arithmetic="bf16"))
        report, vectors = verify_export(checkpoint, ASSETS / name, name, budget=math.inf)
        report.raise_if_failed()
        golden.write(ASSETS / name, vectors)
        print(f"{name}: {SCHEDULE.attempts} attempts of {SCHEDULE.attempt_steps[0]} steps, bf16 accepted")


if __name__ == "__main__":
    main()
