"""POST /solve/stream: every supervision step as it is computed, then the answer that /solve gives."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

import trm_deploy as trm
from tests.conftest import exported
from tests.serving.conftest import SMALL, Reply, Served, without_time

Event = tuple[str, dict[str, Any]]


def events_of(reply: Reply) -> list[Event]:
    assert reply.headers["Content-Type"].startswith("text/event-stream")
    *blocks, rest = reply.body.decode().split("\n\n")
    assert rest == ""
    found = [re.fullmatch(r"event: (\w+)\ndata: (.*)", block) for block in blocks if not block.startswith(":")]
    assert None not in found
    return [(match[1], json.loads(match[2])) for match in found if match is not None]


@pytest.fixture(scope="module")
def server(serve: Callable[..., Served], engines: dict[str, Path]) -> Served:
    return serve("--engine", engines["step"], "--engine", engines["loop"], "--attempts", 3)


@pytest.mark.parametrize("name", ["step", "loop"])
def test_steps_are_those_of_trace_and_answers_those_of_solve(
    server: Served, engines: dict[str, Path], name: str
) -> None:
    puzzles = SMALL[:5]
    events = events_of(server.ask(f"/solve/stream?model={name}", {"puzzles": puzzles}))
    answers = server.ask(f"/solve?model={name}", {"puzzles": puzzles}).json()["answers"]
    assert [kind for kind, _ in events[:5]] == ["puzzle"] * 5
    assert events[-1] == ("end", {})
    solver = trm.Solver(engines[name], attempts=3, batch=8 if name == "step" else None)
    for number, (puzzle, answer) in enumerate(zip(puzzles, answers), start=1):
        mine = [(kind, data) for kind, data in events if data.get("number") == number]
        kind, last = mine[-1]
        assert kind == "answer"
        assert without_time([last]) == without_time([{"number": number, **answer}])
        expected = [
            {
                "number": number,
                "attempt": step.attempt,
                "step": step.step,
                "answer": step.answer,
                "halt_logit": step.halt_logit,
                "confidence": [round(float(value), 4) for value in step.confidence],
                "halted": step.halted,
                "verified": step.verified,
            }
            for step in solver.trace(puzzle)
        ]
        assert [data for kind, data in mine if kind == "step"] == expected


def test_what_cannot_be_read_has_its_place_and_what_cannot_be_shown_is_refused(
    server: Served, serve: Callable[..., Served], tmp_path: Path
) -> None:
    events = events_of(server.ask("/solve/stream", f"{SMALL[0]}\nrubbish\n".encode()))
    assert [kind for kind, data in events if data.get("number") == 2] == ["puzzle", "answer"]
    for kind, data in events:
        if data.get("number") == 2:
            assert "request line 2" in data["error"], kind
    assert events_of(server.ask("/solve/stream", {"puzzles": ["rubbish"]}))[-1] == ("end", {})
    assert server.ask("/solve/stream", b"").status == 400
    onnx.save(exported("trm-mlp", "unrolled", steps=3), tmp_path / "unrolled.onnx")
    unrolled = serve("--engine", tmp_path / "unrolled.onnx")
    reply = unrolled.ask("/solve/stream", SMALL[0].encode())
    assert reply.status == 400
    assert "is unrolled to 3 steps and shows the last one alone" in reply.json()["error"]
    assert unrolled.ask("/solve", SMALL[0].encode()).json()["answers"][0]["steps"] <= 3


def test_steps_come_before_the_answer_is_known(serve: Callable[..., Served], engines: dict[str, Path]) -> None:
    endless = serve("-e", engines["step"], "--attempt-steps", 10_000, "--halt-threshold", "inf", "--deadline", 3)
    events = events_of(endless.ask("/solve/stream", SMALL[0].encode()))
    steps = [data["step"] for kind, data in events if kind == "step"]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) > 10
    assert events[-1] == ("error", {"error": "the puzzles were not solved before the deadline"})
