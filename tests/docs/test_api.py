"""Every example of docs/api.md runs, in the order of the page, in one folder."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from trm_deploy import api

PAGE = (ROOT / "docs" / "api.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_every_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.getLogger("trm_deploy"), "level", logging.NOTSET)  # given back in the end
    namespace: dict[str, Any] = {"__name__": "page"}
    assert len(EXAMPLES) >= 9
    for number, example in enumerate(EXAMPLES, start=1):
        exec(compile(example, f"docs/api.md example {number}", "exec"), namespace)
    shown = capsys.readouterr().out
    # What the page says that an example prints:
    said = re.findall(r"print\(error\)  # (.*)", PAGE)
    assert said
    for line in said:
        assert line in shown.splitlines()
    assert "|  5   3  (4) |" in shown, "the drawn grid"


def test_the_page_names_every_field_and_function() -> None:
    for name in api.__all__:
        if name not in ("Answer", "TraceStep", "VotedAnswer"):  # named by their fields
            assert name in PAGE
    table = set(re.findall(r"`(\w+)`", PAGE.partition("| field |")[2].partition("\n\n")[0]))
    named = set(api.Answer.__dataclass_fields__) & table
    internal = {
        "place",
        "line",
        "columns",
        "has_known_answer",
        "correct",
        "task",
        "passed",
    }  # of files, which `run` reads
    assert named == set(api.Answer.__dataclass_fields__) - internal
