"""The page in a real browser: what it solves, against ONNX Runtime in Python."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import trm_deploy as trm
from tests.conftest import ASSETS
from tests.web.conftest import Served, ready, shown, solve

EXAMPLES = json.loads((Path(__file__).parents[2] / "web" / "examples.json").read_text())["sudoku-9x9"]


def test_the_page_loads_at_once_and_takes_its_first_step_soon(page: Any, site: Served) -> None:
    """By the page's own clock: what else runs on this machine, and the test's own way to look, count less."""
    page.goto(site.address)
    page.locator("#solve:enabled").wait_for()
    assert page.evaluate("performance.now()") < 3000
    page.wait_for_selector("html[data-model=ready]")
    page.get_by_label("Example").select_option(EXAMPLES[0]["puzzles"][0])
    solve(page)
    page.get_by_role("button", name="First step").click()
    milliseconds = re.search(r", (\d+) ms$", page.text_content(".where"))
    assert milliseconds is not None
    assert 0 < int(milliseconds[1]) < 1000


@pytest.mark.slow
def test_examples_end_verified_after_the_steps_of_onnx_runtime(page: Any, site: Served) -> None:
    ready(page, site.address)
    with trm.Solver(ASSETS / "sudoku-step.onnx", runtime="onnxruntime") as solver:
        for puzzle in (puzzle for grade in EXAMPLES for puzzle in grade["puzzles"]):
            expected = list(solver.trace(puzzle))
            page.get_by_label("Example").select_option(puzzle)
            assert shown(page) == puzzle
            found = solve(page)
            assert [step[:2] for step in found["steps"]] == [(step.attempt, step.step) for step in expected]
            assert [step[2] for step in found["steps"]] == pytest.approx([s.halt_logit for s in expected], abs=0.02)
            assert shown(page) == expected[-1].answer
            assert "Verified by the rules." in found["verdict"]
            assert found["summary"].startswith(f"Verified in attempt {expected[-1].attempt}, step {expected[-1].step}:")
            assert "ONNX Runtime Web 1.30" in found["summary"]
