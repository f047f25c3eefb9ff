"""Thresholds: what the recorded pass foretells is what a run gives, and what is written is what `run` takes."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ASSETS, random_model, tiny_spec
from tests.fakes import around
from trm_deploy import checkpoints, puzzles
from trm_deploy.artefacts import record
from trm_deploy.checkpoints import rewriting
from trm_deploy.cli.app import app
from trm_deploy.errors import CheckpointError, InputError
from trm_deploy.evaluation import tuning
from trm_deploy.evaluation.parity.files import compare_files
from trm_deploy.evaluation.tuning import Pass, Point, TuneSettings, recommend
from trm_deploy.evaluation.tuning.files import few_puzzles
from trm_deploy.evaluation.tuning.recommend import equally_good, rule_in_words
from trm_deploy.runtimes.backends.pytorch import TorchRuntime
from trm_deploy.runtimes.solving.session import SolveOptions, SolvingSession, open_session

TASK = puzzles.get("sudoku-4x4")


@pytest.fixture(scope="module")
def runtime() -> TorchRuntime:
    return TorchRuntime(random_model(tiny_spec("trm-mlp")))


def test_a_pass_foretells_every_run(runtime: TorchRuntime) -> None:
    tokens = TASK.examples()
    recorded = tuning.record_pass(runtime, TASK, tokens, 6)
    thresholds = [-math.inf, *recorded.candidates()[::5], 0.0, math.inf]
    seen = set()
    for threshold in thresholds:
        solution = runtime.solve(tokens, max_steps=6, halt_threshold=threshold)
        assert recorded.at(threshold).mean_steps == pytest.approx(solution.steps.mean())
        seen.add(float(solution.steps.mean()))
    assert len(seen) > 3
    again = tuning.record_pass(around(runtime), TASK, tokens, 6)
    np.testing.assert_allclose(again.halt_logit, recorded.halt_logit, atol=1e-5)
    np.testing.assert_array_equal(again.right, recorded.right)


def test_a_threshold_is_exceeded_and_not_met() -> None:
    recorded = Pass(
        np.array([[1, 5, 9], [2, 0, 3], [-1, -1, 4]], np.float32),
        np.array([[False, True, True], [True, False, True], [False, False, True]]),
    )
    assert recorded.at(2.0) == Point(2.0, solved=1.0, mean_steps=8 / 3, halted_wrong=0.0)
    assert recorded.at(0.0) == Point(0.0, solved=2 / 3, mean_steps=5 / 3, halted_wrong=1 / 3)
    assert recorded.at(math.inf).mean_steps == 3
    # Below, between and above -1, 1, 2, 3, 4, 5 and 9; 0 decides nothing, it comes after 2.
    assert recorded.candidates() == [-2, 0, 1.5, 2.5, 3.5, 4.5, 7, 10]


def points(*rows: tuple[float, float, float]) -> list[Point]:
    return [Point(threshold, solved, steps, 0.0) for threshold, solved, steps in rows]


CURVE = points((-1, 0.50, 1.0), (0, 0.796, 3.9), (1, 0.799, 4.20), (2, 0.80, 4.22), (6, 0.80, 4.25), (7, 0.80, 16.0))


def test_what_is_recommended() -> None:
    # Of 1, 2 and 6, which cost nearly the same, the middle one; 0 loses more, and 7 costs much.
    assert recommend(CURVE, max_loss=0.2, mean_steps=None).threshold == 2
    assert recommend(CURVE, max_loss=0.5, mean_steps=None).threshold == 0
    assert recommend(CURVE, max_loss=None, mean_steps=4.0).threshold == 0
    assert recommend(CURVE, max_loss=0.2, mean_steps=4.21).threshold == 1
    with pytest.raises(InputError, match=r"no threshold loses at most 0.2 points within 4 steps.*79.6%.*80.0%"):
        recommend(CURVE, max_loss=0.2, mean_steps=4.0)
    with pytest.raises(InputError, match="solves none"):
        recommend(points((0, 0.0, 1.0)), max_loss=0.2, mean_steps=None)


def test_a_costlier_threshold_is_recommended_with_its_rule() -> None:
    close = equally_good(CURVE, max_loss=0.2, mean_steps=None)
    assert [point.threshold for point in close] == [1, 2, 6]
    said = rule_in_words(close, recommend(CURVE, max_loss=0.2, mean_steps=None))
    assert said.startswith("thresholds from 1 to 6 need within 2% of the fewest steps, and of those the middle one")
    assert rule_in_words(close, close[0]) == ""


@pytest.mark.parametrize(
    ("count", "limits", "warned"),
    [
        (499, TuneSettings(), "take 500 or more"),
        (500, TuneSettings(), ""),
        (99, TuneSettings(mean_steps=4.0), "take 100 or more"),
        (100, TuneSettings(max_loss=2.0), ""),
        (2, TuneSettings(max_loss=0.0), "2 puzzles are few to choose a threshold by: each is 50 points"),
    ],
)
def test_few_puzzles_are_warned_of(count: int, limits: TuneSettings, warned: str) -> None:
    said = few_puzzles(count, limits)
    assert warned in said
    assert bool(said) == bool(warned)


def test_overrides_reach_the_checkpoint_alone(tiny_checkpoint: Path) -> None:
    with pytest.raises(InputError, match=r"--set applies to checkpoints: .*sudoku.onnx is an exported file, which has"):
        open_session(ASSETS / "sudoku.onnx", overrides=["arch.H_cycles=3"])
    with pytest.raises(InputError, match=r"arch\.H_cycles"):
        open_session(tiny_checkpoint, overrides=["arch.H_cycles=3"])


def test_refused(runtime: TorchRuntime, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "p.txt").write_text("..34341221434321\n")
    unrolled = around(runtime, fixed_steps=4)
    with pytest.raises(InputError, match=r"u.onnx: is unrolled to 4 steps.*--graph step -o step.onnx"):
        tuning.tune(SolvingSession(Path("u.onnx"), unrolled, TASK), str(tmp_path / "p.txt"), TuneSettings())
    with pytest.raises(InputError, match="has no rules"):
        tuning.tune(SolvingSession(Path("a.onnx"), runtime, puzzles.get("arc")), "tasks.json", TuneSettings())
    (tmp_path / "bad.txt").write_text("..3434122143432\n")
    with pytest.raises(InputError, match=r"bad.txt line 1"):
        tuning.tune(SolvingSession(Path("e.onnx"), runtime, TASK), str(tmp_path / "bad.txt"), TuneSettings())
    with pytest.raises(InputError, match="solves none"):
        tuning.tune(SolvingSession(Path("e.onnx"), around(runtime), TASK), str(tmp_path / "p.txt"), TuneSettings())
    assert "3.5 times the work of a step graph" in caplog.text
    assert "1 puzzle is few to choose a threshold by: each is 100 points of the solved share; take 500" in caplog.text


def test_a_threshold_written_beside_an_engine(tmp_path: Path) -> None:
    path = tmp_path / "sudoku.onnx"
    shutil.copy(ASSETS / "sudoku.onnx", path)
    opened = open_session(path)
    with pytest.raises(InputError, match=r"has no build record sudoku.onnx.json"):
        tuning.write_threshold(opened, 1.5)
    shutil.copy(ASSETS / "sudoku.onnx.json", record.path_of(path))
    before = json.loads(record.path_of(path).read_text())
    assert "sudoku.onnx.json" in tuning.write_threshold(opened, 1.5)
    assert json.loads(record.path_of(path).read_text()) == {**before, "halting_threshold": 1.5}
    assert open_session(path).halt_threshold(SolveOptions()) == 1.5
    assert path.read_bytes() == (ASSETS / "sudoku.onnx").read_bytes()


def test_a_threshold_written_into_a_checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "tuned.pt"
    shutil.copy(tiny_checkpoint, path)
    tuning.write_threshold(open_session(path), 0.25)
    assert open_session(path).halt_threshold(SolveOptions()) == 0.25
    before, after = checkpoints.load(tiny_checkpoint), checkpoints.load(path)
    assert after.training == before.training
    assert all(bool((after.ema[name] == weight).all()) for name, weight in before.ema.items())
    # An engine made before is still of the same model.
    assert compare_files(path, [tiny_checkpoint], limit=2, controls=1).passed
    assert open_session(path).runtime.spec.to_json() != open_session(tiny_checkpoint).runtime.spec.to_json()
    assert open_session(path).runtime.spec.model_json() == open_session(tiny_checkpoint).runtime.spec.model_json()
    import torch

    torch.save(dict(before.ema), tmp_path / "step_5")
    with pytest.raises(CheckpointError, match="holds no spec to change"):
        rewriting.rewrite_spec(tmp_path / "step_5", lambda spec: spec)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.csv").write_text(f"puzzle\n{puzzles.get('sudoku-9x9').text(EASY)}\n")
    command = ["tune", str(ASSETS / "sudoku.pt"), str(tmp_path / "p.csv"), "--max-steps", "2", "--json"]
    app([*command, "--report", str(tmp_path / "t"), "-o", str(tmp_path / "o.png")], standalone_mode=False)
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == 1
    assert (document["recommended"]["solved"], document["recommended"]["mean_steps"]) == (1.0, 1.0)
    assert json.loads((tmp_path / "t" / "tune.json").read_text()) == document
    assert "| recommended |" in (tmp_path / "t" / "tune.md").read_text()
    assert "<td>recommended</td>" in (tmp_path / "t" / "report.html").read_text()
    for picture in (tmp_path / "t" / "tune.png", tmp_path / "o.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_folder_in_the_pictures_place_is_refused_first(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder, expected a file to write; name a file with -o"):
        app(["tune", str(ASSETS / "sudoku.pt"), "none.csv", "-o", str(tmp_path)], standalone_mode=False)


EASY = puzzles.get("sudoku-9x9").examples()[0]
