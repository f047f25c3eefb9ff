"""Report pages in a browser: tables sort, nothing is asked for, a phone shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trm_deploy.support.report_page import write_page

REPORT = """# Report

| engine | solved | largest | cosine | |
| --- | --- | --- | --- | --- |
| b | 9.5% | 1.2e-05 to 3e-05 | 1 - 2e-08, 1 - 1e-09 | |
| a | 100.0% | 2e-06 | 1 - 0.5, 1 - 0.1 | now |
| c | - | inf | - | |
| d | 1,250 | 3 | 1 - 2e-05 | recommended |
"""


def column(page: Any, number: int) -> list[str]:
    return [text.strip() for text in page.locator(f"tbody td:nth-child({number})").all_text_contents()]


def test_tables_sort_by_value(page: Any, tmp_path: Path) -> None:
    write_page(tmp_path / "report.html", REPORT)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.set_viewport_size({"width": 360, "height": 700})
    page.goto((tmp_path / "report.html").as_uri())
    page.get_by_role("button", name="solved").click()
    assert column(page, 1) == ["b", "a", "d", "c"], "what is not a number is last"
    page.get_by_role("button", name="solved").click()
    assert column(page, 1) == ["d", "a", "b", "c"]
    assert page.locator("th[aria-sort=descending]").text_content() == "solved"
    page.get_by_role("button", name="largest").press("Enter")
    assert column(page, 1) == ["a", "b", "d", "c"]
    page.get_by_role("button", name="cosine").click()
    assert column(page, 1) == ["a", "d", "b", "c"]
    page.get_by_role("button", name="engine").click()
    assert column(page, 1) == ["a", "b", "c", "d"]
    page.get_by_role("button", name="sort by column 5").click()
    assert column(page, 5) == ["", "", "now", "recommended"]
    assert asked == [(tmp_path / "report.html").as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
