"""POST /solve: the answers of `run`, whatever shares their batch; what is refused, and how."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import run_json
from tests.serving.conftest import SMALL, Served, without_time

Serve = Callable[..., Served]
NINE = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"


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


def test_text_is_read_in_every_format_that_run_reads(server: Served, engines: dict[str, Path], tmp_path: Path) -> None:
    table = "name,puzzle,rating\n" + "".join(f"p{n},{puzzle},{n}\n" for n, puzzle in enumerate(SMALL[:3]))
    for text in (
        table,
        "\n".join(SMALL[:3]),
        "\n\n".join("\n".join(puzzle[row : row + 4] for row in (0, 4, 8, 12)) for puzzle in SMALL[:3]),
        "".join(f'{{"puzzle": "{puzzle}"}}\n' for puzzle in SMALL[:3]),
        str(SMALL[:3]),
    ):
        (tmp_path / "p.txt").write_text(text)
        expected = run_json("-e", engines["step"], "--batch", 4, "--attempts", 3, tmp_path / "p.txt")
        reply = server.ask("/solve", text.encode("utf-16"), Content_Type="application/x-www-form-urlencoded")
        assert without_time(reply.json()["answers"]) == without_time(expected)
    answers = server.ask("/solve?column=name", table.encode()).json()["answers"]
    assert all("error" in answer for answer in answers)
    reply = server.ask("/solve?input_format=nonsense", table.encode())
    assert (reply.status, "the input format 'nonsense' is unknown" in reply.json()["error"]) == (400, True)
    # A JSON object with puzzles is one whatever it is called.
    body = json.dumps({"puzzles": SMALL[:1], "attempts": 1}).encode()
    assert server.ask("/solve", body, Content_Type="text/plain").json()["answers"][0]["attempts"] == 1
    reply = server.ask("/solve", f"{NINE}\n".encode())
    assert (reply.status, "looks like 9 x 9; this engine is for 4 x 4" in reply.json()["error"]) == (400, True)


def test_a_page_is_served_where_nothing_else_is(serve: Serve, engines: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<p>hello")
    (tmp_path / "secret.py").write_text("code")
    (tmp_path.parent / "outside.txt").write_text("outside")
    server = serve("--engine", engines["step"], "--web", tmp_path)
    for path in ("/", "/index.html"):
        assert (server.ask(path).status, server.ask(path).body) == (200, b"<p>hello")
    for path in ("/secret.py", "/../outside.txt", "/%2e%2e/outside.txt", "/none"):
        assert server.ask(path).status == 404
    reply = server.ask("/solve")
    assert (reply.status, reply.headers["Allow"]) == (405, "POST")
    assert server.ask("/metrics").status == 200
