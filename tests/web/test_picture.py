"""The picture at the top of the README: the page in the middle of a hard puzzle."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.web.conftest import SCREENSHOTS, Served, ready, solve

# After `make test-web`: cp build/screenshots/playground.png docs/images/
COMMITTED = ROOT / "docs" / "images" / "playground.png"
WIDTH, HEIGHT = 1180, 938


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of a PNG file."""
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", head[16:24])
    return width, height


def test_the_picture_of_the_readme(browser: Any, site: Served) -> None:
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
    page = context.new_page()
    ready(page, site.address)
    page.get_by_label("Example").select_option(label="17 givens 1")
    found = solve(page)
    assert found["summary"].startswith("Verified")
    page.get_by_role("button", name="Step back").click()
    attempt, step, _ = found["steps"][-2]
    assert page.text_content(".where").startswith(f"Attempt {attempt}, step {step}:")
    assert page.locator(".seen").is_visible() == (attempt > 1)
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / "playground.png")
    context.close()
    for path in (SCREENSHOTS / "playground.png", COMMITTED):
        assert size_of(path) == (WIDTH, HEIGHT)
        assert path.stat().st_size < 500_000
    assert "![" in (ROOT / "README.md").read_text().partition("\n## ")[0]
