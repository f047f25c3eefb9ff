"""The tables of README.md and docs/ are what the measurements and the code say."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import ROOT, load_tool
from trm_deploy.errors import InputError


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    for used in ("ablations", "parity_table", "scaling", "sensitivity", "systems", "hostile"):
        load_tool(used)
    return load_tool("generate_docs")


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_table_is_up_to_date(tool: ModuleType, page: Path) -> None:
    """If this fails: make docs."""
    text = page.read_text("utf-8")
    assert tool.generated(text, page.name) == text


def test_every_table_is_on_a_page(tool: ModuleType) -> None:
    text = "".join(page.read_text("utf-8") for page in PAGES)
    assert [name for name in tool.TABLES if f"<!-- generated: {name} -->" not in text] == []


def test_a_changed_figure_is_found_and_made_anew(tool: ModuleType) -> None:
    text = (ROOT / "docs" / "performance.md").read_text("utf-8")
    changed = re.sub(r"(?<=`torch-eager-fp32` \| )\d+", "1", text, count=1)
    assert changed != text
    assert tool.generated(changed, "performance.md") == text


def test_markers_that_name_nothing_or_have_no_end_are_refused(tool: ModuleType) -> None:
    with pytest.raises(InputError, match="page: there is no table what, expected one of evaluation"):
        tool.generated("<!-- generated: what -->\n<!-- end: what -->", "page")
    with pytest.raises(InputError, match="page: a table has a beginning and no end"):
        tool.generated("<!-- generated: evaluation -->\n", "page")
