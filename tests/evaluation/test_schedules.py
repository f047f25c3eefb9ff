"""Schedules compared on one recorded pass: what is counted is what a run with that schedule does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ASSETS, random_model, tiny_spec
from trm_deploy import puzzles
from trm_deploy.artefacts import record
from trm_deploy.artefacts.record import RecordedSchedule
from trm_deploy.cli.app import app
from trm_deploy.errors import InputError
from trm_deploy.evaluation.tuning import schedules
from trm_deploy.evaluation.tuning.schedules import Attempted, Family, Outcome, families, luby, outcome, recommend
from trm_deploy.puzzles.base import Tokens
from trm_deploy.puzzles.sudoku import Sudoku
from trm_deploy.runtimes.backends.pytorch import TorchRuntime
from trm_deploy.runtimes.solving.attempts import Schedule, solve_verified


def attempted(*right: int) -> Attempted:
    return Attempted(tuple(map(bool, right)))


def test_lubys_sequence() -> None:
    assert [luby(number) for number in range(1, 16)] == [1, 1, 2, 1, 1, 2, 4, 1, 1, 2, 1, 1, 2, 4, 8]


def test_families_stay_within_the_steps_of_an_attempt() -> None:
    found = {family.name: family for family in families(6)}
    assert found["fixed 3"].attempt_steps == (3,)
    assert found["Luby x 2"].limits[:7] == (2, 2, 4, 2, 2, 4, 6)
    assert found["geometric 1 x 2"].attempt_steps == (1, 2, 4, 6)
    assert all(1 <= limit <= 6 for family in found.values() for limit in family.limits)


def test_an_outcome_by_hand() -> None:
    # The first puzzle is right after step 3 of its first form; the second in its second form, after one step.
    recorded = [[attempted(0, 0, 1, 1), attempted(1)], [attempted(0, 0, 0, 0), attempted(1)]]
    assert outcome(recorded, Family("fixed 4", (4, 4)), 1) == Outcome("fixed 4", 1, (4,), 0.5, 4.0)
    assert outcome(recorded, Family("fixed 4", (4, 4)), 2) == Outcome("fixed 4", 2, (4,), 1.0, (4 + 4 + 1) / 2)
    assert outcome(recorded, Family("fixed 2", (2, 2)), 2) == Outcome("fixed 2", 2, (2,), 1.0, (2 + 1 + 2 + 1) / 2)


def test_recommended_is_what_takes_fewest_steps_among_the_best() -> None:
    most = Outcome("fixed 16", 64, (16,), 1.0, 9.0)
    close = Outcome("fixed 3", 64, (3,), 0.998, 3.5)
    cheap = Outcome("fixed 1", 4, (1,), 0.9, 1.0)
    assert recommend([most, close, cheap]) == close
    assert recommend([most, close, cheap], max_steps=2) == cheap


def test_only_what_an_undecided_schedule_asks_for_is_computed() -> None:
    short, long = Family("fixed 2", (2,) * 64), Family("fixed 5", (5,) * 64)
    assert schedules.steps_needed([], [short, long]) == 5
    assert schedules.steps_needed([attempted(0, 0, 1)], [short, long]) == 2, "the long one is decided"
    assert schedules.steps_needed([attempted(0, 1)], [short, long]) == 0
    assert schedules.steps_needed([attempted(0, 0)] * 64, [short, long]) == 0


@pytest.mark.parametrize("name", ["fixed 2", "fixed 6", "Luby x 1", "geometric 2 x 1.5"])
def test_what_is_counted_is_what_a_run_does(name: str) -> None:
    """A model with random weights verifies nothing, so the rules are of a task that some of its answers obey."""
    runtime = TorchRuntime(random_model(tiny_spec("trm-mlp")))
    puzzle = Lenient(2, 2)
    questions = puzzle.examples()[:8]
    candidates = families(6)
    recorded = schedules.record(runtime, puzzle, questions, candidates, halt_threshold=0.0, slots=8)
    family = next(family for family in candidates if family.name == name)
    for attempts in (1, 4, 8):
        found = outcome(recorded, family, attempts)
        schedule = Schedule(attempts, family.limits, 0.0)
        run = solve_verified(runtime, puzzle, questions, schedule)
        assert found.verified == np.mean([best.verified for best in run])
        assert found.steps == np.mean([best.total_steps for best in run])
    assert outcome(recorded, family, 8).verified > 0


class Lenient(Sudoku):
    """4 x 4, with a rule that some answers of a random model obey."""

    def answer_faults(self, question: Tokens, answer: Tokens) -> list[str]:
        return [] if int(answer.sum()) % 5 == 0 else ["the digits add up to no multiple of five"]


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    for suffix in ("", ".json"):
        shutil.copy(ASSETS / f"sudoku-step.onnx{suffix}", tmp_path)
    return tmp_path / "sudoku-step.onnx"


def test_the_command_writes_what_it_recommends(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    puzzle = puzzles.get("sudoku-9x9")
    lines = [puzzle.text(tokens) for tokens in puzzle.examples()[:3]]
    (engine.parent / "p.txt").write_text("\n".join(lines) + "\n")
    command = ["tune", str(engine), str(engine.parent / "p.txt"), "--schedule", "--max-steps", "2", "--json", "--write"]
    app([*command, "--report", str(engine.parent / "r")], standalone_mode=False)
    document = json.loads(capsys.readouterr().out)
    best = document["recommended"]
    assert best["verified"] == max(found["verified"] for found in document["outcomes"]) > 0
    built = record.read(engine)
    assert built is not None
    assert built.schedule == RecordedSchedule(attempts=best["attempts"], attempt_steps=tuple(best["attempt_steps"]))
    assert json.loads((engine.parent / "r" / "schedule.json").read_text()) == document
    assert "| recommended |" in (engine.parent / "r" / "schedule.md").read_text()
    assert "<td>recommended</td>" in (engine.parent / "r" / "report.html").read_text()
    assert (engine.parent / "r" / "schedule.png").read_bytes().startswith(b"\x89PNG")
    assert any("3 puzzles are few" in note for note in document["notes"])


def test_what_cannot_be_tuned_is_refused(engine: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--schedule needs single supervision steps, this is the loop form"):
        app(["tune", str(ASSETS / "sudoku.onnx"), "none.csv", "--schedule"], standalone_mode=False)
    with pytest.raises(InputError, match="is a checkpoint, which holds no schedule"):
        app(["tune", str(ASSETS / "sudoku.pt"), "none.csv", "--schedule", "--write"], standalone_mode=False)
    with pytest.raises(InputError, match="--max-loss is for the threshold"):
        app(["tune", str(engine), "none.csv", "--schedule", "--max-loss", "1"], standalone_mode=False)
