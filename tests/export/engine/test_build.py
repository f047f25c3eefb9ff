"""Engines built for real with TensorRT for RTX, which needs no GPU for that; and with stand-ins for TensorRT."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import helper

from tests import stand_ins
from tests.conftest import GRAPHS, PRECISIONS, PRESETS, Graph, exported
from trm_deploy.artefacts import onnx_file, record
from trm_deploy.artefacts.onnx_file import PRECISION_KEY
from trm_deploy.errors import ArtefactError, CannotRunHere, InputError, MissingPackage, TrmDeployError
from trm_deploy.export.engine.build import build_engine
from trm_deploy.export.engine.options import BatchProfile, BuilderOptions, EngineOptions
from trm_deploy.export.engine.targets import target
from trm_deploy.inspection import artefact as inspection
from trm_deploy.signature import Precision
from trm_deploy.support import machine
from trm_deploy.support.machine import Gpu
from trm_deploy.trt import flavours
from trm_deploy.trt import plan_file as plans
from trm_deploy.trt.precision import precision_of

RTX = EngineOptions(format="rtx", batch=BatchProfile(1, 4, 8), compute_capabilities=("8.6",))
TRT = EngineOptions(format="trt", batch=BatchProfile(1, 4, 8))


def saved(folder: Path, name: str, graph: Graph, precision: Precision = "fp16") -> Path:
    path = folder / f"{name}.onnx"
    onnx.save(exported(name, graph, steps=2 if graph == "unrolled" else None, precision=precision), path)
    return path


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    module = stand_ins.tensorrt(getattr(request, "param", "10.3"), stand_ins.Cuda())
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    monkeypatch.setattr(machine, "gpu", lambda: Gpu("Stand-in", "8.7"))
    return module


class TestRtx:
    @pytest.mark.parametrize("precision", PRECISIONS)
    @pytest.mark.parametrize("graph", GRAPHS)
    @pytest.mark.parametrize("preset", PRESETS)
    def test_every_form_builds(self, preset: str, graph: Graph, precision: Precision, tmp_path: Path) -> None:
        output = tmp_path / "s.plan"
        built = build_engine(saved(tmp_path, preset, graph, precision), output, RTX)
        plan = plans.read(output)
        assert (plan.flavour.format, plan.graph) == ("rtx", graph)
        assert plan.spec == onnx_file.read(tmp_path / f"{preset}.onnx").spec
        assert (built.precision, built.precision_source, built.batch) == (precision, "network", "1:4:8")
        assert built.compute_capabilities == ("8.6",)
        assert record.read(output) == built
        assert output.read_bytes()[:4] == b"vtrt"  # the plan alone, with nothing before it

    def test_unknown_compute_capability(self, tmp_path: Path) -> None:
        settings = EngineOptions(format="rtx", batch=BatchProfile(1, 1, 1), compute_capabilities=("9.0",))
        with pytest.raises(CannotRunHere, match=r"no engine for compute capability 9\.0, expected one of 7\.5"):
            build_engine(saved(tmp_path, "trm-mlp", "loop"), tmp_path / "s.plan", settings)
        assert not (tmp_path / "s.plan").exists()

    def test_several_compute_capabilities(self, tmp_path: Path) -> None:
        settings = EngineOptions(format="rtx", batch=BatchProfile(1, 1, 1), compute_capabilities=("8.6", "12.0"))
        assert build_engine(saved(tmp_path, "trm-mlp", "loop"), tmp_path / "s.plan", settings).compute_capabilities == (
            "8.6",
            "12.0",
        )

    def test_inspect_reads_a_plan_without_a_gpu(self, tmp_path: Path) -> None:
        output = tmp_path / "s.plan"
        build_engine(saved(tmp_path, "trm-mlp", "unrolled"), output, RTX)
        seen = inspection.inspect(output)
        assert seen["kind"] == "TensorRT for RTX plan"
        assert seen["graph"] == "unrolled, 2 steps"
        assert seen["precision"] == "fp16 (by the network)"
        assert seen["task"] == "sudoku-4x4"
        assert flavours.load(flavours.FLAVOURS["rtx"], purpose="").__version__ in seen["built_by"]
        record.path_of(output).unlink()
        seen = inspection.inspect(output)
        assert (seen["graph"], seen["build_record"]) == ("unrolled", "none beside it")

    def test_a_graph_that_is_not_what_it_says(self, tmp_path: Path) -> None:
        path = tmp_path / "wrong.onnx"
        model = onnx.ModelProto()
        model.CopyFrom(exported("trm-mlp", "loop"))
        props = {prop.key: prop.value for prop in model.metadata_props} | {PRECISION_KEY: "fp16"}
        helper.set_model_props(model, props)
        onnx.save(model, path)
        with pytest.raises(TrmDeployError, match=r"says fp16, but .* of its .* matrix products are FLOAT"):
            build_engine(path, tmp_path / "s.plan", RTX)
        assert not (tmp_path / "s.plan").exists()

    def test_an_operator_that_no_parser_knows(self, tmp_path: Path) -> None:
        path = tmp_path / "odd.onnx"
        model = onnx.ModelProto()
        model.CopyFrom(exported("trm-mlp", "loop"))
        node = next(node for node in model.graph.node if node.op_type != "Constant")
        node.op_type, node.name = "NoSuchOperator", "odd_one"
        onnx.save(model, path)
        with pytest.raises(ArtefactError, match=r"cannot parse it at node .*odd_one.*NoSuchOperator"):
            build_engine(path, tmp_path / "s.plan", RTX)

    def test_a_truncated_onnx_file(self, tmp_path: Path) -> None:
        path = saved(tmp_path, "trm-mlp", "loop")
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(ArtefactError):
            build_engine(path, tmp_path / "s.plan", RTX)

    def test_a_full_disk_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        source = saved(tmp_path, "trm-mlp", "loop")

        def full(self: Path, data: Any) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_bytes", full)
        with pytest.raises(TrmDeployError, match="No space left on device"):
            build_engine(source, tmp_path / "s.plan", RTX)
        assert {entry.name for entry in tmp_path.iterdir()} == {"trm-mlp.onnx"}

    def test_needs_neither_torch_nor_onnx(self, tmp_path: Path) -> None:
        source = saved(tmp_path, "trm-mlp", "loop")
        code = (
            "import sys\n"
            "for name in ('torch', 'onnx', 'onnxscript', 'onnxruntime'): sys.modules[name] = None\n"
            "from trm_deploy.cli import main\n"
            "main()\n"
        )
        command = ["export", str(source), "--format", "rtx", "--compute-capability", "8.9", "-o", "out.plan"]
        done = subprocess.run([sys.executable, "-c", code, *command], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert plans.read(tmp_path / "out.plan").graph == "loop"


class TestTensorRt:
    """With stand-ins: that the calls fit both versions' APIs, not what an engine computes."""

    @pytest.mark.parametrize("graph", GRAPHS)
    @pytest.mark.parametrize("trt", ["10.3", "11"], indirect=True)
    def test_builds_with_both_versions(self, trt: Any, graph: Graph, tmp_path: Path) -> None:
        built = build_engine(saved(tmp_path, "trm-mlp", graph), tmp_path / "s.plan", TRT)
        assert (built.precision, built.precision_source) == ("fp16", "engine")
        assert (built.device, built.compute_capabilities) == ("Stand-in", ("8.7",))
        plan = plans.read(tmp_path / "s.plan")
        assert (plan.version, plan.graph) == (trt.__version__, graph)

    @pytest.mark.parametrize("trt", ["10.3", "11"], indirect=True)
    def test_every_setting_reaches_the_builder(self, trt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        configs: list[Any] = []
        make = trt.Builder.create_builder_config

        def noting(builder: Any) -> Any:
            configs.append(make(builder))
            return configs[-1]

        monkeypatch.setattr(trt.Builder, "create_builder_config", noting)
        options = BuilderOptions(
            workspace_mib=64,
            opt_level=2,
            timing_cache=tmp_path / "timings",
            version_compatible=True,
            hardware_compatible=True,
            max_aux_streams=1,
        )
        settings = EngineOptions("trt", BatchProfile(2, 3, 5), options)
        built = build_engine(saved(tmp_path, "trm-mlp", "loop"), tmp_path / "s.plan", settings)
        (config,) = configs
        assert config.pools == {"workspace": 64 << 20}
        assert (config.builder_optimization_level, config.max_aux_streams) == (2, 1)
        assert config.flags == {trt.BuilderFlag.VERSION_COMPATIBLE}
        assert config.hardware_compatibility_level == "ampere+"
        assert config.profile.shapes == {"tokens": ((2, 16), (3, 16), (5, 16))}
        assert (built.version_compatible, built.hardware_compatible) == (True, True)
        assert (tmp_path / "timings").read_bytes() == b"timings"
        flags = "--workspace 64 --opt-level 2 --version-compatible --hardware-compatible --max-aux-streams 1"
        assert built.command == f"trm-deploy export trm-mlp.onnx --format trt --batch 2:3:5 {flags} -o s.plan"

    def test_an_engine_for_another_gpu_than_this_one(self, trt: Any, tmp_path: Path) -> None:
        source = saved(tmp_path, "trm-mlp", "loop")
        build_engine(source, tmp_path / "s.plan", TRT, target=target("jetson-agx-orin"))
        with pytest.raises(CannotRunHere) as raised:
            build_engine(source, tmp_path / "t.plan", TRT, target=target("h100"))
        assert "an engine for H100 (compute capability 9.0) is built on it" in str(raised.value)
        assert "type there: trm-deploy export trm-mlp.onnx --format trt --batch 1:4:8 -o t.plan" in str(raised.value)

    def test_a_release_that_is_too_old(self, trt: Any, tmp_path: Path) -> None:
        trt.__version__ = "8.6.1"
        with pytest.raises(CannotRunHere, match=r"TensorRT 8\.6\.1 is too old .*, expected 10\.3 or newer"):
            build_engine(saved(tmp_path, "trm-mlp", "loop"), tmp_path / "s.plan", TRT)

    def test_a_foreign_timing_cache(self, trt: Any, tmp_path: Path) -> None:
        (tmp_path / "timings").write_bytes(b"foreign")
        settings = EngineOptions("trt", BatchProfile(1, 1, 1), BuilderOptions(timing_cache=tmp_path / "timings"))
        with pytest.raises(ArtefactError, match="timings: is not a timing cache"):
            build_engine(saved(tmp_path, "trm-mlp", "loop"), tmp_path / "s.plan", settings)

    def test_no_gpu(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setitem(sys.modules, "tensorrt", stand_ins.tensorrt("10.3", stand_ins.Cuda(), gpu=False))
        with pytest.raises(CannotRunHere) as raised:
            build_engine(saved(tmp_path, "trm-mlp", "loop"), tmp_path / "s.plan", TRT)
        assert "cannot start here (CUDA initialization failure" in str(raised.value)
        assert "type on the device: trm-deploy export trm-mlp.onnx --format trt --batch 1:4:8 -o s.plan" in str(
            raised.value
        )

    def test_no_tensorrt(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setitem(sys.modules, "tensorrt", None)
        with pytest.raises(MissingPackage) as raised:
            build_engine(saved(tmp_path, "trm-mlp", "loop"), tmp_path / "s.plan", TRT)
        message = str(raised.value)
        assert "pip install 'trm-deploy[tensorrt]'" in message
        assert "NVIDIA's own package index" in message
        assert "type on the device: trm-deploy export trm-mlp.onnx --format trt --batch 1:4:8 -o s.plan" in message

    @pytest.mark.parametrize("version", list(stand_ins.VERSIONS))
    def test_an_engine_that_came_out_in_another_precision(
        self, version: str, trt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        module = stand_ins.tensorrt(version, stand_ins.Cuda(), downgrades=True)
        monkeypatch.setitem(sys.modules, "tensorrt", module)
        with pytest.raises(TrmDeployError, match="the graph is in fp16, but the layers of the engine compute in fp32"):
            build_engine(saved(tmp_path, "trm-mlp", "loop"), tmp_path / "s.plan", TRT)
        assert not (tmp_path / "s.plan").exists()

    def test_a_failing_check_leaves_no_plan(self, trt: Any, tmp_path: Path) -> None:
        def check(plan: Path) -> dict[str, Any]:
            raise TrmDeployError(f"parity fails for {plans.read(plan).graph}")

        with pytest.raises(TrmDeployError, match="parity fails for loop"):
            build_engine(saved(tmp_path, "trm-mlp", "loop"), tmp_path / "s.plan", TRT, check=check)
        assert not (tmp_path / "s.plan").exists()


GEMM = '"LayerType": "gemm", "Name": "matmul_3"'


@pytest.mark.parametrize(
    ("text", "precision"),
    [
        (f'{{"Layers": [{{{GEMM}, "Inputs": [{{"Name": "a", "Format/Datatype": "Half"}}]}}]}}', "fp16"),
        (f'{{"Layers": [{{{GEMM}, "Inputs": [{{"Name": "a", "DataType": "Float"}}]}}]}}', "fp32"),
        # The engine's own inputs and outputs say nothing of what happens between them.
        (f'{{"Layers": [{{{GEMM}, "Inputs": [{{"Name": "y", "DataType": "Half"}}]}}]}}', None),
        # A fused layer whose inside is hidden.
        ('{"Layers": [{"Name": "ForeignNode", "Inputs": [{"Name": "a", "DataType": "Float"}]}]}', None),
        ('{"Layers": [{"Name": "ForeignNode", "Inputs": [{"Name": "a", "DataType": "Half"}]}]}', "fp16"),
        ('{"Layers": ["only", "names"], "Bindings": []}', None),
        ("no json", None),
        (None, None),
    ],
)
def test_precision_of(text: str | None, precision: str | None) -> None:
    assert precision_of(text, {"y", "z"}) == precision


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("8:4:16", "expected 1 <= MIN <= OPT <= MAX"),
        ("0:1:2", "expected 1 <= MIN <= OPT <= MAX"),
        ("1:2", "expected MIN:OPT:MAX"),
        ("a:b:c", "expected MIN:OPT:MAX"),
        ("", "expected MIN:OPT:MAX"),
    ],
)
def test_malformed_profiles(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        BatchProfile.parse(text)


def test_profiles() -> None:
    assert BatchProfile.parse("1:8:64") == BatchProfile(1, 8, 64)
    assert str(BatchProfile.parse("4")) == "4:4:4"
