"""Parity passes for sound engines, and fails, naming step and place, for each kind of unsound one."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from tests.conftest import ASSETS, GRAPHS, exported, random_model, tiny_spec
from tests.fakes import Call, FakeRuntime, FakeStepRuntime, around
from trm_deploy import checkpoints, puzzles, runtimes
from trm_deploy.checkpoints import Checkpoint
from trm_deploy.errors import ArtefactError, CannotRunHere, CheckpointError, InputError, ParityFailure
from trm_deploy.evaluation import parity
from trm_deploy.evaluation.parity import ParityReport, rendering
from trm_deploy.evaluation.parity.compare import Known
from trm_deploy.evaluation.parity.export_check import affordable
from trm_deploy.evaluation.parity.files import compare_files
from trm_deploy.evaluation.parity.pytorch import reference_and_controls
from trm_deploy.export.graph.assemble import export_onnx
from trm_deploy.models.perturb import perturb_by_one_ulp
from trm_deploy.models.presets import preset
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.runtimes.backends.pytorch import TorchRuntime
from trm_deploy.runtimes.base import Runtime, Solution, StepResult
from trm_deploy.signature import Graph
from trm_deploy.spec import TaskSpec
from trm_deploy.support.jsontext import dumps

TOKENS = np.random.default_rng(3).integers(1, 6, (8, 16)).astype(np.int32)


def compare(model: RecursiveReasoner, engine: Runtime, **options: Any) -> ParityReport:
    settings = {"solved": None, "max_steps": 6, "halt_threshold": 0.0, **options}
    controls = settings.pop("controls", 2)
    return parity.compare(*reference_and_controls(model, controls), [("engine", engine)], TOKENS, **settings)


def load_exported(made: onnx.ModelProto, folder: Path) -> Runtime:
    path = folder / "engine.onnx"
    onnx.save(made, path)
    return runtimes.load(path)


def damaged(model: RecursiveReasoner, name: str, by: float) -> RecursiveReasoner:
    copy = random_model(model.spec)
    copy.load_state_dict(model.state_dict())
    with torch.no_grad():
        copy.get_parameter(name).view(-1)[0] += by
    return copy


@pytest.fixture(scope="module")
def model() -> RecursiveReasoner:
    return random_model(tiny_spec("trm-mlp"))


@pytest.mark.parametrize("graph", GRAPHS)
def test_every_graph_form_of_every_preset_holds_parity(
    name: str, tiny: RecursiveReasoner, graph: Graph, tmp_path: Path
) -> None:
    report = compare(tiny, load_exported(exported(name, graph), tmp_path))
    report.raise_if_failed()
    (engine,) = report.engines
    steps = [(difference.step, difference.same_state) for difference in engine.step_differences]
    expected = {
        "step": [(k, True) for k in range(1, 7)],
        "loop": [(1, True), (2, False), (4, False), (6, False)],
        "unrolled": [(6, False)],
    }
    assert steps == expected[graph]
    assert engine.free.same_answer == engine.free.same_steps == 1.0
    assert sum(engine.free.steps) == len(TOKENS)


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_slightly_wrong_weight_fails(model: RecursiveReasoner, graph: Graph, tmp_path: Path) -> None:
    # Damaging the reference instead of the engine is the same difference, without another export.
    report = compare(
        damaged(model, "networks.0.blocks.1.mlp.down.weight", 0.05), load_exported(exported("trm-mlp", graph), tmp_path)
    )
    step = "step 6" if graph == "unrolled" else "step 1"
    with pytest.raises(ParityFailure, match=f"engine: parity with PyTorch fails: {step}: differs by .* at puzzle"):
        report.raise_if_failed()


def wrong(model: RecursiveReasoner, precision: str = "fp32", **how: Any) -> FakeRuntime:
    """PyTorch in place of a loop engine, with one thing wrong: its steps are PyTorch's."""
    return around(TorchRuntime(random_model(model.spec)), precision=precision, **how)


def never_halts(call: Call) -> Call:
    return replace(call, halt_threshold=math.inf)


def counts_from_zero(solution: Solution) -> Solution:
    return replace(solution, steps=solution.steps - 1)


def wrong_answers(solution: Solution) -> Solution:
    return replace(solution, answer=np.roll(solution.answer, 1, axis=1))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"before": never_halts}, "PyTorch's number of steps in"),
        ({"after": counts_from_zero}, "PyTorch's number of steps in"),
        ({"after": wrong_answers}, "PyTorch's answer in"),
    ],
)
def test_a_wrong_free_run_fails_though_every_step_is_right(
    model: RecursiveReasoner, how: dict[str, Any], message: str
) -> None:
    (engine,) = compare(model, wrong(model, **how)).engines
    assert [failure for failure in engine.failures if message in failure]
    assert all(difference.passed for difference in engine.step_differences)


@pytest.fixture
def few_step_puzzles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer than the puzzles of a free run, as with real sets."""
    module = sys.modules["trm_deploy.evaluation.parity.compare"]  # whose name in its package is the function's
    monkeypatch.setattr(module, "STEP_PUZZLES", 3)


@pytest.mark.usefixtures("few_step_puzzles")
def test_controls_take_turns_in_a_free_run(model: RecursiveReasoner) -> None:
    right = TorchRuntime(model).solve(TOKENS, max_steps=6, halt_threshold=0.0).answer
    controls = [TorchRuntime(random_model(model.spec, seed)) for seed in (1, 2, 3)]  # unlike, to be told apart
    known = Known()
    report = parity.compare(
        TorchRuntime(model),
        controls,
        [("engine", TorchRuntime(model))],
        TOKENS,
        solved=lambda answers: (answers == right).all(axis=1),
        max_steps=6,
        halt_threshold=0.0,
        in_turn=True,
        known=known,
    )
    assert (report.in_turn, report.step_controls, len(report.controls), report.step_puzzles) == (True, 3, 1, 3)
    _, run = known.runs[6]
    for turn, control in enumerate(controls):
        alone = control.solve(TOKENS[turn::3], max_steps=6, halt_threshold=0.0)
        np.testing.assert_array_equal(run.answer[turn::3], alone.answer)
        np.testing.assert_array_equal(run.steps[turn::3], alone.steps)
    assert run.solved is not None
    np.testing.assert_array_equal(run.solved, (run.answer == right).all(axis=1))
    assert report.controls[0].solved == run.solved.mean() < 1.0
    assert "3 controls in turn (1 ulp off)" in rendering.table(report)


@pytest.mark.usefixtures("few_step_puzzles")
@pytest.mark.parametrize("after", [wrong_answers, counts_from_zero])
def test_a_wrong_free_run_fails_beside_controls_in_turn(
    model: RecursiveReasoner, after: Callable[[Solution], Solution]
) -> None:
    assert compare(model, wrong(model), in_turn=True).passed
    (engine,) = compare(model, wrong(model, after=after), in_turn=True).engines
    assert not engine.passed
    assert "free-running" in engine.failures[0]


@pytest.mark.usefixtures("few_step_puzzles")
def test_a_loop_engine_solves_one_batch_and_the_rest_as_run_does(model: RecursiveReasoner) -> None:
    engine = wrong(model)
    compare(model, engine)
    free = [len(call.tokens) for call in engine.calls if call.halt_threshold == 0.0]
    assert free == [3, 1, 1, 1, 1, 1]
    filled = wrong(model, smallest_batch=2, largest_batch=2)
    compare(model, filled)
    assert [len(call.tokens) for call in filled.calls if call.halt_threshold == 0.0] == [2, 1, 2, 2, 1]


def test_what_is_known_is_not_computed_again(model: RecursiveReasoner) -> None:
    def counted(model: RecursiveReasoner) -> FakeStepRuntime:
        return FakeStepRuntime(TorchRuntime(model), lambda result: result)

    reference, control = counted(model), counted(perturb_by_one_ulp(model, 0))
    known = Known()
    found = []
    for _ in range(2):
        found.append(
            parity.compare(
                reference, [control], [("engine", TorchRuntime(model))], TOKENS,
                solved=None, max_steps=6, halt_threshold=0.0, known=known,
            )
        )  # fmt: skip
        if len(found) == 1:
            steps = reference.steps, control.steps
    assert (reference.steps, control.steps) == steps
    assert found[0].to_plain() == found[1].to_plain()


def test_a_narrow_engine_that_never_halts_fails(model: RecursiveReasoner) -> None:
    report = compare(model, wrong(model, "fp16", before=never_halts))
    assert report.engines[0].free.halted < report.reference.halted
    assert "free-running: halted" in report.engines[0].failures[0]


def test_changed_answers_that_no_rule_judges_are_told(model: RecursiveReasoner) -> None:
    (engine,) = compare(model, wrong(model, "fp16", after=wrong_answers)).engines
    assert "0.0% of the answers are PyTorch's, of a control's 100.0% or more; no rule tells" in engine.notes[-1]
    (same,) = compare(model, wrong(model, "fp16")).engines
    assert "no rule" not in "".join(same.notes)


def test_a_lower_solved_share_fails(model: RecursiveReasoner) -> None:
    right = TorchRuntime(model).solve(TOKENS, max_steps=6, halt_threshold=0.0).answer
    report = compare(model, wrong(model, after=wrong_answers), solved=lambda answers: (answers == right).all(axis=1))
    assert report.reference.solved == 1.0
    assert "free-running: solved 0.0%, the control 100.0%" in report.engines[0].failures[0]


def test_not_a_number_fails(model: RecursiveReasoner) -> None:
    def spoil(result: StepResult) -> StepResult:
        result.logits[2, 3, 4] = np.nan
        return result

    report = compare(model, FakeStepRuntime(TorchRuntime(random_model(model.spec)), spoil))
    assert not report.passed
    assert "step 1: differs by inf" in report.engines[0].failures[0]
    assert json.loads(dumps(report.to_plain()))["engines"][0]["step_differences"][0]["largest"] == "inf"


def test_a_checkpoint_of_no_numbers_is_refused(model: RecursiveReasoner) -> None:
    spoilt = damaged(model, "networks.0.blocks.1.mlp.down.weight", math.nan)
    with pytest.raises(CheckpointError, match="not numbers in supervision step 1; its training diverged"):
        compare(spoilt, TorchRuntime(model))


def test_a_wrong_narrow_engine_fails_by_its_median() -> None:
    """Rubbish for a puzzle makes a step amplify the last bit, and with it the bound on the largest difference."""
    shipped = checkpoints.load(ASSETS / "sudoku.pt").model()
    rng = np.random.default_rng(0)
    rubbish = np.where(rng.random((12, 81)) < 0.3, rng.integers(2, 11, (12, 81)), 1)
    tokens = np.concatenate([puzzles.get("sudoku-9x9").examples()[:6], rubbish[-2:]]).astype(np.int32)

    def report(model: RecursiveReasoner) -> ParityReport:
        engine = TorchRuntime(model)
        engine.precision = "int8"
        return parity.compare(
            *reference_and_controls(shipped, 2),
            [("engine", engine)],
            tokens,
            solved=None,
            max_steps=2,
            halt_threshold=0.0,
        )

    faded = perturb_by_one_ulp(shipped, 7)
    with torch.no_grad():
        faded.answer_head.weight.mul_(0.5)
    (engine,) = report(faded).engines
    assert all(difference.checked <= difference.bound for difference in engine.step_differences)
    assert "step 1: differs by" in engine.failures[0]
    assert "(teacher-forced, median over puzzles), expected at most" in engine.failures[0]
    assert report(perturb_by_one_ulp(shipped, 8)).passed


def test_a_single_control_counts_its_own_noise(model: RecursiveReasoner) -> None:
    report = compare(model, TorchRuntime(model), controls=1)
    assert report.noise.agreement == report.noise.answers


def test_the_control_moves_every_weight_by_one_unit_in_the_last_place(model: RecursiveReasoner) -> None:
    moved = perturb_by_one_ulp(model, 0)
    for name, weight in model.named_parameters():
        other = moved.get_parameter(name)
        assert (weight != other).all()
        assert torch.equal(torch.nextafter(weight, other), other)
    again, third = perturb_by_one_ulp(model, 0), perturb_by_one_ulp(model, 1)
    assert torch.equal(again.tokens.weight, moved.tokens.weight)
    assert not torch.equal(third.tokens.weight, moved.tokens.weight)


def ids_of(engine: FakeRuntime) -> list[int]:
    """The puzzle ids that it was given, those of further attempts included."""
    return [int(number) for call in engine.calls if call.puzzle_ids is not None for number in call.puzzle_ids]


def test_further_attempts_are_of_the_first_ones_puzzle_id() -> None:
    model = random_model(tiny_spec("trm-att", identifiers=5))
    engine = around(TorchRuntime(model))
    tokens = puzzles.get("sudoku-4x4").examples()[:1]
    ids = np.array([3], np.int32)
    parity.compare(
        *reference_and_controls(model, 1),
        [("engine", engine)],
        tokens,
        puzzle_ids=ids,
        solved=lambda answers: np.zeros(len(answers), bool),
        max_steps=1,
        halt_threshold=math.inf,
        attempts=4,
        puzzle=puzzles.get("sudoku-4x4"),
    )
    assert len(ids_of(engine)) > 4
    assert set(ids_of(engine)) == {3}


def test_every_question_has_a_puzzle_id_of_its_own() -> None:
    model = random_model(tiny_spec("trm-att", identifiers=5))
    engine = around(TorchRuntime(model))
    compare(model, engine, max_steps=1)
    assert len(set(ids_of(engine))) > 2


def test_an_engine_that_cannot_run_here_is_a_row(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow, engine = tmp_path / "bf16.onnx", tmp_path / "fp32.onnx"
    onnx.save(exported("trm-mlp", "step", precision="bf16"), narrow)
    onnx.save(exported("trm-mlp", "step"), engine)
    report = compare_files(tiny_checkpoint, [narrow, engine], limit=2, controls=1)
    assert report.passed
    assert [engine.file_name for engine in report.engines] == ["fp32.onnx"]
    (left_out,) = report.not_compared
    assert left_out.name == str(narrow)
    assert f"{narrow}\n  NOT COMPARED, it cannot run here: " in rendering.table(report)
    assert "`bf16.onnx`: **not compared**" in rendering.markdown(report, [("a.png", "b.png")])
    assert report.to_plain()["not_compared"][0]["name"] == str(narrow)
    with pytest.raises(CannotRunHere, match=r"bf16.onnx"):
        compare_files(tiny_checkpoint, [narrow], limit=2, controls=1)


def test_recorded_vectors_are_compared_without_pytorch(tmp_path: Path) -> None:
    """The reference and its controls may be any runtimes: here both are the engine itself, in a process of its own."""
    onnx.save(exported("trm-mlp", "step"), tmp_path / "step.onnx")
    code = f"""
import sys
from pathlib import Path
from trm_deploy import puzzles
from trm_deploy.evaluation import accuracy, parity
from trm_deploy.evaluation.parity import rendering
from trm_deploy.runtimes import load

tokens = puzzles.get("sudoku-4x4").examples()[:3]
runtime = load(Path({str(tmp_path / "step.onnx")!r}))
judge = accuracy.by_rules(puzzles.get("sudoku-4x4"), tokens)
report = parity.compare(
    runtime, [runtime], [("engine", runtime)], tokens, solved=judge, max_steps=2, halt_threshold=0.0
)
assert report.engines[0].step_differences[0].largest == 0
print(rendering.table(report))
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "parity holds" in done.stdout


def test_files_of_different_models_are_not_compared(tiny_checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    onnx.save(exported("trm-att", "loop"), path)
    with pytest.raises(ArtefactError, match="is of another model than the checkpoint"):
        compare_files(tiny_checkpoint, [path])


def test_a_model_without_a_task_is_compared_on_random_tokens(tmp_path: Path) -> None:
    spec = tiny_spec("trm-mlp")
    nameless = replace(spec, task=replace(spec.task, name=""))
    model = random_model(nameless)
    checkpoints.save(tmp_path / "c.pt", Checkpoint(nameless, model.state_dict()))
    onnx.save(export_onnx(model), tmp_path / "e.onnx")
    report = compare_files(tmp_path / "c.pt", [tmp_path / "e.onnx"])
    assert report.passed
    assert report.reference.solved is None
    with pytest.raises(InputError, match="names no task"):
        compare_files(tmp_path / "c.pt", [tmp_path / "e.onnx"], puzzles="puzzles.txt")


def test_the_report_is_json_with_a_schema_and_a_table(model: RecursiveReasoner, tmp_path: Path) -> None:
    report = compare(model, load_exported(exported("trm-mlp", "step"), tmp_path))
    document = json.loads(dumps(report.to_plain()))
    assert document["schema"] == 2
    assert document["passed"] is True
    assert document["engines"][0]["passed"] is True
    assert len(document["engines"][0]["step_differences"]) == 6
    text = rendering.table(report)
    assert "ONNX Runtime step fp32" in text
    assert "parity holds" in text


def test_the_check_after_an_export_is_cut_to_the_model() -> None:
    assert affordable(tiny_spec("trm-mlp"), 12, 16) == (12, 16)
    task = TaskSpec(name="", sequence_length=81, vocabulary=tuple("0123456789a"))
    count, steps = affordable(preset("trm-att", task), 12, 16)
    assert 2 <= count < 12
    assert 2 <= steps < 16
    assert affordable(preset("trm-att", task, architecture={"hidden_size": 4096}), 12, 16) == (1, 2)
