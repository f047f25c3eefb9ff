"""The connection to a Ray cluster, and what can be wrong with it in one line."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

from trm_deploy.errors import CannotRunHere, InputError, require
from trm_deploy.support import machine

LOCAL = "local"
# Seconds in which a cluster must take a connection: Ray itself tries for half a minute.
PATIENCE_S = 5.0
# What the object store of a cluster on this machine may take beside the model; bytes.
STORE = 128 << 20
PLACE = re.compile(r"(?P<host>[^/@\s]+):(?P<port>[0-9]{1,5})")


@contextlib.contextmanager
def connected(address: str, *, store: int = 0) -> Iterator[Any]:
    """Ray, connected to a cluster; one that is connected already is used as it is, and stays connected.

    Args:
        address: HOST:PORT of a cluster's head, "auto" for the one that this machine belongs to, or "local" for one on
            this machine that ends with the block.
        store: bytes of the model's files, which a local cluster's object store must hold.

    Raises:
        MissingPackage: Ray is not installed.
        InputError: nothing answers at the address.
        CannotRunHere: the cluster is of another version of Ray or Python.
    """
    # Ray prints what its nodes complain of to standard output, among the answers; it reads this when it is imported.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    ray = require("ray", extra="ray", purpose="to solve with --ray")
    if ray.is_initialized():
        yield ray
        return
    with _sigterm_as_before() as take_back:
        _start(ray, address, store)
        take_back()
        try:
            yield ray
        finally:
            ray.shutdown()


@contextlib.contextmanager
def _sigterm_as_before() -> Iterator[Callable[[], object]]:
    """SIGTERM ends the block with the exit code 143, and is handled as before after it.

    Ray takes the signal for itself, and while it waits makes the exit code 1 of whatever a handler raises.

    Yields:
        What takes the signal back from Ray.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    handler = signal.getsignal(signal.SIGTERM) or signal.SIG_DFL
    came: list[int] = []

    def terminate(number: int, frame: object) -> None:
        came.append(128 + number)
        raise SystemExit(came[0])

    try:
        yield lambda: signal.signal(signal.SIGTERM, terminate)
    except SystemExit as end:
        if not came:
            raise
        raise SystemExit(came[0]) from end
    finally:
        signal.signal(signal.SIGTERM, handler)


def _start(ray: Any, address: str, store: int) -> None:
    """Connect, or start a cluster of this machine's cores; it sends no statistics."""
    arguments: dict[str, Any] = {"address": address}
    if address == LOCAL:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        arguments |= {"num_cpus": machine.cores(), "include_dashboard": False, "object_store_memory": STORE + 2 * store}
    else:
        _check_place(address)
    try:
        ray.init(**arguments, log_to_driver=False, configure_logging=True, logging_level=logging.ERROR)
    except Exception as error:
        raise _refused(ray, address, error) from error


def _check_place(address: str) -> None:
    """Whether anything answers there; the host of ray://HOST:PORT as well."""
    match = PLACE.fullmatch(address.removeprefix("ray://"))
    if match is None:
        if address != "auto":
            raise InputError(f"--ray is {address!r}, expected local, auto, or HOST:PORT of a cluster's head")
        return
    try:
        socket.create_connection((match["host"], int(match["port"])), timeout=PATIENCE_S).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"--ray {address}: no Ray cluster answers there ({error})",
            hint="type on the cluster's head: ray start --head",
        ) from error


def _refused(ray: Any, address: str, error: Exception) -> Exception:
    """What Ray says when it does not connect, in one line."""
    text = " ".join(str(error).split())
    if "ersion mismatch" in text:
        there, _, here = text.partition("This process")
        versions = [re.search(r"Ray: (\S+) Python: (\S+)", part) for part in (there, here)]
        if all(versions):
            theirs, ours = (f"Ray {match[1]} and Python {match[2]}" for match in versions if match)
            return CannotRunHere(
                f"--ray {address}: the cluster has {theirs}, this machine {ours}",
                hint=f"type: pip install ray=={versions[0][1]}, in a Python of that version",  # type: ignore[index]
            )
    if isinstance(error, ConnectionError) and address == "auto":
        return InputError(
            "--ray auto: this machine belongs to no Ray cluster", hint="type: ray start --head, or use --ray local"
        )
    return CannotRunHere(f"--ray {address}: Ray {ray.__version__} does not connect ({text[:200]})")
