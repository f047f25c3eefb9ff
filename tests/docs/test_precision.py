"""docs/precision.md shows what was measured, and the sweep behind it rounds the products that it says and no others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from tests.conftest import ROOT, exported, load_tool, random_model, tiny_spec
from trm_deploy import runtimes
from trm_deploy.export.graph.passes import int8
from trm_deploy.runtimes import StepRuntime

MEASURED = ROOT / "docs" / "measurements"
PAGE = (ROOT / "docs" / "precision.md").read_text()

parity_table = load_tool("parity_table")
sensitivity = load_tool("sensitivity")


def test_the_page_has_the_shares_of_every_grade() -> None:
    grades = ("simple", "easy", "intermediate", "expert")
    reports = [json.loads((MEASURED / f"parity-{grade}" / "report.json").read_text()) for grade in grades]
    assert all(report["passed"] and report["puzzles"] == 1000 and report["attempts"] == 8 for report in reports)
    assert parity_table.table(reports) in PAGE


@pytest.mark.parametrize("form", sensitivity.FORMS)
def test_the_page_has_the_sweep(form: str) -> None:
    document = json.loads((MEASURED / "sensitivity.json").read_text())
    assert sensitivity.table(document, form) in PAGE


def test_the_policy_is_what_the_sweep_measured() -> None:
    document = json.loads((MEASURED / "sensitivity.json").read_text())
    assert set(document["float_by_row"]) == int8.FLOAT_BY_ROW
    assert set(document["float_static"]) == int8.FLOAT_STATIC


def test_the_sweep_rounds_the_products_of_a_group_alone(tmp_path: Path) -> None:
    model = random_model(tiny_spec("trm-mlp"))
    groups = int8.weight_groups(model, exported("trm-mlp", "step").graph)
    tokens = np.random.default_rng(3).integers(1, 6, (4, 16)).astype(np.int32)

    def logits(kind: int | None, group: str = "channel down") -> NDArray[np.float32]:
        made = onnx.ModelProto()
        made.CopyFrom(exported("trm-mlp", "step"))
        if kind is not None:
            sensitivity.round_products(made.graph, [weight for weight, of in groups.items() if of == group], kind)
        onnx.save(made, tmp_path / "step.onnx")
        runtime = runtimes.load(tmp_path / "step.onnx")
        assert isinstance(runtime, StepRuntime)
        ((_, given),) = sensitivity.reference_outputs(runtime, tokens)[:1]
        return np.asarray(given, np.float32)

    exact = logits(None)
    assert np.array_equal(logits(onnx.TensorProto.FLOAT), exact)
    fp16, bf16 = (np.abs(logits(sensitivity.HALVES[name]) - exact).max() for name in ("fp16", "bf16"))
    assert 0 < fp16 < bf16 < 0.5
    # A product's own operands and result are rounded, so of the answer head's the logits themselves.
    head = logits(onnx.TensorProto.BFLOAT16, "answer head")
    assert np.array_equal(head.view(np.uint32) & 0xFFFF, np.zeros_like(head, np.uint32))
