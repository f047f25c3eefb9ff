from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from tests.conftest import GRAPHS, PRECISIONS, Graph, exported, tiny_spec
from trm_deploy.artefacts import onnx_file
from trm_deploy.errors import ArtefactError
from trm_deploy.signature import Precision


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("graph", GRAPHS)
def test_reads_what_export_wrote(graph: Graph, precision: Precision, tmp_path: Path) -> None:
    path = tmp_path / "s.onnx"
    model = exported("trm-att", graph, steps=2 if graph == "unrolled" else None, precision=precision)
    onnx.save(model, path)
    found = onnx_file.read(path)
    assert found.spec == tiny_spec("trm-att")
    assert (found.graph, found.precision, found.opset, found.ir_version) == (graph, precision, 20, 10)
    assert found.steps == (2 if graph == "unrolled" else None)
    assert ("Loop" in found.operators) == (graph != "unrolled")
    assert {"MatMul", "Softmax"} <= found.operators  # inside the loops


def test_every_cut_is_refused_or_read(tmp_path: Path) -> None:
    data = exported("trm-mlp", "loop").SerializeToString()
    path = tmp_path / "cut.onnx"
    for size in (1, 2, 10, 1000, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(ArtefactError, match=r"cut\.onnx"):
            onnx_file.read(path)


@pytest.mark.parametrize("content", [b"", b"hello, world", b"\xff" * 64, b"PK\x03\x04" + bytes(60)])
def test_foreign_bytes(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "odd.onnx"
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match=r"odd\.onnx"):
        onnx_file.read(path)


def test_a_foreign_model(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [value])
    path = tmp_path / "foreign.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(ArtefactError, match="not one that trm-deploy made"):
        onnx_file.read(path)
