"""The page of `trm-deploy serve`: the server computes, with or without what `make web` brings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import trm_deploy as trm
from tests.conftest import ASSETS
from tests.serving.conftest import Served
from tests.web.conftest import ready, shown, type_in

PUZZLE = "064000300000021000000000000006370000007000500000000010050000000210400009000000700"


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    served = Served("--engine", ASSETS / "sudoku-step.onnx", "--runtime", "onnxruntime", "--batch", 1)
    yield served
    served.stop()


def summary(page: Any) -> str:
    page.get_by_label("Speed").select_option("fastest")
    page.get_by_role("button", name="Solve").click()
    page.wait_for_selector("#summary:not(:empty)")
    page.get_by_role("button", name="Play", exact=True).wait_for()
    return str(page.text_content("#summary"))


def test_without_webassembly_files_the_server_computes(page: Any, server: Served) -> None:
    with trm.Solver(ASSETS / "sudoku-step.onnx", runtime="onnxruntime", batch=1) as solver:
        expected = list(solver.trace(PUZZLE))
    attempt, step = expected[-1].attempt, expected[-1].step
    page.goto(server.address)
    page.locator("#solve:enabled").wait_for()
    assert page.locator("#way").locator("option").all_text_contents() == ["on the server that this page is from"]
    type_in(page, PUZZLE)
    assert summary(page).startswith(f"Verified in attempt {attempt}, step {step}: {attempt} attempt")
    assert "Computed by the server, ONNX Runtime" in page.text_content("#summary")
    assert shown(page) == expected[-1].answer
    assert page.locator(".plot .dot").count() == len(expected)
    assert page.locator(".seen").is_visible() == (attempt > 1)


def test_with_them_the_visitor_chooses(page: Any, built: Path) -> None:
    served = Served("--web", built, "--engine", ASSETS / "sudoku-step.onnx", "--runtime", "onnxruntime")
    try:
        ready(page, f"{served.address}/")
        type_in(page, PUZZLE)
        here = summary(page)
        assert "in this browser" in here
        page.locator("#way").select_option("server")
        there = summary(page)
        assert "Computed by the server" in there
        assert there.partition(":")[0] == here.partition(":")[0]
    finally:
        served.stop()


def test_a_server_with_a_token_is_given_it(page: Any, tmp_path: Path) -> None:
    (tmp_path / "token").touch(mode=0o600)
    (tmp_path / "token").write_text("a-token-of-some-length")
    engine = ("--engine", ASSETS / "sudoku-step.onnx", "--runtime", "onnxruntime", "--batch", 1)
    served = Served(*engine, "--token-file", tmp_path / "token")
    typed = ["wrong-token-of-some-length", "a-token-of-some-length"]
    page.on("dialog", lambda dialog: dialog.accept(typed.pop(0)))
    try:
        page.goto(served.address)
        page.locator("#solve:enabled").wait_for()
        type_in(page, PUZZLE)
        page.get_by_role("button", name="Solve").click()
        page.locator("#problem").get_by_text("The server refuses: the token is missing or wrong").wait_for()
        assert summary(page).startswith("Verified")
        assert typed == []
        assert summary(page).startswith("Verified"), "it is asked for once"
    finally:
        served.stop()


def test_a_server_that_goes_away_is_named(page: Any) -> None:
    served = Served("--engine", ASSETS / "sudoku-step.onnx")
    page.goto(served.address)
    page.locator("#solve:enabled").wait_for()
    served.stop()
    page.get_by_role("button", name="Solve").click()
    page.locator("#problem").get_by_text("The server cannot be reached").wait_for()
    assert "The server cannot be reached" in page.text_content("#problem")
    assert page.text_content("#summary") == ""
