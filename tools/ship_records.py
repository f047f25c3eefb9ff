"""What the records of the shipped artefacts say beyond what an export knows; `make assets` runs it after the exports.

    python tools/ship_records.py

The schedule is what `trm-deploy tune --schedule` recommended on published puzzles (docs/performance.md). bfloat16 is
accepted because of parity over 1,000 puzzles of each QQWing grade (docs/precision.md).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from trm_deploy.artefacts import record
from trm_deploy.artefacts.record import RecordedSchedule

ASSETS = Path(__file__).parent.parent / "trm_deploy" / "assets"
SCHEDULE = RecordedSchedule(attempts=64, attempt_steps=(3,))


def main() -> None:
    """Write the records of both graph forms."""
    for name in ("sudoku.onnx", "sudoku-step.onnx"):
        built = record.read_matching(ASSETS / name)
        assert built is not None
        record.write(ASSETS / name, replace(built, schedule=SCHEDULE, arithmetic="bf16"))
        print(f"{name}: {SCHEDULE.attempts} attempts of {SCHEDULE.attempt_steps[0]} steps, bf16 accepted")


if __name__ == "__main__":
    main()
