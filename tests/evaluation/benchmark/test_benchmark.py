"""The benchmark counts what it claims to count, and calls nothing fast that is wrong."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.checkpoints.test_published import published_weights, settings_of, write
from tests.conftest import ROOT, Graph, exported, random_model, tiny_spec
from trm_deploy import puzzles, runtimes
from trm_deploy.artefacts import record
from trm_deploy.artefacts.record import RecordedSchedule
from trm_deploy.errors import ArtefactError, CannotRunHere, InputError
from trm_deploy.evaluation.benchmark.candidates import Candidate, Way, candidates
from trm_deploy.evaluation.benchmark.files import benchmark_files, schedule_in_force
from trm_deploy.evaluation.benchmark.limit import gemm_gflops
from trm_deploy.evaluation.benchmark.measure import BenchmarkSettings, benchmark
from trm_deploy.evaluation.benchmark.report import BenchmarkReport, Row
from trm_deploy.evaluation.threshold import threshold_in_force
from trm_deploy.flops import step_flops
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.runtimes.backends.pytorch import TorchRuntime
from trm_deploy.runtimes.solving.attempts import Schedule, solve_verified
from trm_deploy.runtimes.solving.session import SolveOptions
from trm_deploy.support.files import sha256
from trm_deploy.support.jsontext import dumps

PUZZLE = puzzles.get("sudoku-4x4")
QUESTIONS = np.resize(PUZZLE.examples(), (20, 16)).astype(np.int32)
# Fewer steps an attempt than the one attempt, and forms to try.
SCHEDULE = Schedule(attempts=5, attempt_steps=(2, 3), halt_threshold=0.0)
SETTINGS = BenchmarkSettings(
    repeats=2,
    latency_puzzles=3,
    max_steps=6,
    schedules={"published": None, "loop": SCHEDULE, "step": SCHEDULE},
    speculate=True,
)
HAS_OPENVINO = importlib.util.find_spec("openvino") is not None
# What other programs read; see the class for what each is.
KEYS = (
    "name", "runtime", "graph", "precision", "batch", "latency_ms_p50", "latency_ms_p95", "puzzles_per_second",
    "spread", "solved", "mean_steps", "limit_share", "limit_share_alone", "schedule", "verified",
    "verified_per_second", "steps_per_puzzle", "speculative_steps", "limit_share_schedule",
)  # fmt: skip


def test_the_flops_of_a_step_are_those_that_torch_counts(name: str, tiny: RecursiveReasoner) -> None:
    tokens = torch.ones(1, 16, dtype=torch.int32)
    # The counter does not know the fused attention of CPUs.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        tiny.step(tokens, *tiny.initial_state(1))
    # The halting head, two numbers from one position, is not counted: 2 * 2 * D.
    assert counter.get_total_flops() - 4 * tiny.spec.architecture.hidden_size == step_flops(tiny.spec)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> BenchmarkReport:
    folder = tmp_path_factory.mktemp("engines")
    found = [
        Candidate("published", "PyTorch", "eager", TorchRuntime(random_model(tiny_spec("trm-mlp"))), "fixed", (4,), "")
    ]
    graphs: tuple[tuple[Graph, Way], ...] = (("loop", "batches"), ("step", "in-flight"))
    for graph, way in graphs:
        onnx.save(exported("trm-mlp", graph), folder / f"{graph}.onnx")
        runtime = runtimes.load(folder / f"{graph}.onnx")
        assert runtime.backend == "onnxruntime"
        found.append(Candidate(graph, "ONNX Runtime", graph, runtime, way, (2, 4), f"run {graph}"))
    return benchmark(found, PUZZLE, QUESTIONS, SETTINGS)


def test_every_way_is_measured_on_the_same_puzzles(report: BenchmarkReport) -> None:
    published, loop, step = report.rows
    assert [row.name for row in report.rows] == ["published", "loop", "step"]
    assert published.mean_steps == 6
    expected = TorchRuntime(random_model(tiny_spec("trm-mlp"))).solve(QUESTIONS, max_steps=6, halt_threshold=0.0)
    assert loop.mean_steps == step.mean_steps == expected.steps.mean() < 6
    solved = [not PUZZLE.answer_faults(*pair) for pair in zip(QUESTIONS, expected.answer)]
    assert loop.solved == step.solved == np.mean(solved)
    assert loop.batch == step.batch, "batches that wait are compared at the batch of those in flight"
    for row in report.rows:
        assert 0 < row.limit_share < 1
        assert row.limit_share == pytest.approx(
            row.puzzles_per_second * row.mean_steps * report.step_gflop / max(report.gemm_gflops.values())
        )
        assert 0 < row.latency_ms_p50 <= row.latency_ms_p95


def test_verified_puzzles_are_those_of_run_by_its_schedule(report: BenchmarkReport) -> None:
    published, loop, step = report.rows
    assert published.verified == published.solved
    assert published.verified_per_second == published.puzzles_per_second * published.solved
    assert (published.schedule, published.steps_per_puzzle, published.speculative_steps) == ("1 x 6", 6, 0)
    assert published.limit_share_schedule == published.limit_share
    runtime = TorchRuntime(random_model(tiny_spec("trm-mlp")))
    expected = [
        best
        for start in range(0, len(QUESTIONS), 4)
        for best in solve_verified(runtime, PUZZLE, QUESTIONS[start : start + 4], SCHEDULE)
    ]
    for row in (loop, step):
        assert row.schedule == "5 x 2,3"
        assert row.verified == np.mean([best.verified for best in expected])
        assert row.steps_per_puzzle == np.mean([best.total_steps for best in expected])
        assert row.verified_per_second < 1e6
        assert (row.verified_per_second > 0) == (row.verified > 0)
        assert 0 < row.limit_share_schedule < 1
    assert step.speculative_steps >= 0
    assert loop.mean_steps != loop.steps_per_puzzle, "one attempt and a schedule are measured apart"


def test_the_report_is_whole_in_every_form(report: BenchmarkReport, tmp_path: Path) -> None:
    document = json.loads(dumps(report.to_plain()))
    assert document["schema"] == 1
    assert document["puzzles"] == 20
    assert set(document["gemm_gflops"]) == {"fp32", "bf16"}
    assert set(document) == {
        "schema", "machine", "puzzles", "repeats", "max_steps", "halt_threshold", "step_gflop", "gemm_gflops", "rows",
        "commands",
    }  # fmt: skip
    assert document["machine"]["cores"] >= 1
    for row in document["rows"]:
        assert set(row) == set(KEYS)
        assert None not in row.values()
    text = report.table()
    assert "20 puzzles, up to 6 steps, halting threshold 0, 2 repeats" in text
    assert "1 repeat;" in replace(report, repeats=1).table()
    assert "share of limit: of the fastest matrix products" in text
    assert all(row.name in text for row in report.rows)
    assert "fastest for many puzzles: " in text
    assert re.search(r"^step +5 x 2,3 +[\d.]+% +[\d.]+ +[\d.]+ +\d+ +\d+%$", text, re.MULTILINE)
    assert re.search(r"^by schedule +verified +verified/s +steps +in vain +share of limit$", text, re.MULTILINE)
    report.write_png(tmp_path / "b.png")
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
    report.write(tmp_path / "r")
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == [
        "benchmark.png", "report.html", "report.json", "report.md",
    ]  # fmt: skip
    page = (tmp_path / "r" / "report.html").read_text()
    assert page.count("<table>") == 2
    assert all(page.count(f"<td>{row.name}</td>") == 2 for row in report.rows)
    assert 'src="data:image/png;base64,' in page


def test_files_are_measured_as_they_are(tmp_path: Path) -> None:
    graphs: tuple[Graph, ...] = ("step", "loop")
    for graph in graphs:
        onnx.save(exported("trm-mlp", graph), tmp_path / f"{graph}.onnx")
    only = ("step", "loop")
    report = benchmark_files([tmp_path / "step.onnx", tmp_path / "loop.onnx"], limit=5, repeats=1, batch=2, only=only)
    assert [(row.name, row.graph, row.batch) for row in report.rows] == [("step", "step", 2), ("loop", "loop", 2)]
    assert report.puzzles == 5
    assert report.fastest(alone=False).name in report.commands
    assert report.commands["loop"] == f"trm-deploy run -e {tmp_path / 'loop.onnx'} --runtime onnxruntime"
    assert [row.schedule for row in report.rows] == ["8 x 6", "8 x 6"], "the task's default, with the model's steps"


TORCH_FREE = """
import sys
for name in ("torch", "onnx"):
    sys.modules[name] = None
from trm_deploy.cli import main
main()
"""


def test_onnx_files_get_a_row_a_runtime_and_need_no_torch(tmp_path: Path) -> None:
    onnx.save(exported("trm-mlp", "step"), tmp_path / "s.onnx")
    result = subprocess.run(
        [sys.executable, "-c", TORCH_FREE, "benchmark", "s.onnx", "--limit", "3", "--repeats", "1", "--batch", "2",
         "--attempts", "4", "--attempt-steps", "1,2", "--budget", "5", "--no-speculate", "--json"],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    rows = {row["name"]: row for row in document["rows"]}
    assert rows["s"]["runtime"] == "ONNX Runtime"
    assert rows["s"]["schedule"] == "4 x 1,2, up to 5 steps"
    assert rows["s"]["speculative_steps"] == 0
    assert rows["s"]["steps_per_puzzle"] <= 5
    if not HAS_OPENVINO:
        assert "s-openvino-fp32 is left out: openvino is needed" in result.stderr
        return
    wide = rows["s-openvino-fp32"]
    assert (wide["runtime"], wide["precision"], wide["graph"]) == ("OpenVINO", "fp32", "step")
    assert (wide["verified"], wide["mean_steps"]) == (rows["s"]["verified"], rows["s"]["mean_steps"])
    assert document["commands"]["s-openvino-fp32"].endswith("--runtime openvino --precision fp32")
    if "s-openvino-bf16" in rows:
        assert rows["s-openvino-bf16"]["precision"] == "bf16"
        assert set(document["gemm_gflops"]) == {"fp32", "bf16"}


def test_a_checkpoint_is_measured_in_openvino(tiny_checkpoint: Path) -> None:
    pytest.importorskip("openvino", reason="type: pip install 'trm-deploy[openvino]'")
    only = ("ort-step-fp32", "openvino-step-fp32", "openvino-step-int8")
    report = benchmark_files([tiny_checkpoint], limit=3, repeats=1, batch=2, only=only)
    ours, theirs, int8 = report.rows
    assert (int8.runtime, int8.precision) == ("OpenVINO", "int8")
    assert report.commands["openvino-step-int8"].endswith(
        "--graph step --precision int8 --static-scales -o step-int8-static.onnx"
        " && trm-deploy run -e step-int8-static.onnx --runtime openvino"
    )
    assert [row.name for row in report.rows] == list(only)
    assert (theirs.runtime, theirs.precision, theirs.mean_steps) == ("OpenVINO", "fp32", ours.mean_steps)
    assert report.commands["openvino-step-fp32"].endswith(
        "trm-deploy run -e step-fp32.onnx --runtime openvino --precision fp32"
    )


def test_the_schedule_is_the_flags_then_the_records_then_the_tasks(tmp_path: Path) -> None:
    graphs: tuple[Graph, ...] = ("step", "unrolled")
    for graph in graphs:
        onnx.save(exported("trm-mlp", graph), tmp_path / f"{graph}.onnx")
    step, unrolled = tmp_path / "step.onnx", tmp_path / "unrolled.onnx"
    runtime = runtimes.load(step)
    files = [step, unrolled]
    candidate = Candidate("s", "ONNX Runtime", "step", runtime, "in-flight", (2,), path=step)
    made = replace(candidate, path=None)
    fixed = replace(candidate, runtime=runtimes.load(unrolled), way="batches", path=unrolled)
    steps = fixed.runtime.fixed_steps

    def words(row: Candidate, **flags: Any) -> str:
        found = schedule_in_force(row, files, PUZZLE, SolveOptions(**flags))
        return "" if found is None else found.in_words()

    assert words(candidate) == words(made) == "8 x 6"
    recorded = RecordedSchedule(attempts=9, attempt_steps=(2,), budget=11)
    record.write(step, replace(built(step, 0.0), graph="step", schedule=recorded))
    assert words(candidate) == words(made) == "9 x 2, up to 11 steps"
    assert words(candidate, attempts=3) == "3 x 6"
    assert words(candidate, attempt_steps=(1, 4), attempts=2) == "2 x 1,4"
    assert words(fixed) == f"8 x {steps}", "another file's steps are not an unrolled one's"
    with pytest.raises(InputError, match=f"{steps} steps"):
        words(fixed, attempt_steps=(1,))
    assert words(replace(candidate, way="fixed")) == ""


def test_a_published_checkpoint_is_measured(tmp_path: Path) -> None:
    model = random_model(tiny_spec("trm-mlp", architecture={"prefix_length": 0, "puzzle_embedding_size": 0}))
    folder = tmp_path / "published"
    folder.mkdir()
    path = write(folder, published_weights(model), *settings_of(model))
    only = ("torch-eager-fp32", "ort-step-fp32")
    overrides = ["task=sudoku-4x4"]
    report = benchmark_files([path], limit=3, repeats=1, batch=2, overrides=overrides, only=only)
    assert [row.name for row in report.rows] == list(only)
    assert f"trm-deploy export {path} --set task=sudoku-4x4 --graph step" in report.commands["ort-step-fp32"]


def test_what_a_machine_cannot_run_is_noted(tmp_path: Path) -> None:
    onnx.save(exported("trm-mlp", "step", precision="bf16"), tmp_path / "narrow.onnx")
    onnx.save(exported("trm-mlp", "step"), tmp_path / "step.onnx")
    only = ("narrow", "step")
    found = candidates([tmp_path / "narrow.onnx", tmp_path / "step.onnx"], folder=tmp_path, only=only)
    assert [candidate.name for candidate in found.found] == ["step"]
    assert found.notes[0].startswith("narrow is left out: ")
    with pytest.raises(CannotRunHere, match="nothing of this can run here; narrow is left out"):
        candidates([tmp_path / "narrow.onnx"], folder=tmp_path)


def test_the_threshold_in_force_is_the_flags_then_a_records_then_the_models(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec = tiny_spec("trm-mlp", halting={"threshold": 0.5})
    files = [tmp_path / "a.onnx", tmp_path / "b.onnx", tmp_path / "c.onnx"]
    for path, threshold in zip(files, (None, 1.5, 2.5)):
        path.write_bytes(b"artefact")
        if threshold is not None:
            record.write(path, built(path, threshold))
    assert threshold_in_force(None, files[:1], spec) == 0.5
    assert threshold_in_force(None, files[:2], spec) == 1.5
    assert threshold_in_force(3.0, files, spec) == 3.0
    assert caplog.text == ""
    assert threshold_in_force(None, files, spec) == 1.5
    assert "b.onnx.json has the halting threshold 1.5, c.onnx.json has 2.5: all are run at 1.5" in caplog.text


def built(path: Path, threshold: float) -> record.BuildRecord:
    return record.BuildRecord(
        graph="loop", precision="fp32", precision_source="network", checkpoint_sha256="", opset=20, ir_version=10,
        versions={}, artefact_sha256=sha256(path), halting_threshold=threshold,
    )  # fmt: skip


def row(name: str, **values: Any) -> Row:
    usual: dict[str, Any] = {key: 1.0 for key in KEYS} | {"name": name}
    return Row(**(usual | values))


def test_what_is_fast_by_being_wrong_is_not_recommended(report: BenchmarkReport) -> None:
    rows = [
        row("published", solved=0.800, verified=0.800),
        row("wrong", solved=0.789, verified=0.979, verified_per_second=99.0, latency_ms_p50=0.1),
        row("right", solved=0.791, verified=0.981, verified_per_second=2.0, latency_ms_p50=0.5),
        row("best", solved=0.791, verified=0.990),
    ]
    other = replace(report, rows=rows)
    assert other.fastest(alone=True).name == other.fastest(alone=False).name == "right"


def test_the_limit_is_measured_on_the_models_own_shapes() -> None:
    rates = gemm_gflops(tiny_spec("trm-att"))
    assert all(0.01 < rate < 1e5 for rate in rates.values())


def test_files_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    onnx.save(exported("trm-mlp", "loop"), tmp_path / "a.onnx")
    onnx.save(exported("trm-att", "loop"), tmp_path / "b.onnx")
    with pytest.raises(ArtefactError, match="are of different models"):
        candidates([tmp_path / "a.onnx", tmp_path / "b.onnx"], folder=tmp_path)
    with pytest.raises(InputError, match="a: two engines have this name"):
        candidates([tmp_path / "a.onnx", tmp_path / "a.onnx"], folder=tmp_path)
    (note,) = candidates([tmp_path / "a.onnx"], folder=tmp_path).notes
    assert "a.onnx has no step form" in note
    with pytest.raises(InputError, match="--only b: there is no such row, expected one of a"):
        candidates([tmp_path / "a.onnx"], folder=tmp_path, only=["b"])
    (tmp_path / "none.txt").write_text("# none\n")
    with pytest.raises(InputError, match="holds no puzzle"):
        benchmark_files([tmp_path / "a.onnx"], puzzles=str(tmp_path / "none.txt"))
