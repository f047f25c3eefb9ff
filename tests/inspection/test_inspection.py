"""What inspect and doctor say, and where a program finds the schema."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import ASSETS
from trm_deploy.artefacts.kind import Kind
from trm_deploy.cli.app import app
from trm_deploy.errors import InputError
from trm_deploy.inspection.artefact import inspect
from trm_deploy.inspection.doctor import doctor
from trm_deploy.runtimes import registry


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
