"""A report against the last accepted one: what fell fails, and what cannot be compared is refused with what differs."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trm_deploy.errors import InputError, ParityFailure
from trm_deploy.evaluation.parity import ParityReport, baseline, rendering
from trm_deploy.evaluation.parity.files import compare_files
from trm_deploy.evaluation.parity.report import EngineParity, FreeRun, Noise
from trm_deploy.support.jsontext import dumps


def report(solved: float = 0.8, agreement: float = 0.9, *, turned: int = 0, name: str = "a/e.onnx") -> ParityReport:
    free = FreeRun(
        solved=solved, verified=0.9, halted=0.8, mean_steps=4.0, same_answer=agreement, same_steps=0.9, steps=[100],
        lost=[], gained=[],
    )  # fmt: skip
    return ParityReport(
        puzzles=100,
        questions_sha256="ab" * 32,
        step_controls=1,
        step_puzzles=32,
        max_steps=16,
        halt_threshold=math.inf,
        attempts=1,
        reference=free,
        controls=[free],
        noise=Noise(answers=turned, solved=turned, verified=turned, halted=turned, agreement=0),
        engines=[EngineParity(name, "an engine", "fp32", None, [], [], free, [])],
    )


def written(folder: Path, document: Any) -> Path:
    path = folder / "accepted.json"
    path.write_text(document if isinstance(document, str) else dumps(document))
    return path


def judged(folder: Path, then: ParityReport, now: ParityReport) -> EngineParity:
    (engine,) = baseline.read(written(folder, then.to_plain())).judge(now).engines
    return engine


def test_the_same_and_a_better_report_pass(tmp_path: Path) -> None:
    assert judged(tmp_path, report(), report()).passed
    better = judged(tmp_path, report(), report(0.85, 0.95, name="elsewhere/e.onnx"))
    assert better.passed
    assert better.baseline["solved"] == [0.8, 0.85]


def test_a_lost_puzzle_fails_where_noise_turns_none(tmp_path: Path) -> None:
    engine = judged(tmp_path, report(), report(0.79))
    assert engine.failures == [
        "against the baseline: solved 79.0% of the puzzles, then 80.0%, expected at most 0.0 points less"
    ]
    with pytest.raises(ParityFailure, match=r"^a/e.onnx: against the baseline: solved"):
        replace(report(), engines=[engine]).raise_if_failed()
    engine = judged(tmp_path, report(), report(agreement=0.89))
    assert "agrees with PyTorch on 89.0% of the puzzles" in engine.failures[0]


def test_what_noise_turns_may_be_lost_and_no_more(tmp_path: Path) -> None:
    then = report(turned=4)  # 2 roots of 4 are 4 puzzles
    assert judged(tmp_path, then, report(0.76)).passed
    assert not judged(tmp_path, then, report(0.75)).passed
    # The noise of the report that is judged says nothing: damage makes more of it.
    assert not judged(tmp_path, report(), report(0.76, turned=100)).passed


def test_a_new_engine_is_noted(tmp_path: Path) -> None:
    engine = judged(tmp_path, report(), report(0.1, name="new.onnx"))
    assert engine.passed
    assert engine.notes == ["the baseline has no engine called new.onnx"]


ASKED = {"questions_sha256": "ab" * 32, "puzzles": 100, "max_steps": 16, "halt_threshold": math.inf, "attempts": 1}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"questions_sha256": "cd" * 32}, "of the puzzles with the digest abababababab, this comparison of .*cdcdcd"),
        ({"puzzles": 20}, "is of 100 puzzles, this comparison of 20 puzzles"),
        ({"max_steps": 8}, "is of at most 16 steps, this comparison of at most 8 steps"),
        ({"halt_threshold": 0.0}, "is of the halting threshold inf, this comparison of the halting threshold 0"),
        ({"attempts": 8}, "is of 1 attempts, this comparison of 8 attempts"),
    ],
)
def test_another_comparison_is_refused(tmp_path: Path, other: dict[str, Any], message: str) -> None:
    accepted = baseline.read(written(tmp_path, report().to_plain()))
    accepted.refuse_other(ASKED, ["b/e.onnx"])
    with pytest.raises(InputError, match=message):
        accepted.refuse_other({**ASKED, **other}, ["b/e.onnx"])


def test_engines_are_known_by_their_file_names(tmp_path: Path) -> None:
    accepted = baseline.read(written(tmp_path, report().to_plain()))
    with pytest.raises(InputError, match=r"has e.onnx, none called f.onnx"):
        accepted.refuse_other(ASKED, ["f.onnx"])
    with pytest.raises(InputError, match=r"two engines are called e.onnx"):
        accepted.refuse_other(ASKED, ["a/e.onnx", "b/e.onnx"])


PLAIN = report().to_plain()


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("", "is not a parity report"),
        ("[" * 100_000, "is not a parity report"),
        ("[]", "is not a parity report"),
        ({"schema": 1, "kind": "ONNX"}, "is not a parity report"),
        ({**PLAIN, "schema": 1}, "is a report of schema 1, this trm-deploy compares schema"),
        ({**PLAIN, "puzzles": "many"}, "is not a whole parity report"),
        ({**PLAIN, "noise": None}, "is not a whole parity report"),
        ({**PLAIN, "engines": [{"name": "e.onnx", "free": {"solved": 7, "verified": 1, "same_answer": 1}}]}, "share"),
        ({**PLAIN, "halt_threshold": "low"}, "is not a whole parity report"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path: Path, document: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        baseline.read(written(tmp_path, document))


def test_a_missing_baseline_is_refused_before_any_work(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        compare_files(tiny_checkpoint, [tmp_path / "none.onnx"], baseline=tmp_path / "none.json")


def test_files_against_their_own_report(tiny_checkpoint: Path, tmp_path: Path) -> None:
    first = compare_files(tiny_checkpoint, [tiny_checkpoint], limit=3, controls=1)
    path = written(tmp_path, json.loads(dumps(first.to_plain())))
    again = compare_files(tiny_checkpoint, [tiny_checkpoint], limit=3, controls=1, baseline=path)
    assert again.passed
    assert again.engines[0].baseline["same_answer"] == [1.0, 1.0]
    assert "same answer as PyTorch 100.0% (then 100.0%)" in rendering.table(again)
    assert "against the baseline" not in rendering.table(first)
    with pytest.raises(InputError, match="this comparison of 2 puzzles"):
        compare_files(tiny_checkpoint, [tiny_checkpoint], limit=2, controls=1, baseline=path)
    lower = replace(first, engines=[replace(first.engines[0], free=replace(first.engines[0].free, same_answer=0.5))])
    assert baseline.read(path).judge(lower).engines[0].failures
