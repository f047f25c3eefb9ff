"""The log of a run: whole lines, and what the run came to."""

from __future__ import annotations

import json
from pathlib import Path

from trm_deploy.train.runlog import read_metrics, summary


def test_metrics_survive_a_line_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps({"step": 1}) + '\n{"step": 2, "los')
    assert read_metrics(path) == [{"step": 1}]


def test_the_summary_tells_steps_time_and_the_last_result(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert summary(path) == "no step is logged"
    lines: list[dict[str, float]] = [
        {"step": 500, "seconds": 60.2, "held_out_solved": 0.5, "held_out_mean_steps": 7.0},
        {"step": 1000, "seconds": 121.4, "answer_loss": 0.1},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines[1:]))
    assert summary(path) == "1,000 steps in 0:02:01"
    lines.append({"step": 1000, "seconds": 125.0, "held_out_solved": 0.992, "held_out_mean_steps": 2.14})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert summary(path) == (
        "1,000 steps in 0:02:05, 99.2% of the held-out puzzles solved in 2.1 supervision steps on average"
    )
