"""The Python API: the answers of `run --json`, in constant memory, traced step by step, through pickles, and silent."""

from __future__ import annotations

import json
import math
import multiprocessing
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import trm_deploy as trm
from tests.conftest import ROOT, exported, random_model, run_json, tiny_spec
from trm_deploy import api, checkpoints
from trm_deploy.checkpoints import Checkpoint
from trm_deploy.puzzles.sudoku import Sudoku
from trm_deploy.runtimes.solving import attempts

EASY = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
SMALL = [f"{cell}{'.' * 6}{other}{'.' * 8}" for cell in "1234" for other in ".1234" if cell != other]
PUZZLE = Sudoku(2, 2)


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny random model, as a checkpoint and in the three graph forms."""
    folder = tmp_path_factory.mktemp("api")
    model = random_model(tiny_spec("trm-mlp"))
    checkpoints.save(folder / "tiny.pt", Checkpoint(model.spec, model.state_dict(), {"steps": 0}))
    onnx.save(exported("trm-mlp", "loop"), folder / "loop.onnx")
    onnx.save(exported("trm-mlp", "step"), folder / "step.onnx")
    onnx.save(exported("trm-mlp", "unrolled", steps=3), folder / "unrolled.onnx")
    return {path.stem: path for path in folder.iterdir()}


def plain(answer: trm.Answer) -> dict[str, Any]:
    return {key: value for key, value in answer.to_plain().items() if key != "milliseconds"}


def test_importing_the_package_imports_neither_numpy_nor_torch() -> None:
    code = (
        "import sys, trm_deploy\n"
        "assert {'Solver', 'compare', '__version__'} <= set(dir(trm_deploy))\n"
        "print([name for name in ('numpy', 'torch', 'onnx', 'typer') if name in sys.modules])\n"
        "trm_deploy.Solver, trm_deploy.inspect, trm_deploy.export_model, trm_deploy.compare\n"
        "print([name for name in ('torch', 'onnx', 'onnxruntime', 'typer') if name in sys.modules])\n"
        "assert trm_deploy.Solver is trm_deploy.Solver\n"
        "trm_deploy.nonsense\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.stdout.split() == ["[]", "[]"]
    assert "AttributeError: module 'trm_deploy' has no attribute 'nonsense'" in result.stderr


def test_every_public_name_is_there() -> None:
    for name in trm.__all__:
        getattr(trm, name)
    assert set(api.__all__) <= set(trm.__all__)


def test_the_shipped_model_solves_a_puzzle_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with trm.Solver() as solver:
        answer = solver.solve(EASY)
        assert (answer.verified, answer.attempts, answer.error, answer.halted) == (True, 1, "", True)
        assert (answer.steps, answer.total_steps) == (1, 1)
        assert answer.text.startswith("534678912672195348")
        assert answer.puzzle == EASY.replace(".", "0")
        assert answer.grid.count("(") == EASY.count(".")
        assert solver.task == "sudoku-9x9"
        assert re.match(r"(ONNX Runtime|OpenVINO( bf16)?) step", solver.description)
        rows = "\n".join(EASY[row * 9 : row * 9 + 9] for row in range(9))
        assert answer.tokens is not None
        assert answer.question is not None
        for other in (rows, answer.question, answer.question.tolist(), answer.question.astype(np.uint8)):
            assert solver.solve(other).text == answer.text
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["step", "loop", "unrolled", "tiny"])
def test_answers_are_those_of_run_bit_for_bit(engines: dict[str, Path], tmp_path: Path, name: str) -> None:
    lines = [*SMALL, "rubbish"]
    (tmp_path / "p.txt").write_text("\n".join(lines))
    expected = run_json("-e", engines[name], tmp_path / "p.txt", "--attempts", 3, "--seed", 5, "--batch", 4)
    solver = trm.Solver(engines[name], attempts=3, seed=5, batch=4)
    found = [plain(answer) for answer in solver.solve_many(lines)]
    assert "puzzle 17: 7 characters, expected 16" in found[-1]["error"] or "found 'r', expected" in found[-1]["error"]
    del found[-1]["error"], expected[-1]["error"]
    assert found == [{key: value for key, value in line.items() if key != "milliseconds"} for line in expected]
    # One at a time, in the same slots.
    if name in ("step", "tiny"):
        assert [plain(solver.solve(line)) for line in SMALL[:5]] == found[:5]


def test_solve_many_takes_puzzles_only_as_they_are_needed(engines: dict[str, Path]) -> None:
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield SMALL[taken % len(SMALL)]

    answers = trm.Solver(engines["step"], batch=2).solve_many(endless())
    assert taken == 0
    for given in range(1, 300):
        assert next(answers).error == ""
        assert taken - given <= 2 * attempts.WINDOW


def test_what_cannot_be_read_is_raised_by_solve_and_named_by_solve_many(engines: dict[str, Path]) -> None:
    solver = trm.Solver(engines["step"])
    bad: list[tuple[Any, str]] = [
        ("a" + "." * 15, "puzzle line 1 column 1: found 'a', expected"),
        ("11" + "." * 14, "the givens break the rules: row 1 has 1 twice"),
        ("", "holds no puzzle"),
        (EASY, "looks like 9 x 9; this engine is for 4 x 4"),
        (f"{SMALL[0]}\n{SMALL[1]}", "holds 2 puzzles, expected one"),
        (np.zeros(16), r"is float64 \[16\], expected text or token ids int32 \[16\]"),
        (np.zeros(81, np.int32), r"is int32 \[81\], expected"),
        (np.full(16, 9, np.int32), "has tokens from 9 to 9, expected 0 to 5"),
        (np.array([2, 2] + [1] * 14), "row 1 has 1 twice"),
        (None, "expected text or token ids"),
    ]
    for puzzle, message in bad:
        with pytest.raises(trm.PuzzleError, match=message):
            solver.solve(puzzle)
        with pytest.raises(trm.PuzzleError, match=message):
            next(solver.trace(puzzle))
    answers = list(solver.solve_many([SMALL[0], *(puzzle for puzzle, _ in bad), SMALL[1]]))
    assert [bool(answer.error) for answer in answers] == [False, *[True] * len(bad), False]
    assert answers[1].error.startswith("puzzle 2 line 1 column 1")
    assert (answers[1].text, answers[1].verified, answers[1].tokens) == ("", False, None)


@pytest.mark.parametrize("name", ["step", "loop", "tiny"])
def test_a_trace_ends_where_solve_does(engines: dict[str, Path], name: str) -> None:
    for puzzle in SMALL[:6]:
        for count in (1, 3):
            solver = trm.Solver(engines[name], attempts=count)
            steps = list(solver.trace(puzzle))
            answer = solver.solve(puzzle)
            assert len(steps) == answer.total_steps
            assert max(step.attempt for step in steps) == answer.attempts
            last = {step.attempt: step for step in steps}
            best = min(
                last.values(),
                key=lambda step: len(PUZZLE.answer_faults(PUZZLE.parse_line(puzzle), step.tokens)),
            )
            assert (best.answer, best.step, best.halt_logit) == (answer.text, answer.steps, answer.halt_logit)
            assert (best.halted, best.verified) == (answer.halted, answer.verified)
            for step in steps:
                assert step.confidence.shape == step.tokens.shape == (16,)
                assert (str(step.confidence.dtype), str(step.tokens.dtype)) == ("float32", "int32")
                assert ((step.confidence > 0) & (step.confidence <= 1)).all()
                assert step.answer == PUZZLE.text(step.tokens)
                assert step.halted == (step.halt_logit > 0)
            assert [step.step for step in steps if step.attempt == 1] == list(range(1, last[1].step + 1))


def test_a_trace_comes_as_it_is_computed_and_is_the_same_in_any_number_of_slots(engines: dict[str, Path]) -> None:
    endless = trm.Solver(engines["step"], attempt_steps=10_000, halt_threshold=math.inf)
    steps = endless.trace(SMALL[0])
    first = [next(steps) for _ in range(3)]
    assert [(step.attempt, step.step, step.halted) for step in first] == [(1, 1, False), (1, 2, False), (1, 3, False)]
    wide = trm.Solver(engines["step"], attempt_steps=3, halt_threshold=math.inf, batch=4)
    for narrow, same in zip(first, wide.trace(SMALL[0])):
        assert narrow.answer == same.answer
        assert narrow.halt_logit == pytest.approx(same.halt_logit, abs=1e-4)


def test_confidence_is_the_softmax_of_the_chosen_token_in_the_puzzle_s_own_cells() -> None:
    """The shipped model, which knows what it knows: givens are sure in every form, in their own places."""
    solver = trm.Solver(attempts=3, attempt_steps=2, halt_threshold=math.inf)
    hard = "8..........36......7..9.2...5...7.......457.....1...3...1....68..85...1..9....4.."
    given = np.array([character != "." for character in hard])
    steps = list(solver.trace(hard))
    assert {step.attempt for step in steps} == {1, 2, 3}
    for step in steps:
        assert step.confidence[given].min() > 0.99
        assert step.confidence[~given].min() < 0.9


def test_an_unrolled_engine_has_no_trace(engines: dict[str, Path]) -> None:
    with pytest.raises(trm.InputError, match="is unrolled to 3 steps and shows the last one alone; type: trm-deploy"):
        next(trm.Solver(engines["unrolled"]).trace(SMALL[0]))


def test_a_closed_solver_says_so(engines: dict[str, Path]) -> None:
    with trm.Solver(engines["step"]) as solver:
        assert solver.solve(SMALL[0]).error == ""
    for call in (solver.solve, solver.solve_many, solver.trace):
        with pytest.raises(trm.TrmDeployError, match="this Solver is closed"):
            call(SMALL[0])


def _solve_elsewhere(data: bytes, queue: Any) -> None:
    solver = pickle.loads(data)
    queue.put([plain(solver.solve(puzzle)) for puzzle in SMALL[:3]])


def test_a_solver_goes_to_another_process(engines: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(engines["step"].parent)
    solver = trm.Solver("step.onnx", attempts=2, seed=3, attempt_steps=4)
    expected = [plain(solver.solve(puzzle)) for puzzle in SMALL[:3]]
    data = pickle.dumps(solver)
    assert len(data) < 2000, "the arguments, not the model"
    monkeypatch.chdir("/")
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_solve_elsewhere, args=(data, queue))
    process.start()
    assert queue.get(timeout=120) == expected
    process.join()
    assert process.exitcode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attempts": 0}, "attempts is 0, expected 1 or more"),
        ({"attempt_steps": -1}, r"--attempt-steps is \[-1\], expected numbers of at least 1"),
        ({"budget": 0}, "budget is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"batch": 0}, "batch is 0"),
        ({"path": "none.onnx"}, "none.onnx: there is no such file"),
        ({"precision": "bf16", "runtime": "onnxruntime"}, "applies to checkpoints"),
        ({"runtime": "abacus"}, "--runtime is abacus, expected one of"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_at_once(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(trm.InputError, match=message):
        trm.Solver(**arguments)


def test_a_loop_engine_cannot_be_in_flight(engines: dict[str, Path]) -> None:
    with pytest.raises(trm.InputError, match="has no step form, which in-flight batching needs"):
        trm.Solver(engines["loop"], in_flight=True)


def test_arc_has_a_way_of_its_own(tmp_path: Path, engines: dict[str, Path]) -> None:
    model = random_model(tiny_spec("trm-att", task="arc", identifiers=3))
    checkpoints.save(tmp_path / "arc.pt", Checkpoint(model.spec, model.state_dict(), {"steps": 0}))
    (tmp_path / "arc.pt.identifiers.json").write_text(json.dumps(["<blank>", "t", "t|||t1|||0123456789"]))
    task = {"train": [], "test": [{"input": [[1, 2], [3, 4]]}, {"input": [[5]]}]}
    (tmp_path / "t.json").write_text(json.dumps(task))
    solver = trm.Solver(tmp_path / "arc.pt", attempt_steps=1)
    first, second = solver.solve_tasks([tmp_path / "t.json"])
    assert (first.task.name, first.number, second.number, first.attempts) == ("t", 0, 1, 2)
    for call in (solver.solve, solver.solve_many, solver.trace):
        with pytest.raises(trm.InputError, match=r"no rules verify; use Solver.solve_tasks\(FILES\)"):
            call("1")
    with pytest.raises(trm.InputError, match="the model is for sudoku-4x4, which has no ARC tasks; use solve"):
        trm.Solver(engines["step"]).solve_tasks([tmp_path / "t.json"])


def test_export_compare_and_inspect(
    engines: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = trm.export_model(engines["tiny"], tmp_path / "made.onnx", graph="step", precision="fp32")
    assert made == tmp_path / "made.onnx"
    document = trm.inspect(made)
    assert (document["kind"], document["graph"], document["task"]) == ("ONNX", "step", "sudoku-4x4")
    (tmp_path / "p.txt").write_text("\n".join(SMALL[:4]))
    report = trm.compare(engines["tiny"], [made], puzzles=tmp_path / "p.txt", controls=1)
    assert report.passed
    assert report.to_plain()["puzzles"] == 4
    report.raise_if_failed()
    assert trm.Solver(made).solve(SMALL[0]).text == trm.Solver(engines["step"]).solve(SMALL[0]).text
    with pytest.raises(trm.InputError, match="export has no option 'colour'"):
        trm.export_model(engines["tiny"], colour="red")
    assert capfd.readouterr() == ("", "")
