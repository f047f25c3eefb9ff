"""The benchmark counts what it claims to count, and calls nothing fast that is wrong."""

from __future__ import annotations

import json
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
from tests.conftest import Graph, exported, random_model, tiny_spec
from trm_deploy import puzzles, runtimes
from trm_deploy.artefacts import record
from trm_deploy.errors import ArtefactError, CannotRunHere, InputError
from trm_deploy.evaluation.benchmark.candidates import Candidate, Way, candidates
from trm_deploy.evaluation.benchmark.files import benchmark_files
from trm_deploy.evaluation.benchmark.limit import gemm_gflops
from trm_deploy.evaluation.benchmark.measure import BenchmarkSettings, benchmark
from trm_deploy.evaluation.benchmark.report import BenchmarkReport, Row
from trm_deploy.evaluation.threshold import threshold_in_force
from trm_deploy.flops import step_flops
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.runtimes.backends.pytorch import TorchRuntime
from trm_deploy.support.files import sha256
from trm_deploy.support.jsontext import dumps

PUZZLE = puzzles.get("sudoku-4x4")
QUESTIONS = np.resize(PUZZLE.examples(), (20, 16)).astype(np.int32)
SETTINGS = BenchmarkSettings(repeats=2, latency_puzzles=3, max_steps=6)
# What other programs read; see the class for what each is.
KEYS = (
    "name", "runtime", "graph", "precision", "batch", "latency_ms_p50", "latency_ms_p95", "puzzles_per_second",
    "spread", "solved", "mean_steps", "limit_share",
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


def test_the_report_is_whole_in_every_form(report: BenchmarkReport, tmp_path: Path) -> None:
    document = json.loads(dumps(report.to_plain()))
    assert document["schema"] == 1
    assert document["puzzles"] == 20
    assert set(document["gemm_gflops"]) == {"fp32", "bf16"}
    assert document["machine"]["cores"] >= 1
    for row in document["rows"]:
        assert [row[key] for key in KEYS if row[key] is None] == []
    text = report.table()
    assert "20 puzzles, up to 6 steps, halting threshold 0, 2 repeats" in text
    assert "1 repeat;" in replace(report, repeats=1).table()
    assert "share of limit: of the fastest matrix products" in text
    assert all(row.name in text for row in report.rows)
    assert "fastest for many puzzles: " in text
    report.write_png(tmp_path / "b.png")
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")


def test_files_are_measured_as_they_are(tmp_path: Path) -> None:
    graphs: tuple[Graph, ...] = ("step", "loop")
    for graph in graphs:
        onnx.save(exported("trm-mlp", graph), tmp_path / f"{graph}.onnx")
    report = benchmark_files([tmp_path / "step.onnx", tmp_path / "loop.onnx"], limit=5, repeats=1, batch=2)
    assert [(row.name, row.graph, row.batch) for row in report.rows] == [("step", "step", 2), ("loop", "loop", 2)]
    assert report.puzzles == 5
    assert report.fastest(alone=False).name in report.commands


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
    found = candidates([tmp_path / "narrow.onnx", tmp_path / "step.onnx"], folder=tmp_path)
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
    usual: dict[str, Any] = {key: 1.0 for key in KEYS} | {"limit_share_alone": 1.0, "name": name}
    return Row(**(usual | values))


def test_what_is_fast_by_being_wrong_is_not_recommended(report: BenchmarkReport) -> None:
    rows = [
        row("published", solved=0.800),
        row("wrong", solved=0.789, puzzles_per_second=99.0, latency_ms_p50=0.1),
        row("right", solved=0.791, puzzles_per_second=2.0, latency_ms_p50=0.5),
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
