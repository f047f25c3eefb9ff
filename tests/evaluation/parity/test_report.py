"""The report shows what was compared, as data, as a page and as pictures; bounds fail what they should."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.conftest import exported, random_model, tiny_spec
from tests.fakes import Call, FakeRuntime, FakeStepRuntime
from trm_deploy import puzzles, runtimes
from trm_deploy.errors import InputError, TrmDeployError
from trm_deploy.evaluation import parity
from trm_deploy.evaluation.parity import BOUNDS, ParityReport, Tolerance, rendering
from trm_deploy.evaluation.parity.bounds import free_failures, scattered
from trm_deploy.evaluation.parity.files import ParitySettings, compare_files
from trm_deploy.evaluation.parity.pytorch import reference_and_controls
from trm_deploy.evaluation.parity.report import FreeRun, Noise
from trm_deploy.models.perturb import perturb_by_one_ulp
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.puzzles.base import Tokens
from trm_deploy.runtimes.backends.pytorch import TorchRuntime
from trm_deploy.runtimes.base import Int32, Runtime, Solution, StepResult

TASK = puzzles.get("sudoku-4x4")
TOKENS = TASK.examples()


@pytest.fixture(scope="module")
def model() -> RecursiveReasoner:
    return random_model(tiny_spec("trm-mlp"))


def compare(model: RecursiveReasoner, *engines: Runtime, **options: Any) -> ParityReport:
    settings = {"solved": None, "max_steps": 6, "halt_threshold": 0.0, **options}
    controls = settings.pop("controls", 2)
    return parity.compare(
        *reference_and_controls(model, controls),
        [(f"folder/{n}.onnx", engine) for n, engine in enumerate(engines)],
        TOKENS,
        **settings,
    )


def test_each_step_has_logits_and_cosines_beside_the_controls(model: RecursiveReasoner) -> None:
    (engine,) = compare(model, TorchRuntime(perturb_by_one_ulp(model, 7))).engines
    assert [drift.step for drift in engine.drift] == [1, 2, 3, 4, 5, 6]
    for difference in engine.step_differences:
        assert 0 < difference.median <= difference.largest <= difference.bound
        control, y, z = difference.control, difference.cosine_y, difference.cosine_z
        assert control is not None
        assert 0 < control.median_low <= control.median_high <= control.largest
        for cosine in (y, z, control.cosine_y, control.cosine_z):
            assert cosine is not None
            assert 1 - 1e-9 < cosine.smallest <= cosine.median <= 1


def scaled(model: RecursiveReasoner) -> FakeStepRuntime:
    """PyTorch with logits that are a tenth of a percent off."""

    def change(result: StepResult) -> StepResult:
        return replace(result, logits=result.logits * 1.001)

    return FakeStepRuntime(TorchRuntime(random_model(model.spec)), change)


def test_a_tolerance_in_place_of_the_bounds(model: RecursiveReasoner) -> None:
    engine = scaled(model)
    short = {"max_steps": 1, "controls": 1}
    assert not compare(model, engine, **short).passed
    assert compare(model, engine, tolerance=Tolerance(1e-5, 2e-3), **short).passed
    failed = compare(model, engine, tolerance=Tolerance(1e-5, 5e-4), **short)
    assert re.search(r"expected at most 1e-05 \+ 0.0005 \* \|expected\|", failed.engines[0].failures[0])
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match=r"--rtol is .*, expected a number of 0 or more"):
            ParitySettings(rtol=wrong).tolerance()
    assert ParitySettings(rtol=0.1).tolerance() == Tolerance(0.0, 0.1)


class OnDevice:
    """A state that the next step of its runtime overwrites."""

    def __init__(self, runtime: FakeStepRuntime, values: Any) -> None:
        self._runtime, self._values, self._step = runtime, values, runtime.steps

    def __array__(self, *arguments: Any, **options: Any) -> Any:
        assert self._step == self._runtime.steps, "read when another step had overwritten it"
        return np.asarray(self._values)


def test_states_are_read_before_they_are_overwritten(model: RecursiveReasoner) -> None:
    def overwritten(result: StepResult) -> StepResult:
        return replace(result, y=OnDevice(engine, result.y), z=OnDevice(engine, result.z))

    engine = FakeStepRuntime(TorchRuntime(random_model(model.spec)), overwritten)
    assert compare(model, engine, max_steps=3, controls=1).passed
    assert engine.steps > 3


def test_pytorch_in_a_narrow_precision_is_compared(model: RecursiveReasoner) -> None:
    (engine,) = compare(model, TorchRuntime(random_model(model.spec), precision="bf16"), max_steps=3).engines
    assert engine.passed
    assert engine.arithmetic is None
    assert engine.step_differences[0].largest > BOUNDS["fp32"].logits


def test_flags_of_pytorch_reach_every_checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_checkpoint, tmp_path / "copy.pt")
    files = [tmp_path / "copy.pt", tiny_checkpoint]
    report = compare_files(tiny_checkpoint, files, limit=2, controls=1, precision="bf16")
    assert [engine.precision for engine in report.engines] == ["bf16", "bf16"]
    assert [engine.file_name for engine in report.engines] == ["copy.pt in PyTorch bf16", "tiny.pt in PyTorch bf16"]


def solution_of(question: Tokens) -> Tokens:
    """A right answer, by trying."""
    blanks = np.flatnonzero(question == 1)  # 0 is padding, 1 a blank, 1 + d the digit d
    if not len(blanks):
        return question
    for digit in range(2, 6):
        tried = question.copy()
        tried[blanks[0]] = digit
        if not TASK.question_faults(tried):
            found = solution_of(tried)
            if not TASK.answer_faults(question, found):
                return found
    return question


def oracle_of(model: RecursiveReasoner) -> FakeRuntime:
    """A loop engine that is right on what has a given in its first cell, and nowhere else."""
    runtime = TorchRuntime(random_model(model.spec))

    def answer(call: Call) -> Solution:
        found = runtime.solve(
            call.tokens, call.puzzle_ids, max_steps=call.max_steps, halt_threshold=call.halt_threshold
        )
        answers = [solution_of(row) if row[0] > 1 else np.ones_like(row) for row in call.tokens]
        return replace(found, answer=np.stack(answers))

    return FakeRuntime(model.spec, answer)


def right(answers: Int32) -> Any:
    return np.array([not TASK.answer_faults(*pair) for pair in zip(TOKENS, answers)])


def test_solved_verified_and_who_solved_what(model: RecursiveReasoner) -> None:
    oracle = oracle_of(model)
    report = compare(model, oracle, solved=right, puzzle=TASK, attempts=16, max_steps=1, controls=1)
    free = report.engines[0].free
    shown = [row + 1 for row in range(len(TOKENS)) if TOKENS[row][0] > 1]
    assert 0 < len(shown) < len(TOKENS)
    assert free.gained == shown
    assert (free.lost, report.reference.solved) == ([], 0.0)
    assert free.solved == len(shown) / len(TOKENS)
    assert free.verified == 1.0
    assert "16 attempts" in rendering.table(report)


def test_the_page_and_the_pictures(model: RecursiveReasoner, tmp_path: Path) -> None:
    narrow = TorchRuntime(random_model(model.spec))
    narrow.precision = "fp16"
    narrow.arithmetic = "fp32 between casts"
    report = compare(model, narrow, scaled(model), solved=right, max_steps=3)
    rendering.write(report, tmp_path)
    page = (tmp_path / "report.md").read_text()
    assert "parity holds for the fp16 file, computed in fp32 between casts" in page
    assert "says nothing of hardware that computes in fp16" in page
    assert "**Parity fails.**" in page
    assert "the control's spread" in page
    assert BOUNDS["fp32"].reason in page
    pictures = re.findall(r"!\[.*\]\((.*)\)", page)
    assert len(pictures) == 4
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    html = (tmp_path / "report.html").read_text()
    assert html.count('src="data:image/png;base64,') == 4
    assert html.count("<table>") == page.count("| --- |\n"), "the same tables"
    assert BOUNDS["fp32"].reason in html
    document = json.loads((tmp_path / "report.json").read_text())
    assert document["engines"][0]["arithmetic"] == narrow.arithmetic
    assert "parity holds for the fp16 file" in rendering.table(report)
    (tmp_path / "file").touch()
    with pytest.raises(TrmDeployError, match="cannot be written"):
        rendering.write(report, tmp_path / "file" / "folder")


def test_a_single_control_spans_one_number(model: RecursiveReasoner, tmp_path: Path) -> None:
    onnx.save(exported("trm-mlp", "loop"), tmp_path / "loop.onnx")
    report = compare(model, runtimes.load(tmp_path / "loop.onnx"), max_steps=2, controls=1)
    (line,) = [line for line in rendering.table(report).splitlines() if "median drift" in line]
    assert re.fullmatch(r" *free-running to step 2, halting off: median drift \S+, the control's \S+", line)
    assert "That alone changes no answer." in rendering.markdown(report, [("a.png", "b.png")])


def test_what_is_no_number_is_drawn_and_fails(model: RecursiveReasoner, tmp_path: Path) -> None:
    def spoil(result: StepResult) -> StepResult:
        result.logits[:] = np.nan
        return replace(result, y=result.y * np.nan)

    engine = FakeStepRuntime(TorchRuntime(random_model(model.spec)), spoil)
    report = compare(model, engine, max_steps=2, controls=1)
    assert "differs by inf" in report.engines[0].failures[0]
    rendering.write(report, tmp_path)
    json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)


def free_run(solved: float, verified: float) -> FreeRun:
    return FreeRun(
        solved=solved, verified=verified, halted=0.8, mean_steps=4.0, same_answer=0.8, same_steps=0.9, steps=[],
        lost=[], gained=[],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("precision", "solved", "verified", "fails"),
    [
        # Noise turns 30 verdicts: 2 roots of 33 are 1.15 points. Of the verified 5: 0.57 points.
        ("fp16", 0.795, 0.985, ""),
        ("fp16", 0.788, 0.985, ""),
        ("fp16", 0.782, 0.985, "solved 78.2%, the control 80.0%, expected at most 1.6 points"),
        ("fp16", 0.800, 0.979, "verified 97.9%, the control 99.0%"),
        ("int8", 0.782, 0.979, ""),
        ("int8", 0.720, 0.985, "solved 72.0%"),
    ],
)
def test_a_thousand_puzzles_tell_points_apart(precision: str, solved: float, verified: float, fails: str) -> None:
    noise = Noise(answers=180, solved=30, verified=5, halted=30, agreement=10)
    controls = [free_run(0.80, 0.99), free_run(0.81, 0.992)]
    failures = free_failures(free_run(solved, verified), controls, noise, BOUNDS[precision], puzzles=1000, attempts=8)
    assert bool(failures) == bool(fails)
    assert not fails or fails in failures[0]


def test_scatter() -> None:
    assert scattered(0, 0) == 0.0
    assert scattered(1, 4) == 4.0
    assert scattered(33, 200) == 12.0


def test_every_bound_has_its_reason() -> None:
    assert {"fp32", "fp16", "bf16", "int8"} <= BOUNDS.keys()
    assert all(bounds.reason for bounds in BOUNDS.values())
