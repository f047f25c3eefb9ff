"""What an export says while it works: a line for each thing that it did or compared, no table where all is well."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.conftest import exported
from trm_deploy.artefacts import record
from trm_deploy.errors import CannotRunHere, ParityFailure
from trm_deploy.export import onnx_artefact
from trm_deploy.export.check import Checked
from trm_deploy.export.options import ExportOptions
from trm_deploy.export.pipeline import run_export


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracing takes seconds; the graph is the one that other tests use too."""

    def export(model: Any, *, graph: Any, steps: Any, **how: Any) -> onnx.ModelProto:
        return exported("trm-mlp", graph, steps=steps)

    monkeypatch.setattr(onnx_artefact, "export_onnx", export)


def holds(checkpoint: Any, artefact: Path, name: str, /) -> Checked:
    assert artefact.is_file()
    return Checked({"passed": True, "puzzles": 12, "largest_logit_difference": 3.14e-6})


@pytest.mark.usefixtures("traced")
def test_one_line_for_each_thing(tiny_checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    output = tmp_path / "new" / "u.onnx"
    options = ExportOptions(source=tiny_checkpoint, output=output, graph="unrolled", steps=2, target="jetson-orin-nano")
    with caplog.at_level(logging.INFO, "trm_deploy"):
        assert run_export(options, check=holds) == output
    exporting, fits, parity, wrote = [entry.getMessage() for entry in caplog.records]
    assert exporting == f"exporting {tiny_checkpoint}: graph unrolled, precision fp32"
    assert fits.startswith(
        f"{output} fits Jetson Orin Nano: opset 20 (TensorRT 10.3 there reads up to 20), and none of"
    )
    assert "DynamicQuantizeLinear, MatMulInteger, QLinearMatMul" in fits
    assert parity == f"{output}: parity holds on 12 puzzles, teacher-forced logits within 3.1e-06 of PyTorch's"
    assert wrote == f"wrote {output} and {output}.json"
    built = record.read_matching(output)
    assert built is not None
    assert (built.steps, built.parity["puzzles"]) == (2, 12)


@pytest.mark.usefixtures("traced")
def test_nothing_is_written_where_parity_fails_or_the_target_cannot_read_it(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(checkpoint: Any, artefact: Path, name: str, /) -> Checked:
        raise ParityFailure(f"{name}: another answer")

    with pytest.raises(ParityFailure, match=r"o\.onnx: another answer"):
        run_export(ExportOptions(source=tiny_checkpoint, output=tmp_path / "o.onnx"), check=fails)
    model = onnx.ModelProto()
    model.CopyFrom(exported("trm-mlp", "step"))
    model.graph.node[0].op_type = "MatMulInteger"
    monkeypatch.setattr(onnx_artefact, "export_onnx", lambda *_, **__: model)
    options = ExportOptions(source=tiny_checkpoint, output=tmp_path / "o.onnx", graph="step", target="h100")
    with pytest.raises(CannotRunHere, match=r"o\.onnx: this graph will not parse on H100.* lacks MatMulInteger"):
        run_export(options, check=holds)
    assert list(tmp_path.iterdir()) == []
