"""The workflow in docs/ci.md does what it says: its commands pass for a sound checkpoint and fail for a damaged one."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from trm_deploy.cli import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "ci.md").read_text()


def workflow() -> dict[str, Any]:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    document: dict[str, Any] = yaml.safe_load(text)
    return document


def run(command: str) -> int:
    """One line of the workflow, in this process: a new one would spend seconds on imports."""
    words = shlex.split(os.path.expandvars(command))
    assert words[0] == "trm-deploy"
    argv, sys.argv = sys.argv, words
    try:
        with pytest.raises(SystemExit) as stopped:
            main()
    finally:
        sys.argv = argv
    return int(stopped.value.code or 0)


def test_the_workflow(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    document = workflow()
    steps = document["jobs"]["parity"]["steps"]
    by_name = {step["name"]: step for step in steps if "name" in step}
    assert by_name["Keep the report"]["if"] == "always()"
    assert [step for step in steps if "if" in step] == [by_name["Keep the report"]]
    (export,) = by_name["Export"]["run"].splitlines()
    (parity,) = by_name["Parity"]["run"].splitlines()

    # A user's repository.
    monkeypatch.chdir(tmp_path)
    for name, value in document["env"].items():
        monkeypatch.setenv(name, value)
    checkpoint = Path(os.environ["CHECKPOINT"])
    checkpoint.parent.mkdir()
    shutil.copy(tiny_checkpoint, checkpoint)
    Path(os.environ["PUZZLES"]).write_text("puzzle\n..34341221434321\n1...............\n")
    assert run(export) == 0
    capsys.readouterr()
    assert run(parity) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["passed"] is True
    assert printed["puzzles"] == 2
    report = Path("build/parity")
    assert json.loads((report / "report.json").read_text()) == printed
    for kept in by_name["Keep the report"]["with"]["path"].split():
        assert Path(kept).exists()

    # The report is accepted, as the page says.
    (accept,) = re.findall(r"^    cp (\S+) (\S+)$", PAGE, re.MULTILINE)
    shutil.copy(*accept)
    (flags,) = re.findall(r"^    PARITY_FLAGS: (.*--baseline.*)$", PAGE, re.MULTILINE)
    monkeypatch.setenv("PARITY_FLAGS", flags)
    assert run(parity) == 0

    # Damaged weights.
    damaged = torch.load(checkpoint, weights_only=True)
    damaged["ema"]["answer_head.weight"] += 0.01
    torch.save(damaged, checkpoint)
    capsys.readouterr()
    assert run(parity) == 3
    out = capsys.readouterr()
    assert "parity with PyTorch fails: step 1: differs by" in out.err
    assert json.loads(out.out)["passed"] is False
    assert "**Parity fails.**" in (report / "report.md").read_text()
