"""What inspect and doctor say, and where a program finds the schema."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import pytest

from tests.conftest import ASSETS
from trm_deploy.artefacts.kind import Kind
from trm_deploy.cli.app import app
from trm_deploy.errors import CannotRunHere, InputError
from trm_deploy.inspection.artefact import inspect
from trm_deploy.inspection.doctor import doctor
from trm_deploy.runtimes import load, registry
from trm_deploy.runtimes.solving.session import shipped_engine
from trm_deploy.support import machine


def test_doctor_has_a_row_for_every_back_end(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = registry.Backend(
        "no-such-runtime", "Fake", reads=(), module="nowhere", extra="fake", packages=(), precisions=()
    )
    monkeypatch.setattr(registry, "BACKENDS", (*registry.BACKENDS, fake))
    found = doctor()
    assert found["no_such_runtime"] == "missing; type: pip install 'trm-deploy[fake]'"
    assert {backend.name.replace("-", "_") for backend in registry.BACKENDS} <= found.keys()
    assert found["onnx_files_on_cpu"] == registry.fastest_in_words(Kind.onnx, "cpu")
    assert {"onnx", "numba", "cuda_python", "gpu", "driver", "machine"} <= found.keys()


@pytest.mark.parametrize("command", [["doctor"], ["inspect", str(ASSETS / "sudoku.onnx")]])
def test_the_schema_is_for_programs(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    app([*command, "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["schema"] == 1
    app(command, standalone_mode=False)
    assert not any(line.startswith("schema") for line in capsys.readouterr().out.splitlines())


def test_overrides_are_for_checkpoints() -> None:
    with pytest.raises(InputError, match=r"--set a=1 applies to checkpoints: .*sudoku.onnx is not one"):
        inspect(Path(ASSETS / "sudoku.onnx"), ["a=1"])


def test_doctor_names_packages_that_overwrite_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "onnxruntime_packages" not in doctor()
    other = tmp_path / "onnxruntime_gpu-1.20.1.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime-gpu\nVersion: 1.20.1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    here = importlib.metadata.version("onnxruntime")
    said = doctor()["onnxruntime_packages"]
    assert said == (
        f"onnxruntime {here} and onnxruntime-gpu 1.20.1 overwrite each other's files; type: pip uninstall --yes"
        " onnxruntime onnxruntime-gpu && pip install onnxruntime"
    )
    with pytest.raises(CannotRunHere, match="pip uninstall --yes onnxruntime onnxruntime-gpu && pip install onnxrunt"):
        load(shipped_engine(), device="cuda")


def test_doctor_tells_a_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cpu_quota", lambda: 0.5)
    assert doctor()["cores"] == "1 (a quota of 0.5 CPUs)"
