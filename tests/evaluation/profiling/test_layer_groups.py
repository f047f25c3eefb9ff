"""Layer groups told by a graph's structure: every preset, form and precision, renamed files, and foreign ones."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.conftest import exported, tiny_spec
from trm_deploy.artefacts import layer_groups, onnx_graph
from trm_deploy.artefacts.layer_groups import CHANNELS, EMBEDDING, HEADS, NORMS, RECURSION, TOKENS
from trm_deploy.spec import swiglu_width


def operators(model: onnx.ModelProto, folder: Path) -> dict[str, Counter[str]]:
    path = folder / "m.onnx"
    path.write_bytes(model.SerializeToString())
    graph = onnx_graph.read(path)
    places = layer_groups.places(graph)
    found: dict[str, Counter[str]] = {group: Counter() for group in layer_groups.GROUPS}
    for node in graph.everything():
        found[places[node.outputs[0]].group][node.operator] += 1
    return found


FORMS = [
    {"graph": "step"},
    {"graph": "loop", "precision": "fp16"},
    {"graph": "loop", "unroll_inner": True},
    {"graph": "unrolled", "steps": 2},
    {"graph": "step", "precision": "int8"},
    {"graph": "step", "precision": "int8", "static_scales": True},
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(map(str, form.values())))
def test_every_node_is_in_its_group(name: str, form: dict[str, Any], tmp_path: Path) -> None:
    spec = tiny_spec(name)
    found = operators(exported(name, **form), tmp_path)
    # Networks in the graph: one a loop body and one for y, unless the recursion is written out.
    written_out = form["graph"] == "unrolled" or "unroll_inner" in form
    calls = spec.recursion.network_calls * int(str(form.get("steps", 1))) if written_out else 2
    blocks = calls * spec.architecture.layers
    product = "MatMulIntegerToFloat" if form.get("precision") == "int8" and "static_scales" not in form else "MatMul"
    swiglu = 2 if form.get("precision") == "int8" else 3  # gate and up are one product, or two
    attention = name != "trm-mlp"
    products = found[TOKENS][product] + found[TOKENS]["MatMul"] * (product != "MatMul")
    assert products == blocks * (4 if attention else swiglu)
    assert found[CHANNELS][product] == blocks * swiglu
    assert found[TOKENS]["Softmax"] == (blocks if attention else 0)
    assert found[CHANNELS]["Sigmoid"] == blocks
    assert found[NORMS]["ReduceMean"] == found[NORMS]["Sqrt"] == found[NORMS]["Add"] / 2 == 2 * blocks
    assert found[CHANNELS]["Transpose"] == found[NORMS]["Transpose"] == found[HEADS]["Transpose"] == 0
    assert found[EMBEDDING]["Gather"] >= 1
    assert found[EMBEDDING]["Mul"] == 1
    heads = int(str(form.get("steps", 1)))
    assert found[HEADS]["ArgMax"] == 1
    assert found[HEADS]["MatMul"] + found[HEADS]["Gemm"] == 2 * heads
    # Sums of states: two in an update, one for y; TRM and HRM alike.
    assert set(found[RECURSION]) & {"MatMul", "Split", "Softmax", "ReduceMean", "Sigmoid", "ArgMax", "Gather"} == set()


def test_products_have_the_sizes_of_their_weights(tmp_path: Path) -> None:
    spec = tiny_spec("trm-mlp")
    path = tmp_path / "m.onnx"
    path.write_bytes(exported("trm-mlp", "step").SerializeToString())
    places = layer_groups.places(onnx_graph.read(path)).values()
    size, positions = spec.architecture.hidden_size, spec.positions
    for group, width in ((TOKENS, positions), (CHANNELS, size)):
        hidden = swiglu_width(width, spec.architecture.expansion)
        assert {place.weight for place in places if place.group == group} == {(), (width, hidden), (hidden, width)}


def test_names_do_not_matter(tmp_path: Path) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(exported("trm-att", "loop"))
    expected = operators(model, tmp_path)

    def rename(graph: onnx.GraphProto) -> None:
        kept = {"tokens", "puzzle_ids"}
        for node in graph.node:
            for names in (node.input, node.output):
                names[:] = [name if name in kept or not name else f"n{hash(name)}" for name in names]
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    rename(attribute.g)
        for weight in graph.initializer:
            weight.name = f"n{hash(weight.name)}"

    rename(model.graph)
    assert operators(model, tmp_path) == expected


def test_a_graph_of_another_structure_is_not_attributed(tmp_path: Path) -> None:
    """A norm that is none: nothing is guessed, not even of the rest."""
    model = onnx.ModelProto()
    model.CopyFrom(exported("trm-mlp", "unrolled", steps=2))
    mean = next(node for node in model.graph.node if node.op_type == "ReduceMean")
    mean.op_type = "ReduceMax"
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    assert layer_groups.places(onnx_graph.read(path)) == {}


def test_a_file_that_is_cut_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(exported("trm-mlp", "step").SerializeToString()[:-1000])
    with pytest.raises(Exception, match=r"m\.onnx: is not an ONNX file, or is truncated"):
        onnx_graph.read(path)
