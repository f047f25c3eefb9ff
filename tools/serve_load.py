"""Servers and clients for the measurements of `trm-deploy serve`."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from trm_deploy.errors import TrmDeployError

ROOT = Path(__file__).parent.parent
Latencies = list[float]  # seconds


class Server:
    """A running server.

    Attributes:
        port: where it listens.
        process: its process id.
    """

    def __init__(self, port: int, process: int) -> None:
        self.port, self.process = port, process

    @property
    def resident_mib(self) -> float:
        """Resident memory, in MiB."""
        status = Path(f"/proc/{self.process}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        return int(found[1]) / 1024 if found else 0.0


@contextmanager
def serving(*arguments: object) -> Iterator[Server]:
    """A server on a free port; it must end with 0 when it is told to.

    Raises:
        TrmDeployError: it does not start, or does not end well.
    """
    command = [sys.executable, "-m", "trm_deploy", "serve", "--port", "0", "--log-format", "text", *map(str, arguments)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stderr is not None
    said = []
    port = 0
    for line in process.stderr:
        said.append(line)
        if match := re.search(r"listening on http://127\.0\.0\.1:(\d+)", line):
            port = int(match[1])
            break
    if not port:
        raise TrmDeployError("".join(said).strip() or "the server did not start")
    reader = threading.Thread(target=lambda: [None for _ in process.stderr or ()], daemon=True)
    reader.start()
    try:
        yield Server(port, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=60)
        reader.join()
        process.stderr.close()
    if code:
        raise TrmDeployError(f"the server ended with exit code {code}")


def send(server: Server, requests: Sequence[Sequence[str]], *, clients: int) -> tuple[float, Latencies]:
    """Send requests of puzzles to /solve, each client one after the other over its own connection.

    Returns:
        Seconds in all, and those of each request.

    Raises:
        TrmDeployError: a request was refused.
    """
    pending = iter(requests)
    lock = threading.Lock()

    def client(_: int) -> Latencies:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
        found = []
        while True:
            with lock:
                puzzles = next(pending, None)
            if puzzles is None:
                connection.close()
                return found
            started = time.perf_counter()
            body = json.dumps({"puzzles": list(puzzles)})
            connection.request("POST", "/solve", body, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            text = reply.read()
            if reply.status != 200:
                raise TrmDeployError(f"POST /solve gave {reply.status}: {text[:200].decode(errors='replace')}")
            found.append(time.perf_counter() - started)

    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        latencies = [latency for each in pool.map(client, range(clients)) for latency in each]
    return time.perf_counter() - started, latencies
