"""The table of back ends: what reads what, and that a new one is a file and a row."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.conftest import GRAPHS, Graph, exported
from trm_deploy import runtimes
from trm_deploy.artefacts.kind import Kind
from trm_deploy.errors import ArtefactError, InputError
from trm_deploy.runtimes import StepRuntime, registry
from trm_deploy.runtimes.registry import Backend

TOKENS = np.random.default_rng(0).integers(1, 6, (5, 16)).astype(np.int32)

# The file of a back end for ONNX files. It computes with the onnx package's own reference evaluator.
FAKE = """
import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from trm_deploy.artefacts import onnx_file
from trm_deploy.export.graph.nested import graphs
from trm_deploy.runtimes.graph_runtime import LoadedGraph, open_graph
from trm_deploy.signature import signature


class Session:
    smallest_batch = 1
    largest_batch = None

    def __init__(self, path, expected):
        self.inputs, self.outputs = expected.inputs, expected.outputs
        model = onnx.load(path)
        # The evaluator takes the absent condition of a Loop for a false one.
        model.graph.initializer.append(numpy_helper.from_array(np.array(True), "always"))
        for graph in graphs(model.graph):
            for node in graph.node:
                if node.op_type == "Loop" and not node.input[1]:
                    node.input[1] = "always"
        self.evaluator = ReferenceEvaluator(model)

    def run(self, feeds):
        assert set(feeds) == {tensor.name for tensor in self.inputs}
        names = [tensor.name for tensor in self.outputs]
        return dict(zip(names, self.evaluator.run(names, feeds)))


def load(path, options):
    file = onnx_file.read(path)
    session = Session(path, signature(file.spec, file.graph, file.precision))
    return open_graph(
        session,
        LoadedGraph(path, file.spec, file.graph, file.steps, file.precision, "fake", "Fake 1.0", file.precision),
    )
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """A back end for ONNX files: one file and one row."""
    path = tmp_path / "fake_backend.py"
    path.write_text(FAKE)
    monkeypatch.syspath_prepend(str(tmp_path))
    row = Backend(
        "fake",
        "Fake",
        reads=(Kind.onnx,),
        module="fake_backend",
        extra="none",
        packages=("fake-package",),
        precisions=("fp32",),
    )
    monkeypatch.setattr(registry, "BACKENDS", (*registry.BACKENDS, row))
    yield row
    sys.modules.pop("fake_backend", None)


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("graph", GRAPHS)
def test_a_new_back_end_for_onnx_files_is_one_file_and_one_row(graph: Graph, tmp_path: Path) -> None:
    path = tmp_path / "s.onnx"
    onnx.save(exported("trm-mlp", graph), path)
    theirs, ours = runtimes.load(path), runtimes.load(path, "fake")
    assert ours.description == f"Fake 1.0 {graph} fp32"
    assert theirs.description == f"ONNX Runtime {graph} fp32"
    assert isinstance(ours, StepRuntime) == (graph == "step")
    for threshold in (0.0, np.inf):
        found = ours.solve(TOKENS, max_steps=6, halt_threshold=threshold)
        expected = theirs.solve(TOKENS, max_steps=6, halt_threshold=threshold)
        np.testing.assert_array_equal(found.answer, expected.answer)
        np.testing.assert_array_equal(found.steps, expected.steps)
        np.testing.assert_allclose(found.logits, expected.logits, atol=1e-4)
    with pytest.raises(InputError, match=r"tokens are int64 \[5, 16\], expected int32"):
        ours.solve(TOKENS.astype(np.int64), max_steps=6, halt_threshold=0.0)
    assert "fake-package" in registry.packages()


@pytest.mark.usefixtures("fake")
def test_a_precision_that_a_back_end_does_not_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.onnx"
    onnx.save(exported("trm-mlp", "step", precision="fp16"), path)
    with pytest.raises(ArtefactError, match=r"s.onnx: has the precision 'fp16', expected one of fp32"):
        runtimes.load(path, "fake")


@pytest.mark.usefixtures("fake")
def test_a_runtime_that_cannot_read_a_file_is_refused_with_those_that_can(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    path = tmp_path / "s.onnx"
    onnx.save(exported("trm-mlp", "loop"), path)
    able = ", ".join(backend.name for backend in registry.reading(Kind.onnx))
    assert able.startswith("onnxruntime, ")
    assert able.endswith(", fake")
    with pytest.raises(InputError) as raised:
        runtimes.load(path, "torch")
    assert str(raised.value) == (
        f"{path}: is a file for {able} (ONNX), and --runtime torch does not read it;"
        " use --runtime onnxruntime, or leave it out"
    )
    with pytest.raises(InputError, match=rf"--runtime is nonsense, expected one of {able} for .*s\.onnx"):
        runtimes.load(path, "nonsense")
    with pytest.raises(InputError, match=r"is a file for torch \(checkpoint\), and --runtime onnxruntime"):
        runtimes.load(tiny_checkpoint, "onnxruntime")
    assert runtimes.load(tiny_checkpoint, "torch").description == "PyTorch fp32"


def test_every_row_is_whole() -> None:
    for backend in registry.BACKENDS:
        assert importlib.util.find_spec(backend.module) is not None
        assert registry.get(backend.name) is backend
    for kind in Kind:
        assert registry.reading(kind), f"nothing reads {kind.value}"
    with pytest.raises(
        InputError, match=r"--runtime is nonsense, expected one of torch, onnxruntime, .*tensorrt, tenso"
    ):
        registry.get("nonsense")
    assert registry.packages()[0] == "trm-deploy"
    assert len(set(registry.packages())) == len(registry.packages())


@pytest.fixture
def with_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backend, "installed", property(lambda backend: True))


@pytest.fixture
def without_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backend, "installed", property(lambda backend: backend.name != "openvino"))


@pytest.mark.usefixtures("with_openvino")
def test_the_fastest_runtime_is_that_which_is_installed_and_reads_the_file(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    expected = {"fp32": "openvino", "fp16": "openvino", "int8": "onnxruntime", "bf16": "onnxruntime"}
    for precision, name in expected.items():
        path = tmp_path / f"{precision}.onnx"
        onnx.save(exported("trm-mlp", "step", precision=precision), path)
        assert registry.fastest(path, Kind.onnx, "cpu").name == name, precision
        assert registry.fastest(path, Kind.onnx, "cuda").name == "onnxruntime"
        assert registry.fastest(path, Kind.onnx, "cpu", "onnxruntime").name == "onnxruntime"
    assert registry.fastest(tiny_checkpoint, Kind.checkpoint, "cpu").name == "torch"
    assert runtimes.load(tmp_path / "fp32.onnx").backend == "onnxruntime", "the kind's default, as parity takes it"
    assert registry.fastest_in_words(Kind.onnx, "cpu") == (
        "openvino for files in fp32, fp16 and int8 with static scales, because it is installed and faster on this"
        " device; onnxruntime for others"
    )
    assert registry.fastest_in_words(Kind.onnx, "cuda") == "onnxruntime"
    (tmp_path / "cut.onnx").write_bytes((tmp_path / "fp32.onnx").read_bytes()[:3000])
    with pytest.raises(ArtefactError, match=r"cut\.onnx"):
        registry.fastest(tmp_path / "cut.onnx", Kind.onnx, "cpu")


@pytest.mark.usefixtures("without_openvino")
def test_without_openvino_onnx_runtime_is_the_fastest(tmp_path: Path) -> None:
    path = tmp_path / "s.onnx"
    onnx.save(exported("trm-mlp", "step"), path)
    assert registry.fastest(path, Kind.onnx, "cpu").name == "onnxruntime"
    assert registry.fastest_in_words(Kind.onnx, "cpu") == (
        "onnxruntime; openvino would be faster on this device and is not installed"
    )
    with pytest.raises(InputError, match=r"--precision applies to checkpoints.*or add --runtime openvino"):
        runtimes.load(path, precision="bf16")
