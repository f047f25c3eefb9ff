"""A seeded sample of what tools/hostile does in full (`make hostile`)."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, load_tool

hostile = load_tool("hostile")

# The others need a graph to be traced or a plan to be built, or copy a table of 80 MB each time.
SAMPLED = (
    "checkpoint",
    "published checkpoint",
    "checkpoint in safetensors",
    "published checkpoint in safetensors, which has no checksum",
    "training file with an average of its weights",
    "its all_config.yaml and dataset.json",
    "ONNX, loop form",
    "build record",
    "golden vectors",
    "dataset's arrays",
    "dataset's dataset.json",
)


@pytest.fixture(scope="module")
def reader() -> Iterator[Any]:
    with hostile.reader.Reader() as process:
        yield process


@pytest.mark.parametrize("kind", SAMPLED)
def test_damaged_files_are_refused_or_give_right_answers(kind: str, reader: Any, tmp_path: Path) -> None:
    counts = hostile.damage.try_kind(kind, tmp_path / "files", reader, cuts=5, flips=10, seed=1)
    assert counts["failures"] == []
    assert counts["tried"] >= 15
    assert counts["refused"] > 0


def test_the_tool_sees_a_crash_and_a_hang(reader: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = hostile.kinds.KINDS["ONNX, loop form"].make(tmp_path / "files")
    reader.begin("ONNX, loop form", path)
    reader._process.send_signal(signal.SIGSTOP)
    with monkeypatch.context() as patched:
        patched.setattr(hostile.reader, "TIMEOUT_S", 0.2)
        assert reader.read(path) == "failed: hangs for 0 s"
    reader._started().kill()
    assert reader.read(path) == "failed: the process died (-9)"


def test_the_document_tells_the_counts_of_the_measurement() -> None:
    document = json.loads((ROOT / "docs" / "measurements" / "hostile.json").read_text())
    text = (ROOT / "docs" / "reliability.md").read_text()
    for table in hostile.tables.tables(document):
        assert table in text
    assert not any(row["failed"] for part in ("damaged", "interrupted", "parsers") for row in document[part])


# A command's first sign of being at work, and what it does then for long enough to be interrupted.
@pytest.mark.parametrize(
    ("command", "number", "sign"),
    [("export", signal.SIGINT, ""), ("data build", signal.SIGINT, ""), ("train", signal.SIGTERM, "out/recipe.toml")],
)
def test_an_interrupted_command_leaves_no_half_written_file(
    command: str, number: signal.Signals, sign: str, tmp_path: Path
) -> None:
    process = hostile.interruptions.start(command, tmp_path / "run")
    if command == "export":
        assert "exporting" in process.stderr.readline()
    deadline = time.monotonic() + 100
    while sign and not (tmp_path / "run" / sign).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    if command == "data build":
        time.sleep(1.0)
    assert hostile.interruptions.ended(process, tmp_path / "run", number) in ("ended", "done")


def test_ctrl_c_says_so_and_how_to_go_on(tmp_path: Path) -> None:
    process = hostile.interruptions.start("run to a file", tmp_path / "run")
    answers = tmp_path / "run" / "answers.jsonl"
    deadline = time.monotonic() + 100
    while not (answers.exists() and answers.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 130
    assert errors.endswith("error: interrupted; add --resume to go on\n")
