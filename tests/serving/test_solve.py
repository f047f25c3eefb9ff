"""POST /solve: the answers of `run`, whatever shares their batch; what is refused, and how."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.serving.conftest import SMALL, Served, run_json, without_time

Serve = Callable[..., Served]


@pytest.fixture(scope="module")
def server(serve: Serve, engines: dict[str, Path]) -> Served:
    return serve("--engine", engines["step"], "--engine", f"whole={engines['loop']}", "--batch", 4, "--attempts", 3)


@pytest.mark.parametrize("name", ["step", "loop"])
def test_answers_are_those_of_run_bit_for_bit_whatever_shares_their_batch(
    serve: Serve, engines: dict[str, Path], tmp_path: Path, name: str
) -> None:
    slots = 4 if name == "step" else 1
    flags = ("-e", engines[name], "--batch", slots, "--attempts", 3, "--seed", 5)
    (tmp_path / "p.txt").write_text("\n".join(SMALL))
    expected = without_time(run_json(*flags, tmp_path / "p.txt"))
    assert {answer["attempts"] for answer in expected} == {1, 2, 3} or len(expected) == len(SMALL)
    server = serve(*flags)
    # All at once, one by one from many clients, and as text.
    with ThreadPoolExecutor(8) as pool:
        whole = pool.submit(server.ask, "/solve", {"puzzles": SMALL})
        single = [pool.submit(server.ask, "/solve", {"puzzles": [puzzle]}) for puzzle in SMALL]
        text = pool.submit(server.ask, "/solve", "\n".join(SMALL).encode(), Content_Type="text/plain")
        assert without_time(whole.result().json()["answers"]) == expected
        assert without_time(text.result().json()["answers"]) == expected
        assert [without_time(each.result().json()["answers"])[0] for each in single] == expected


def test_a_request_may_ask_for_attempts_and_for_a_model(server: Served) -> None:
    hard = SMALL[0]
    one = server.ask("/solve", {"puzzles": [hard], "attempts": 1}).json()["answers"][0]
    assert one["attempts"] == 1
    many = server.ask("/solve?attempts=7", hard.encode()).json()["answers"][0]
    assert many["attempts"] == 7 or many["verified"]
    assert server.ask("/solve?model=whole", hard.encode()).status == 200
    reply = server.ask("/solve?model=nonsense", hard.encode())
    assert (reply.status, reply.json()["error"]) == (404, "there is no model 'nonsense' here, but step, whole")
