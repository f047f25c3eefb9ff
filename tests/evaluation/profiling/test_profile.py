"""Profiles of tiny models in each runtime: what is attributed, what adds up, and what is refused."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import cuda.bindings
import numpy as np
import onnx
import pytest

from tests import stand_ins
from tests.conftest import GRAPHS, Graph, exported, random_model, tiny_spec
from trm_deploy import checkpoints
from trm_deploy.artefacts import layer_groups, onnx_graph
from trm_deploy.artefacts.layer_groups import CHANNELS, EMBEDDING, HEADS, NORMS, RECURSION, TOKENS, Place
from trm_deploy.checkpoints import Checkpoint
from trm_deploy.cli import main
from trm_deploy.errors import CannotRunHere
from trm_deploy.evaluation.profiling import measure
from trm_deploy.evaluation.profiling.attribution import UNKNOWN, groups_of, operator_of
from trm_deploy.evaluation.profiling.report import HOST, ProfileReport
from trm_deploy.export.engine.build import build_engine
from trm_deploy.export.engine.options import BatchProfile, EngineOptions
from trm_deploy.runtimes import registry
from trm_deploy.runtimes.base import LoadOptions
from trm_deploy.runtimes.profiling import ov
from trm_deploy.runtimes.profiling.base import Layer
from trm_deploy.runtimes.profiling.ort import runs_of
from trm_deploy.signature import Precision
from trm_deploy.support import machine
from trm_deploy.support.machine import Gpu

OV = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="needs OpenVINO")
MODEL_GROUPS = {EMBEDDING, TOKENS, CHANNELS, NORMS, HEADS, RECURSION}


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "MOST", 3)
    monkeypatch.setattr(ov, "ROUNDS", 1)
    monkeypatch.setattr(ov, "TURNS", 3)


def saved(folder: Path, name: str, graph: Graph, precision: Precision = "fp32") -> Path:
    path = folder / "m.onnx"
    onnx.save(exported(name, graph, steps=2 if graph == "unrolled" else None, precision=precision), path)
    return path


def checked(report: ProfileReport) -> dict[str, set[str]]:
    """Operators of each group, of a report that adds up."""
    groups = {group.name: group for group in report.groups}
    assert sum(group.milliseconds for group in report.groups) == pytest.approx(report.step_ms)
    assert sum(group.share for group in report.groups) == pytest.approx(1)
    assert list(groups)[-1] == HOST
    for group in report.groups[:-1]:
        assert sum(operator.milliseconds for operator in group.operators) == pytest.approx(group.milliseconds)
    assert report.step_ms_unprofiled > 0
    return {name: {operator.name for operator in group.operators} for name, group in groups.items()}


@pytest.mark.parametrize(
    ("graph", "precision"),
    [("step", "fp32"), ("loop", "fp32"), ("unrolled", "fp32"), ("loop", "fp16"), ("step", "int8")],
)
def test_onnx_runtime(name: str, graph: Graph, precision: Precision, tmp_path: Path) -> None:
    report = measure.profile_file(saved(tmp_path, name, graph, precision), "onnxruntime", batch=2)
    found = checked(report)
    # ONNX Runtime's casts around float16, fused products and activations included: nothing is left over.
    assert found.keys() - {UNKNOWN} == MODEL_GROUPS | {HOST}
    assert next((group.share for group in report.groups if group.name == UNKNOWN), 0) < 0.05
    size = tiny_spec(name).architecture.hidden_size
    assert any(f" {size}x" in operator for operator in found[CHANNELS])
    # It computes the softmax of float16 in single operators.
    assert bool({"Softmax", "Exp"} & found[TOKENS]) == (name != "trm-mlp")
    assert "Loop" not in found[TOKENS] | found[CHANNELS] | found[HEADS]
    assert report.steps == 2 * {"step": 1, "loop": 4, "unrolled": 2}[graph]


@OV
@pytest.mark.parametrize("graph", GRAPHS)
def test_openvino_sees_into_loops(name: str, graph: Graph, tmp_path: Path) -> None:
    path = saved(tmp_path, name, graph)
    profiler = registry.get("openvino").open_profiler(path, LoadOptions())
    _, run = measure._runner(profiler.runtime, 2)
    measured, *_ = profiler.measure(run, 2)
    # Most nodes of so small a model take less than its counters show; what they belong to is known all the same.
    groups = groups_of(list(measured.layers), layer_groups.places(onnx_graph.read(path)))
    norms = {group for layer, group in groups.items() if layer.operator == "RMS"}
    assert norms == {NORMS}
    assert sum(spent > 0 for spent in measured.layers.values()) > 5
    if graph != "loop":
        assert any("Loop" in layer.operator for layer in groups) == (graph == "step")
        return
    found = checked(measure.profile_file(path, "openvino", batch=2))
    assert {TOKENS, CHANNELS, RECURSION} <= found.keys()
    size = tiny_spec(name).architecture.hidden_size
    assert any(f"FullyConnected {size}x" in operator for operator in found[CHANNELS])
    assert "Loop" in found[RECURSION]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_pytorch(name: str, precision: Precision, tmp_path: Path) -> None:
    model = random_model(tiny_spec(name))
    path = tmp_path / "m.pt"
    checkpoints.save(path, Checkpoint(model.spec, model.state_dict(), {"steps": 0, "recipe": "", "seed": 0}))
    report = measure.profile_file(path, batch=2, options=LoadOptions(precision=precision))
    found = checked(report)
    assert found.keys() == MODEL_GROUPS | {HOST}
    assert "rsqrt" in found[NORMS]
    assert not {"mm", "addmm", "bmm"} & found[NORMS]
    assert "silu" in found[CHANNELS]
    assert "rsqrt" not in found[TOKENS] | found[CHANNELS] | found[RECURSION]
    assert "embedding" in found[EMBEDDING]
    assert ("silu" in found[TOKENS]) == (name == "trm-mlp")


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("beside", [True, False])
def test_tensorrt(graph: Graph, beside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With stand-ins, whose profiler reports the names that TensorRT's parser gives."""
    api = stand_ins.Cuda()
    monkeypatch.setitem(sys.modules, "tensorrt", stand_ins.tensorrt("10.3", api))
    monkeypatch.setattr(cuda.bindings, "runtime", api, raising=False)
    monkeypatch.setattr(machine, "gpu", lambda: Gpu("Stand-in", "8.7"))
    source, output = saved(tmp_path, "trm-mlp", graph), tmp_path / "m.plan"
    build_engine(source, output, EngineOptions(format="trt", batch=BatchProfile.parse("1:2:4")))
    if not beside:
        source.unlink()
    report = measure.profile_file(output, batch=2)
    found = checked(report)
    if beside:
        fused = f"{TOKENS} + {CHANNELS} + {NORMS}"
        assert found.keys() == MODEL_GROUPS | {fused, UNKNOWN, HOST}
        assert any("fused across layer groups" in note for note in report.notes)
    else:
        assert found.keys() == {UNKNOWN, HOST}
        assert f"copy it to {source}" in report.table()


def test_a_layer_of_the_runtime_alone_belongs_to_what_it_serves() -> None:
    places = {"a": Place(TOKENS), "b": Place(CHANNELS, (4, 8)), "e": Place(TOKENS), "f": Place(CHANNELS)}
    first = Layer("a", "MatMul", ("a",))
    second = Layer("b", "FullyConnected", ("b",), ("reordered",))
    reorder = Layer("r", "Reorder", ("reordered",), ("cast",))
    cast = Layer("c", "Cast", ("cast",), ("a",))
    after = Layer("d", "Copy", ("d",), ("b",))
    both = Layer("f", "Subgraph", ("e", "f"))
    stray = Layer("s", "Memcpy", ("s",), ("t",))
    found = groups_of([first, second, reorder, cast, after, both, stray], places)
    assert found == {
        first: TOKENS,
        second: CHANNELS,
        reorder: CHANNELS,
        cast: CHANNELS,
        after: CHANNELS,
        both: f"{TOKENS} + {CHANNELS}",
        stray: UNKNOWN,
    }
    assert operator_of(second, places) == "FullyConnected 4x8"


def test_events_in_another_order_are_not_guessed(tmp_path: Path) -> None:
    def event(operator: str) -> dict[str, object]:
        return {"cat": "Node", "name": f"{operator}_kernel_time", "dur": 5, "args": {"op_name": operator}}

    graph = onnx_graph.read(saved(tmp_path, "trm-mlp", "step"))
    (times,) = runs_of([event("MatMul"), event("Loop"), {"cat": "Session", "name": "model_run"}], graph)
    assert times == {Layer("MatMul", "MatMul"): 0.005}
    assert set(groups_of(list(times), {}).values()) == {UNKNOWN}


def trm(monkeypatch: pytest.MonkeyPatch, words: Sequence[object]) -> int:
    monkeypatch.setattr(sys, "argv", ["trm-deploy", "profile", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    path, png = saved(tmp_path, "trm-mlp", "step"), tmp_path / "p.png"
    monkeypatch.setitem(sys.modules, "torch", None)
    assert trm(monkeypatch, [path, "--runtime", "onnxruntime", "--json", "--png", png]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["batch"], document["backend"]) == (1, 1, "onnxruntime")
    assert png.read_bytes()[:4] == b"\x89PNG"
    assert trm(monkeypatch, [path, "--runtime", "onnxruntime", "--batch", 3]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("a supervision step of 3 puzzles: ")
    assert [line.split("  ")[0].strip() for line in lines[4:10]] == [
        EMBEDDING,
        TOKENS,
        CHANNELS,
        NORMS,
        HEADS,
        RECURSION,
    ]


def test_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path, "trm-mlp", "step")

    def error(code: int, *words: object) -> str:
        assert trm(monkeypatch, words) == code
        return capsys.readouterr().err

    assert "has no profiler; use --runtime onnxruntime or openvino" in error(2, path, "--runtime", "trt-network")
    assert "does not read it" in error(2, path, "--runtime", "tensorrt")
    assert "--precision applies to checkpoints" in error(2, path, "--runtime", "onnxruntime", "--precision", "bf16")
    assert "there is no such file" in error(2, tmp_path / "none.onnx")
    assert "CUDAExecutionProvider" in error(4, path, "--device", "cuda")
    with pytest.raises(CannotRunHere, match="times how long kernels take to launch on a GPU"):
        registry.get("onnxruntime").open_profiler(path, LoadOptions("cuda"))
    (tmp_path / "t.txt").write_text("hello\n")
    assert "is text" in error(2, tmp_path / "t.txt")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "onnxruntime is needed" in error(4, path, "--runtime", "onnxruntime")


def test_a_batch_that_an_engine_does_not_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = stand_ins.Cuda()
    monkeypatch.setitem(sys.modules, "tensorrt", stand_ins.tensorrt("11", api))
    monkeypatch.setattr(cuda.bindings, "runtime", api, raising=False)
    monkeypatch.setattr(machine, "gpu", lambda: Gpu("Stand-in", "8.7"))
    output = tmp_path / "m.plan"
    build_engine(
        saved(tmp_path, "trm-mlp", "step"), output, EngineOptions(format="trt", batch=BatchProfile.parse("1:2:4"))
    )
    with pytest.raises(Exception, match=r"--batch is 5, and .*m\.plan takes up to 4; use --batch 4"):
        measure.profile_file(output, batch=5)
    assert np.isfinite(measure.profile_file(output, batch=4).step_ms)
