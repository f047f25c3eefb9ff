"""What kind of file something is, and what a message says of a file that is none of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import ASSETS
from trm_deploy.artefacts import kind
from trm_deploy.artefacts.kind import Kind
from trm_deploy.errors import ArtefactError


def refusal(path: Path) -> str:
    with pytest.raises(ArtefactError) as caught:
        kind.of(path)
    return str(caught.value)


def test_a_kind_is_told_by_the_bytes_whatever_the_name(tmp_path: Path) -> None:
    for source, expected in (("sudoku.onnx", Kind.onnx), ("sudoku.pt", Kind.checkpoint)):
        shutil.copy(ASSETS / source, tmp_path / "file.bin")
        assert kind.of(tmp_path / "file.bin") is expected
    for magic, expected in ((b"ftrt", Kind.trt), (b"vtrt", Kind.rtx)):
        (tmp_path / "file.bin").write_bytes(magic + bytes(100))
        assert kind.of(tmp_path / "file.bin") is expected


def test_a_truncated_checkpoint_is_not_taken_for_an_onnx_file(tmp_path: Path) -> None:
    cut = tmp_path / "cut.pt"
    cut.write_bytes((ASSETS / "sudoku.pt").read_bytes()[:20_000])
    assert refusal(cut) == f"{cut}: begins as a checkpoint and is truncated (20,000 bytes, no end record)"


def test_a_build_record_is_called_one_and_names_its_artefact(tmp_path: Path) -> None:
    record = tmp_path / "sudoku.onnx.json"
    shutil.copy(ASSETS / "sudoku.onnx.json", record)
    message = refusal(record)
    assert f"{record}: is a build record, expected" in message
    assert "name the file that it describes" in message
    shutil.copy(ASSETS / "sudoku.onnx", tmp_path / "sudoku.onnx")
    assert refusal(record).endswith(f"name the file that it describes: {tmp_path / 'sudoku.onnx'}")


def test_identifiers_other_json_and_other_text_are_called_what_they_are(tmp_path: Path) -> None:
    names = tmp_path / "arc.onnx.identifiers.json"
    names.write_text(json.dumps(["<blank>", "a", "b"]))
    (tmp_path / "arc.onnx").touch()
    assert refusal(names).endswith(f"name the file that it describes: {tmp_path / 'arc.onnx'}")
    assert "is a list of puzzle identifiers" in refusal(names)
    (tmp_path / "x.json").write_text('{"a": 1}')
    assert "x.json: is JSON, expected an ONNX file" in refusal(tmp_path / "x.json")
    (tmp_path / "x.txt").write_text("hello\n")
    assert "x.txt: is text, expected an ONNX file" in refusal(tmp_path / "x.txt")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    assert "deep.json: is text" in refusal(tmp_path / "deep.json")


def test_the_hint_for_a_missing_file_fits_its_name(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.pt") == f"{tmp_path / 'none.pt'}: there is no such file"
    assert refusal(tmp_path / "none.onnx").endswith("; type: trm-deploy export CHECKPOINT --format onnx")
    assert refusal(tmp_path / "none.plan").endswith("; type: trm-deploy export CHECKPOINT --format trt")
    (tmp_path / "model.onnx").touch()
    assert refusal(tmp_path / "modle.onnx").endswith(f"; did you mean {tmp_path / 'model.onnx'}?")
