"""`verify` and `parity` run what another tool made of an export, and say that its seal is gone; damage is refused."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnxruntime.tools.onnx_model_utils import make_dim_param_fixed

import trm_deploy as trm
from tests.conftest import GRAPHS, Graph, Published
from trm_deploy.artefacts import golden, onnx_file, record
from trm_deploy.artefacts.onnx_file import Seal
from trm_deploy.errors import ArtefactError, TrmDeployError

GONE = "another tool changed this file after its export, so its seal is gone"


def with_a_fixed_batch(path: Path, target: Path) -> None:
    """As `python -m onnxruntime.tools.make_dynamic_shape_fixed` does."""
    model = onnx.load(path)
    make_dim_param_fixed(model.graph, "batch", 2)
    onnx.save(model, target)


def slimmed(path: Path, target: Path) -> None:
    onnxslim = pytest.importorskip("onnxslim")
    onnx.save(onnxslim.slim(onnx.load(path)), target)


def simplified(path: Path, target: Path) -> None:
    onnxsim = pytest.importorskip("onnxsim")
    model, _ = onnxsim.simplify(onnx.load(path))
    onnx.save(model, target)


def with_a_remark(path: Path, target: Path) -> None:
    model = onnx.load(path)
    model.doc_string = "ours"
    onnx.save(model, target)


TOOLS: tuple[Callable[[Path, Path], None], ...] = (with_a_fixed_batch, slimmed, simplified, with_a_remark)


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("graph", GRAPHS)
def test_what_a_tool_made_of_an_export_is_checked(
    graph: Graph,
    tool: Callable[[Path, Path], None],
    published_bundle: Published,
    tiny_checkpoint: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sealed = published_bundle(graph, tmp_path)
    changed = tmp_path / "changed.onnx"
    tool(sealed, changed)
    assert onnx_file.check_seal(changed) is Seal.changed
    with pytest.raises(
        ArtefactError, match=r"copy the \.golden\.npz of the file that it was made from to changed\.onnx"
    ):
        trm.verify(changed)
    shutil.copy(golden.path_of(sealed), golden.path_of(changed))
    (engine,) = trm.verify(changed).engines
    assert engine.failures == []
    assert GONE in engine.notes
    assert f"{changed}: {GONE}; trm-deploy verify {changed} checks it" in caplog.text
    (engine,) = trm.compare(tiny_checkpoint, [changed], limit=3, controls=1).engines
    assert engine.failures == []
    assert GONE in engine.notes
    assert trm.inspect(changed)["seal"] == "gone: another tool changed the file after its export"


def test_a_file_that_is_changed_in_its_place_keeps_what_its_record_says_of_halting(
    published_bundle: Published, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    path = published_bundle("loop", tmp_path)
    built = record.read(path)
    assert built is not None
    assert built.parity
    with_a_fixed_batch(path, path)
    found = record.read_matching(path)
    assert found is not None
    assert (found.halting_threshold, found.parity) == (built.halting_threshold, {})
    assert trm.verify(path).passed
    assert trm.compare(tiny_checkpoint, [path], limit=2, controls=1).passed


def test_a_tool_that_broke_the_model_is_found_out(published_bundle: Published, tmp_path: Path) -> None:
    path = published_bundle("loop", tmp_path)
    model = onnx.load(path)
    model.doc_string = "ours"
    tensor = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    tensor.raw_data = bytes(len(tensor.raw_data))
    onnx.save(model, path)
    (engine,) = trm.verify(path).engines
    assert engine.failures
    assert GONE in engine.notes


DAMAGE: dict[str, Callable[[bytes, int], bytes]] = {
    "a bit": lambda whole, place: whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :],
    "a block of zeros": lambda whole, place: whole[:place] + bytes(512) + whole[place + 512 :],
    "cut": lambda whole, place: whole[:place],
    "bytes behind it": lambda whole, place: whole + bytes([10, 2]) * (place % 7 + 1),
    "a byte lost": lambda whole, place: whole[:place] + whole[place + 1 :],
    "a block twice": lambda whole, place: whole[:place] + whole[max(place - 512, 0) :],
    "ends of lines": lambda whole, place: whole.replace(b"\n", b"\r\n"),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_damage_is_no_change_on_purpose(how: str, published_bundle: Published, tmp_path: Path) -> None:
    path = published_bundle("step", tmp_path)
    whole = path.read_bytes()
    draw = random.Random(how)
    places = [draw.randrange(len(whole)) for _ in range(150)] + list(range(len(whole) - 250, len(whole) - 1))
    for place in places:
        path.write_bytes(DAMAGE[how](whole, place)[: len(whole) if how == "a block of zeros" else None])
        if path.read_bytes() == whole:
            continue
        assert not onnx_file.is_changed(path), place
    with pytest.raises(TrmDeployError):
        trm.verify(path)


def test_a_seal_from_before_sizes_were_written(published_bundle: Published, tmp_path: Path) -> None:
    path = published_bundle("loop", tmp_path)
    model = onnx.load(path)
    kept = [entry for entry in model.metadata_props if entry.key not in (onnx_file.SIZE_KEY, onnx_file.SEAL_KEY)]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    onnx.save(model, path)
    assert onnx_file.check_seal(path) is Seal.missing
    onnx_file.seal(path)
    assert onnx_file.check_seal(path) is Seal.holds
    old = path.read_bytes().replace(b"trm_deploy.size", b"trm_deploy.else")
    path.write_bytes(old + b"\x72\x00")
    assert not onnx_file.is_changed(path)
    path.write_bytes(old)
    with pytest.raises(ArtefactError, match="is altered"):
        onnx_file.check_seal(path)
