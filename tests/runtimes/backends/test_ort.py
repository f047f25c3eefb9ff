"""ONNX Runtime: which files it takes, and what it says of those that it does not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.conftest import GRAPHS, exported
from trm_deploy import runtimes
from trm_deploy.errors import ArtefactError, CannotRunHere, MissingPackage
from trm_deploy.runtimes import StepRuntime
from trm_deploy.runtimes.backends import ort
from trm_deploy.runtimes.base import LoadOptions, initial_numpy_state
from trm_deploy.support import machine

TOKENS = np.random.default_rng(0).integers(1, 6, (3, 16)).astype(np.int32)


@pytest.fixture(scope="module")
def artefacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("onnx")
    for graph in GRAPHS:
        onnx.save(exported("trm-mlp", graph), folder / f"{graph}.onnx")
    return {graph: folder / f"{graph}.onnx" for graph in GRAPHS}


def test_what_it_says_of_itself(artefacts: dict[str, Path]) -> None:
    runtime = ort.load(artefacts["unrolled"], LoadOptions())
    assert (runtime.backend, runtime.graph, runtime.fixed_steps) == ("onnxruntime", "unrolled", 6)
    assert runtime.description == "ONNX Runtime unrolled fp32"
    assert runtime.details() == {
        "graph": "unrolled, 6 steps",
        "precision": "fp32",
        "inputs": ["tokens tensor(int32) ['batch', 16]", "halt_threshold tensor(float) []"],
        "outputs": [
            "answer tensor(int32) ['batch', 16]",
            "steps tensor(int32) ['batch']",
            "halt_logit tensor(float) ['batch']",
            "logits tensor(float) ['batch', 16, 6]",
        ],
    }


def test_the_state_of_a_step_stays_where_it_is(artefacts: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = runtimes.load(artefacts["step"])
    assert isinstance(runtime, StepRuntime)
    reset = np.ones(3, bool)
    first = runtime.step(TOKENS, reset, *initial_numpy_state(runtime.spec, 3))
    copied = runtime.step(TOKENS, ~reset, np.asarray(first.y), np.asarray(first.z))
    read: list[object] = []
    to_host = ort.OnDevice.__array__

    def count(value: ort.OnDevice, *arguments: Any, **options: Any) -> Any:
        read.append(value)
        return to_host(value, *arguments, **options)

    monkeypatch.setattr(ort.OnDevice, "__array__", count)
    passed_on = runtime.step(TOKENS, ~reset, first.y, first.z)
    assert len(read) == 1, "the halting logits, and neither state nor answer"
    np.testing.assert_array_equal(passed_on.halt_logit, copied.halt_logit)
    np.testing.assert_array_equal(np.asarray(passed_on.logits), np.asarray(copied.logits))


def test_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ort.arithmetic_of("fp32", "cpu") == "fp32"
    assert ort.arithmetic_of("fp16", "cpu") == "fp32 between casts"
    assert ort.arithmetic_of("fp16", "cuda") == "fp16"
    monkeypatch.setattr(machine, "has_int8_dot_products", lambda: False)
    assert ort.arithmetic_of("int8", "cpu") == "int8 with saturating sums (this processor lacks VNNI)"


def test_bfloat16_is_refused_on_a_cpu(tmp_path: Path) -> None:
    onnx.save(exported("trm-mlp", "step", precision="bf16"), tmp_path / "s.onnx")
    with pytest.raises(CannotRunHere, match=r"s\.onnx: is in bf16, which ONNX Runtime does not compute on CPUs"):
        runtimes.load(tmp_path / "s.onnx")


def test_without_onnxruntime(artefacts: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingPackage, match=r"pip install 'trm-deploy\[onnx\]'"):
        runtimes.load(artefacts["loop"])


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("graph", GRAPHS)
def test_a_truncated_onnx_file_is_refused(artefacts: dict[str, Path], tmp_path: Path, graph: str, share: float) -> None:
    data = artefacts[graph].read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ArtefactError, match=r"cut.onnx: is (not an ONNX model|an ONNX file without)"):
        runtimes.load(path)


def foreign(tmp_path: Path, **metadata: str) -> Path:
    node = helper.make_node("Identity", ["x"], ["y"])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    model = helper.make_model(
        helper.make_graph([node], "g", [x], [y]), ir_version=10, opset_imports=[helper.make_opsetid("", 20)]
    )
    helper.set_model_props(model, {key.replace("__", "."): value for key, value in metadata.items()})
    path = tmp_path / "foreign.onnx"
    onnx.save(model, path)
    return path


def test_foreign_files_are_refused(tmp_path: Path, artefacts: dict[str, Path]) -> None:
    with pytest.raises(ArtefactError, match="without the metadata entry"):
        runtimes.load(foreign(tmp_path))
    with pytest.raises(ArtefactError, match="no valid JSON"):
        runtimes.load(foreign(tmp_path, trm_deploy__spec="{"))
    spec = runtimes.load(artefacts["loop"]).spec.to_json()
    with pytest.raises(ArtefactError, match=r"'trm_deploy.graph' is '', expected one of loop, step, unrolled"):
        runtimes.load(foreign(tmp_path, trm_deploy__spec=spec))
    named = {"trm_deploy__spec": spec, "trm_deploy__graph": "loop", "trm_deploy__precision": "fp12"}
    with pytest.raises(ArtefactError, match=r"has the precision 'fp12', expected one of fp32, fp16, bf16, int8"):
        runtimes.load(foreign(tmp_path, **named))
    with pytest.raises(ArtefactError, match=r"the graph has no tokens, its spec expects tokens int32 \[batch, 16\]"):
        runtimes.load(foreign(tmp_path, trm_deploy__spec=spec, trm_deploy__graph="loop"))


def test_the_librarys_codes_are_left_out_of_messages(tmp_path: Path) -> None:
    path = tmp_path / "noise.onnx"
    path.write_bytes(b"\x08\x0a\xff\xff\xff" * 300)
    with pytest.raises(ArtefactError) as raised:
        runtimes.load(path)
    assert str(raised.value).startswith(f"{path}: is not an ONNX model that ONNX Runtime can load, or is truncated (")
    assert "ONNXRuntimeError" not in str(raised.value)
    assert "INVALID_PROTOBUF" not in str(raised.value)
