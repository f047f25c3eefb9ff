"""Faults: clients that disconnect by the hundred, signals, an engine file that vanishes, hostile bodies."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cli.test_commands import assert_one_line_error, trm
from tests.conftest import run_json
from tests.serving.conftest import SMALL, Reply, Served, without_time
from tests.serving.test_limits import metric, wait_until_idle
from trm_deploy.runtimes.solving.session import SolveOptions, open_session
from trm_deploy.serving import access
from trm_deploy.serving import server as server_module
from trm_deploy.serving.app import make_app
from trm_deploy.serving.models import ServedModel
from trm_deploy.serving.service import Limits

Serve = Callable[..., Served]
CLIENTS = 200


@pytest.fixture(scope="module")
def server(serve: Serve, engines: dict[str, Path]) -> Served:
    return serve("--engine", engines["step"], "--batch", 4, "--attempts", 3)


def test_two_hundred_clients_half_of_which_disconnect(server: Served, engines: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("\n".join(SMALL))
    flags = ("-e", engines["step"], "--batch", 4, "--attempts", 3)
    expected = dict(zip(SMALL, without_time(run_json(*flags, tmp_path / "p.txt"))))

    def client(number: int) -> tuple[str, Reply | None]:
        puzzle = SMALL[number % len(SMALL)]
        if number % 2 == 0:
            return puzzle, server.ask("/solve", {"puzzles": [puzzle]})
        body = json.dumps({"puzzles": [puzzle] * 3}).encode()
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            path = "/solve" if number % 4 == 1 else "/solve/stream"
            connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode())
            connection.sendall(body if number % 3 else body[:10])
            time.sleep(number % 5 / 100)
        return puzzle, None

    with ThreadPoolExecutor(CLIENTS) as pool:
        replies = list(pool.map(client, range(CLIENTS)))
    answered = [(puzzle, reply) for puzzle, reply in replies if reply is not None]
    assert len(answered) == CLIENTS // 2
    for puzzle, reply in answered:
        assert reply.status == 200
        assert without_time(reply.json()["answers"]) == [expected[puzzle]]
    wait_until_idle(server)
    assert server.ask("/v2/health/ready").status == 200
    assert not [line for line in server.logged() if line["level"] in ("error", "critical")]


def test_sigterm_answers_what_has_begun_and_exits_with_0(serve: Serve, engines: dict[str, Path]) -> None:
    slow = serve("--engine", engines["step"], "--attempt-steps", 400, "--halt-threshold", "inf", "--attempts", 2)
    with ThreadPoolExecutor(3) as pool:
        begun = [pool.submit(slow.ask, "/solve", {"puzzles": [SMALL[0]]}) for _ in range(2)]
        begun.append(pool.submit(slow.ask, "/solve/stream", {"puzzles": [SMALL[1]]}))
        until = time.monotonic() + 10
        while metric(slow, "trm_slots_in_use") < 3:
            assert time.monotonic() < until
        slow.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", slow.port), timeout=5)
        for reply in begun[:2]:
            assert reply.result().status == 200
            assert reply.result().json()["answers"][0]["total_steps"] in (400, 800)
        assert begun[2].result().body.endswith(b"event: end\ndata: {}\n\n")
    assert slow.process.wait(timeout=30) == 0
    assert "Traceback" not in "".join(slow.lines)


def test_after_kill_9_it_starts_again_at_the_same_port(serve: Serve, engines: dict[str, Path]) -> None:
    first = serve("--engine", engines["step"])
    before = first.ask("/solve", {"puzzles": SMALL}).json()
    assert first.stop(signal.SIGKILL) == -signal.SIGKILL
    second = serve("--engine", engines["step"], "--port", first.port)
    assert second.port == first.port
    assert without_time(second.ask("/solve", {"puzzles": SMALL}).json()["answers"]) == without_time(before["answers"])


def test_an_engine_file_that_vanishes_is_missed_only_at_the_next_start(
    serve: Serve, engines: dict[str, Path], tmp_path: Path
) -> None:
    engine = tmp_path / "gone.onnx"
    shutil.copy(engines["step"], engine)
    running = serve("--engine", engine)
    before = running.ask("/solve", {"puzzles": SMALL}).json()["answers"]
    engine.unlink()
    assert without_time(running.ask("/solve", {"puzzles": SMALL}).json()["answers"]) == without_time(before)
    assert running.ask("/v2/health/ready").status == 200
    assert_one_line_error(trm("serve", "--port", 0, "-e", engine, cwd=tmp_path), 2, "gone.onnx: there is no such file")


HOSTILE: list[tuple[bytes, str]] = [
    (b"", "text/plain"),
    (b"\0\1\2", "text/plain"),
    (b"\xff\xfe\x00", "text/plain"),
    (b"." * 100_000, "text/plain"),
    (b"[" * 100_000, "text/plain"),
    (b"[" * 100_000, "application/json"),
    (b'{"puzzles": ' + b"[" * 100_000, "application/json"),
    (b"9" * 100_000, "application/json"),
    (b'{"puzzles": [' + b"9" * 10_000 + b"]}", "application/json"),
    (b'{"puzzles": [null]}', "application/json"),
    (b'{"puzzles": [[[]]]}', "application/json"),
    (b'{"puzzles": [[true]]}', "application/json"),
    (b'{"puzzles": [[1e400]]}', "application/json"),
    (b'{"puzzles": [], "attempts": 1}', "application/json"),
    (b'{"puzzles": {"0": "1"}}', "application/json"),
    (b'{"puzzles": ["1"], "attempts": 1e9}', "application/json"),
    (b'{"puzzles": ["1"], "attempts": true}', "application/json"),
    (b'{"puzzles": ["1"], "attempt": 1}', "application/json"),
    (b"NaN", "application/json"),
    (b'\xef\xbb\xbf{"puzzles": 1}', "application/json"),
    (b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>", "text/plain"),
    (b"PK\x03\x04" + b"\0" * 100, "application/zip"),
]


@pytest.mark.parametrize("path", ["/solve", "/solve/stream", "/v2/models/step/infer"])
def test_hostile_bodies_are_refused_in_one_line(server: Served, path: str) -> None:
    for body, kind in HOSTILE:
        reply = server.ask(path, body, Content_Type=kind)
        assert reply.status == 400, (body[:40], reply.body[:200])
        assert set(reply.json()) == {"error"}
        assert "\n" not in reply.json()["error"]
        assert len(reply.json()["error"]) < 400


def test_puzzles_that_cannot_be_read_have_an_error_in_their_place(server: Served) -> None:
    puzzles = ["", "a" * 16, SMALL[0], "1" * 16, "\ud800", [1] * 15, [2, 2, *[1] * 14], "\n", "..\n..", "�" * 16]
    answers = server.ask("/solve", {"puzzles": puzzles}).json()["answers"]
    assert [("error" in answer) for answer in answers] == [True, True, False, *[True] * 7]
    assert all(answer["error"].startswith(f"puzzle {n}") for n, answer in enumerate(answers, 1) if "error" in answer)


@pytest.mark.slow
def test_nothing_of_the_openapi_document_gives_an_internal_error(server: Served, tmp_path: Path) -> None:
    """Schemathesis: bodies and parameters that fit the document, and ones that do not."""
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.address}/openapi.json"),
        # What fits the document may still be no puzzle.
        *("--exclude-checks", "positive_data_acceptance"),
        *("--phases", "coverage,fuzzing", "--max-examples", "3", "--no-color", "--seed", "1"),
    ]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=280, check=False)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]
    assert "12 passed" in result.stdout
    assert server.ask("/v2/health/ready").status == 200


def test_who_begins_a_request_and_does_not_go_on_is_cut_off(
    engines: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a thread of this process, for the sake of a shorter time."""
    monkeypatch.setattr(server_module, "HEAD_SECONDS", 0.3)
    session = open_session(engines["loop"])
    models = {"loop": ServedModel("loop", session, SolveOptions(), queue=10)}
    bound = access.bind("127.0.0.1", 0, has_token=False)
    port = bound.getsockname()[1]
    running = server_module.make_server(make_app(models, Limits()), deadline=1)
    thread = threading.Thread(target=running.run, args=([bound],))
    thread.start()
    try:
        while not running.started:
            time.sleep(0.01)
        for sent in (b"", b"GET / HT", b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n"):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.sendall(sent)
                started = time.monotonic()
                assert connection.recv(100) == b""
                assert 0.1 < time.monotonic() - started < 5
        # A whole request keeps its connection, and the next one on it has its time anew.
        kept = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        for _ in range(3):
            kept.request("GET", "/v2/health/live")
            assert kept.getresponse().read() == b'{"live": true}'
            time.sleep(0.2)
        kept.sock.sendall(b"GET ")
        assert kept.sock.recv(100) == b""
        kept.close()
    finally:
        running.should_exit = True
        thread.join()
        models["loop"].engine.close()
