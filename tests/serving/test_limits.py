"""Limits before memory is taken, deadlines, clients that go away, tokens: what is refused leaves nothing behind."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cli.test_commands import assert_one_line_error, trm
from tests.serving.conftest import SMALL, Served
from trm_deploy.cli import main, messages

Serve = Callable[..., Served]
TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def endless(serve: Serve, engines: dict[str, Path]) -> Served:
    """Every puzzle takes longer than its deadline."""
    flags = ("--attempt-steps", 10_000, "--halt-threshold", "inf", "--attempts", 1000)
    limits = ("--deadline", 2, "--queue", 6, "--max-puzzles", 8, "--max-body", 5000)
    return serve("--engine", engines["step"], "--batch", 2, *flags, *limits)


def metric(server: Served, name: str) -> float:
    found = re.search(rf'^{name}{{model="step"}} (.*)$', server.ask("/metrics").body.decode(), re.MULTILINE)
    assert found is not None
    return float(found[1])


def wait_until_idle(server: Served) -> None:
    until = time.monotonic() + 20
    while (metric(server, "trm_slots_in_use"), metric(server, "trm_queue_puzzles")) != (0, 0):
        assert time.monotonic() < until, "slots or queue are not free again"
        time.sleep(0.05)


def test_a_deadline_frees_the_slots(endless: Served) -> None:
    started = time.monotonic()
    reply = endless.ask("/solve", {"puzzles": SMALL[:4]})
    assert (reply.status, reply.json()) == (504, {"error": "the puzzles were not solved before the deadline"})
    assert 2 <= time.monotonic() - started < 10
    wait_until_idle(endless)


def test_a_full_queue_says_when_to_try_again(endless: Served) -> None:
    with ThreadPoolExecutor(2) as pool:
        # Two are in slots, six wait.
        first = pool.submit(endless.ask, "/solve", {"puzzles": SMALL[:6]})
        until = time.monotonic() + 10
        while metric(endless, "trm_queue_puzzles") != 4 and time.monotonic() < until:
            time.sleep(0.02)
        reply = endless.ask("/solve", {"puzzles": SMALL[:3]})
        assert reply.status == 429
        assert reply.json() == {"error": "4 puzzles wait and 3 more came, up to 6 may wait"}
        assert 1 <= int(reply.headers["Retry-After"]) <= 60
        assert first.result().status == 504
    wait_until_idle(endless)
    # One request that is more than the queue will never be taken.
    assert endless.ask("/solve", {"puzzles": SMALL[:7]}).status == 429


def test_clients_that_go_away_free_their_slots(endless: Served) -> None:
    body = json.dumps({"puzzles": SMALL[:2]}).encode()
    for path in ("/solve", "/solve/stream"):
        with socket.create_connection(("127.0.0.1", endless.port)) as connection:
            sized = f"Content-Type: application/json\r\nContent-Length: {len(body)}"
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\n{sized}\r\n\r\n"
            connection.sendall(head.encode() + body)
            until = time.monotonic() + 10
            while metric(endless, "trm_slots_in_use") != 2:
                assert time.monotonic() < until
                time.sleep(0.02)
        gone = time.monotonic()
        wait_until_idle(endless)
        assert time.monotonic() - gone < 1.5, "sooner than the deadline"
    assert [line["status"] for line in endless.logged() if line.get("path") == "/solve"][-1] == 499


def test_what_is_too_large_is_refused_before_it_is_read(endless: Served) -> None:
    reply = endless.ask("/solve", b"x" * 5001)
    assert (reply.status, reply.json()["error"]) == (
        413,
        "the body has more than 5,000 bytes, expected at most that many",
    )
    assert endless.ask("/solve", "\n".join(SMALL[:9]).encode()).status == 413
    assert (
        endless.ask("/solve", {"puzzles": SMALL[:9]}).json()["error"].startswith("the request has 9 puzzles, expected")
    )
    # A length that is claimed, and a body without a length that does not end.
    connection = http.client.HTTPConnection("127.0.0.1", endless.port, timeout=10)
    connection.putrequest("POST", "/solve")
    connection.putheader("Content-Length", str(1 << 40))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()
    with socket.create_connection(("127.0.0.1", endless.port), timeout=10) as raw:
        raw.sendall(b"POST /solve HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunks = b"400\r\n" + b"." * 1024 + b"\r\n"
        with contextlib.suppress(OSError):  # it is cut off
            for _ in range(1 << 12):
                raw.sendall(chunks)
        with contextlib.suppress(ConnectionError):
            assert raw.recv(4096)[:13] in (b"HTTP/1.1 413 ", b"")
    reply = endless.ask("/solve", b"x", Content_Encoding="gzip")
    assert (reply.status, reply.json()["error"]) == (415, "the body is compressed ('gzip'), expected it as it is")


def test_a_slow_client_is_cut_off_and_holds_up_nobody(endless: Served) -> None:
    with socket.create_connection(("127.0.0.1", endless.port), timeout=10) as slow:
        slow.sendall(b"POST /solve HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
        slow.sendall(b"1.......")
        started = time.monotonic()
        assert endless.ask("/v2/health/ready").status == 200
        assert time.monotonic() - started < 1
        reply = slow.recv(4096)
        assert reply.startswith(b"HTTP/1.1 408 ")


def test_a_token_is_asked_for(serve: Serve, engines: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o600)
    server = serve("--engine", engines["step"], "--token-file", file, "--host", "0.0.0.0")
    server.address = server.address.replace("0.0.0.0", "127.0.0.1")
    for path in ("/solve", "/solve/stream", "/v2/models/step/infer"):
        reply = server.ask(path, SMALL[0].encode())
        assert (reply.status, reply.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert server.ask(path, SMALL[0].encode(), Authorization=f"Bearer {TOKEN}x").status == 401
        assert server.ask(path, SMALL[0].encode(), Authorization=f"Basic {TOKEN}").status == 401
    for path in ("/metrics", "/v2", "/v2/models/step", "/v2/models/step/ready"):
        assert server.ask(path).status == 401
        assert server.ask(path, Authorization=f"Bearer {TOKEN}").status == 200
    assert server.ask("/solve", SMALL[0].encode(), Authorization=f"bearer {TOKEN}").status == 200
    for path in ("/v2/health/live", "/v2/health/ready", "/openapi.json"):
        assert server.ask(path).status == 200, "probes need no token"
    document = server.ask("/openapi.json").json()
    assert document["security"] == [{"token": []}]
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert TOKEN not in "".join(server.lines)


def test_every_request_has_an_id_and_a_line_of_the_log(serve: Serve, engines: dict[str, Path]) -> None:
    server = serve("--engine", engines["step"])
    reply = server.ask("/solve", {"puzzles": [SMALL[0], "rubbish"]}, X_Request_Id="mine-1")
    assert reply.headers["X-Request-Id"] == "mine-1"
    made = server.ask("/nothing", X_Request_Id="not an id\t").headers["X-Request-Id"]
    assert re.fullmatch(r"[0-9a-f]{32}", made)
    assert server.stop() == 0
    lines = {line["id"]: line for line in server.logged() if "id" in line}
    line = lines["mine-1"]
    assert (line["method"], line["path"], line["status"], line["model"]) == ("POST", "/solve", 200, "step")
    assert (line["puzzles"], line["verified"]) == (2, reply.json()["answers"][0]["verified"])
    assert line["seconds"] > 0
    assert (lines[made]["status"], lines[made]["path"]) == (404, "/nothing")


def test_what_cannot_be_served_is_one_line(
    serve: Serve,
    engines: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(messages, "show_also", lambda *_: None)  # what it does stays with the process

    def assert_refused(*flags: object, said: tuple[str, ...]) -> None:
        monkeypatch.setattr(sys, "argv", ["trm-deploy", "serve", "--port", "0", *map(str, flags)])
        before = signal.getsignal(signal.SIGTERM)
        try:
            with pytest.raises(SystemExit, match="2"):
                main()
        finally:
            signal.signal(signal.SIGTERM, before)
        lines = capsys.readouterr().err.splitlines()
        assert [line.partition(":")[0] for line in lines] == ["error"], lines
        assert all(part in lines[0] for part in said), lines

    engine = engines["step"]
    (tmp_path / "open").write_text(TOKEN)
    (tmp_path / "open").chmod(0o644)
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "empty").chmod(0o600)
    refused: list[tuple[tuple[object, ...], tuple[str, ...]]] = [
        (("--host", "0.0.0.0"), ("other machines could reach it and there is no token", "--token-file")),
        (("--host", "::"), ("there is no token",)),
        (("--host", "nowhere.invalid"), ("is no address of this machine",)),
        (("--host", "192.0.2.1", "--token-file", tmp_path / "no"), ("the token file cannot be read",)),
        (("--token-file", tmp_path / "open"), ("others than its owner may read", "chmod 600")),
        (("--token-file", tmp_path / "empty"), ("holds no token",)),
        (("--engine", tmp_path / "none.onnx"), ("none.onnx: there is no such file",)),
        (("--engine", engine, "--engine", engine), ("has the name 'step' already", "step-2=")),
        (("--engine", f"a b={engine}"), ("expected NAME=FILE with letters",)),
        (("--engine", "=sudoku"), ("expected NAME=FILE with letters",)),
        (("--engine", "nonsense"), ("nonsense: there is no such file; shipped models: ",)),
        (("--web", tmp_path), ("there is no index.html in it",)),
        (("--port", "99999"), ("is not a whole number from 0 to 65535",)),
        (("--engine", engine, "--attempts", "0"), ("is not a whole number of at least 1",)),
    ]
    for flags, said in refused:
        given = flags if "--engine" in flags or "--web" in flags else ("--engine", engine, *flags)
        assert_refused(*given, said=said)
    running = serve("--engine", engine)
    result = trm("serve", "--port", running.port, "--engine", engine, cwd=tmp_path)
    assert_one_line_error(result, 2, f"another program listens on 127.0.0.1 port {running.port}", "--port")
