"""Recorded steps of a real model, drawn in a page that is one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import trm_deploy as trm
from tests.conftest import ASSETS
from trm_deploy.support.jsontext import dumps
from trm_deploy.web.files import drawing, names

PUZZLE = "5..4..26......64....1.....3....3...138.2..6.7.79.6.......5...8.4...9...5......1.2"


def recorded(puzzle: str, steps: list[trm.TraceStep], task: str) -> dict[str, Any]:
    fields = ("attempt", "step", "answer", "halt_logit", "halted", "verified")
    rows = [{name: getattr(step, name) for name in fields} | {"confidence": step.confidence.tolist()} for step in steps]
    return {"schema": 1, "task": task, "puzzle": puzzle.replace(".", "0"), "halt_threshold": 0.0, "steps": rows}


@pytest.fixture(scope="module")
def traced() -> list[trm.TraceStep]:
    with trm.Solver(ASSETS / "sudoku-step.onnx", runtime="onnxruntime") as solver:
        return list(solver.trace(PUZZLE))


def one_file(trace: dict[str, Any]) -> str:
    script, style = drawing()
    data = dumps(trace).replace("<", "\\u003c")
    return (
        f"<!doctype html><meta charset=utf-8><title>t</title><style>{style}</style><main id=here></main>"
        f"<script type=module>{script}\nnew Player(document.getElementById('here'), {data});</script>"
    )


def test_a_page_of_one_file_plays_what_was_recorded(page: Any, tmp_path: Path, traced: list[trm.TraceStep]) -> None:
    (tmp_path / "trace.html").write_text(one_file(recorded(PUZZLE, traced, "sudoku-9x9")))
    page.goto((tmp_path / "trace.html").as_uri())
    cells = page.locator("[role=gridcell]")
    assert cells.count() == 81
    for step in (traced[0], traced[-1]):
        assert "".join(cells.all_text_contents()) == step.answer
        assert page.locator(".where").text_content().startswith(f"Attempt {step.attempt}, step {step.step}: ")
        page.get_by_role("button", name="Last step").click()
    assert page.locator(".verdict").text_content().endswith("Verified by the rules.")
    assert traced[-1].verified
    assert cells.nth(0).get_attribute("aria-label") == "row 1 column 1: 5, given"
    assert "by the model" in cells.nth(1).get_attribute("aria-label")
    assert page.locator(".plot .dot").count() == len(traced)


def test_what_draws_needs_no_other_file() -> None:
    script, style = drawing()
    assert "import " not in [line[:7] for line in script.splitlines()]
    assert "url(" not in style
    assert {"board.js", "trace.js", "trace.css"} <= set(names())
