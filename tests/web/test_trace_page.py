"""The page that `run --trace FILE.html` writes, in a browser: it plays, and asks for nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.conftest import ASSETS
from trm_deploy.puzzles.sudoku import Sudoku
from trm_deploy.runtimes.solving.session import SolveOptions, open_session
from trm_deploy.tracing import page as pages
from trm_deploy.tracing.recording import Recording

PUZZLES = (
    "5..4..26......64....1.....3....3...138.2..6.7.79.6.......5...8.4...9...5......1.2",
    "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79",
)


def test_a_recorded_page_plays_without_a_request(page: Any, tmp_path: Path) -> None:
    session = open_session(ASSETS / "sudoku-step.onnx", runtime="onnxruntime")
    recordings = []
    for number, puzzle in enumerate(PUZZLES):
        made = Recording(session, Sudoku().parse_line(puzzle), SolveOptions(), place=f"line {number}")
        assert list(made.follow())[-1].shown.verified
        recordings.append(made)
    (tmp_path / "t.html").write_text(pages.page(recordings), "utf-8")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.set_viewport_size({"width": 360, "height": 800})
    page.goto((tmp_path / "t.html").as_uri())
    cells = page.locator("#here [role=gridcell]")
    for number, recording in enumerate(recordings):
        page.get_by_role("combobox", name="Puzzle").select_option(str(number))
        page.get_by_role("button", name="Last step").click()
        assert "".join(cells.all_text_contents()[:81]) == recording.steps[-1].shown.answer
        assert page.locator(".verdict").text_content().endswith("Verified by the rules.")
    assert asked == [(tmp_path / "t.html").as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    (tmp_path / "one.html").write_text(pages.page(recordings[:1]), "utf-8")
    page.goto((tmp_path / "one.html").as_uri())
    assert not page.locator("#puzzle").is_visible(), "one puzzle needs no choice"
