"""`trm-deploy verify` as a user types it."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import Published
from trm_deploy.artefacts import golden, record
from trm_deploy.cli import main
from trm_deploy.errors import MissingPackage
from trm_deploy.runtimes.backends import ort


def trm(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["trm-deploy", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


def test_a_table_and_json(
    published_bundle: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = published_bundle("step", tmp_path)
    assert trm(monkeypatch, "verify", path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{path} (ONNX Runtime step fp32)"
    assert [line.split()[0] for line in lines[4:8]] == ["1", "2", "4", "6"]
    assert "PyTorch's step 3" in lines[6]
    assert [line.split()[0] for line in lines[9:15]] == [*("free", "PyTorch", "control", "control", "control", "ONNX")]
    assert lines[-1] == "verified: it computes what PyTorch computed"
    assert trm(monkeypatch, "verify", path, "--json", "--runtime", "onnxruntime") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["passed"]) == (2, True)
    assert document["sources"]["golden"] == "m.onnx.golden.npz"
    (engine,) = document["engines"]
    assert [step["step"] for step in engine["step_differences"]] == [1, 2, 4, 6]


def test_exit_codes(
    tiny_checkpoint: Path,
    published_bundle: Published,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = published_bundle("loop", tmp_path)

    def error(code: int) -> str:
        assert trm(monkeypatch, "verify", path) == code
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        return line

    vectors = golden.require(path)
    changed = vectors.answers.copy()
    changed[:, :, 0] = (changed[:, :, 0] + 1) % 6
    golden.write(path, replace(vectors, answers=changed))
    assert "m.onnx: parity with PyTorch fails: free-running: PyTorch's answer in 0.0%" in error(3)

    def missing(*_: object) -> None:
        raise MissingPackage("onnxruntime is needed to run an ONNX file and cannot be imported")

    with monkeypatch.context() as without:
        without.setattr(ort, "load", missing)
        assert "onnxruntime is needed" in error(4)
    golden.path_of(path).write_bytes(b"PK")
    assert "m.onnx.golden.npz: is cut or altered" in error(2)
    golden.path_of(path).unlink()
    assert "trm-deploy export CHECKPOINT --format onnx --graph loop --precision fp32 -o m.onnx" in error(2)
    record.path_of(path).unlink()
    assert "trm-deploy export CHECKPOINT --format onnx -o m.onnx" in error(2)
    path = tiny_checkpoint
    assert f"{path}: is a checkpoint" in error(2)
    path = tmp_path / "none.plan"
    assert "there is no such file" in error(2)
