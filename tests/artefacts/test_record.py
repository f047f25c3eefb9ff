"""The build record: an older schema is read, what makes no sense is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trm_deploy.artefacts import record
from trm_deploy.artefacts.record import BuildRecord, RecordedSchedule
from trm_deploy.errors import ArtefactError, SpecError

BUILT = BuildRecord(
    graph="step",
    precision="fp32",
    precision_source="network",
    checkpoint_sha256="",
    artefact_sha256="0",
    opset=20,
    ir_version=10,
    versions={},
    halting_threshold=0.0,
    schedule=RecordedSchedule(attempts=64, attempt_steps=(3, 3, 16), budget=100),
    arithmetic="bf16",
)


def rewritten(artefact: Path, **changed: Any) -> None:
    path = record.path_of(artefact)
    document = {**json.loads(path.read_text()), **changed}
    path.write_text(json.dumps({key: value for key, value in document.items() if value is not ...}))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    record.write(tmp_path / "a.onnx", BUILT)
    assert record.read(tmp_path / "a.onnx") == BUILT
    assert json.loads((tmp_path / "a.onnx.json").read_text())["schema"] == 2


def test_schema_1_is_read_and_a_newer_one_is_not(tmp_path: Path) -> None:
    artefact = tmp_path / "a.onnx"
    record.write(artefact, BUILT)
    rewritten(artefact, schema=1, schedule=..., arithmetic=...)
    found = record.read(artefact)
    assert found is not None
    assert (found.schedule, found.arithmetic, found.graph) == (None, "", "step")
    rewritten(artefact, schema=3)
    with pytest.raises(ArtefactError, match=r"a.onnx.json: is not a build record of schema 1 or 2"):
        record.read(artefact)


@pytest.mark.parametrize(
    "schedule",
    [
        {"attempts": 0, "attempt_steps": [3]},
        {"attempts": 8, "attempt_steps": []},
        {"attempts": 8, "attempt_steps": [3, 0]},
        {"attempts": 8, "attempt_steps": [1 << 20]},
        {"attempts": 8, "attempt_steps": [3], "budget": 0},
        {"attempts": 8, "attempt_steps": [3], "speed": 2},
        {"attempts": 8},
        3,
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(tmp_path: Path, schedule: object) -> None:
    artefact = tmp_path / "a.onnx"
    record.write(artefact, BUILT)
    rewritten(artefact, schedule=schedule)
    with pytest.raises(ArtefactError, match=r"a.onnx.json: .*schedule"):
        record.read(artefact)


def test_an_arithmetic_that_there_is_not(tmp_path: Path) -> None:
    artefact = tmp_path / "a.onnx"
    record.write(artefact, BUILT)
    rewritten(artefact, arithmetic="fp4")
    with pytest.raises(ArtefactError, match=r"record\.arithmetic is 'fp4', expected one of"):
        record.read(artefact)
    with pytest.raises(SpecError, match="expected numbers of at least 1"):
        RecordedSchedule(attempts=1, attempt_steps=())
