"""From models and flags to a server that drains when it is told to stop."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import re
import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from trm_deploy.errors import InputError
from trm_deploy.serving.http import ANSWER_SECONDS
from trm_deploy.serving.models import ServedModel

log = logging.getLogger(__name__)

# Seconds in which a client must have sent the head of a request.
HEAD_SECONDS = 20.0
INDEX = "index.html"
# What a model's name has not, since it is part of an address.
UNFIT = re.compile(r"[^A-Za-z0-9._-]+")


class Connection(H11Protocol):
    """uvicorn's connection, which does not wait forever for a client that begins a request and does not go on."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        super().data_received(data)
        self._watch_head()

    def _watch_head(self) -> None:
        waits = self.cycle is None or self.cycle.response_complete
        if waits and self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self.timeout_keep_alive_handler)
        elif not waits and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()


class Server(uvicorn.Server):
    """uvicorn's server, which says where it listens once it does."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        await super().startup(sockets)
        for bound in sockets or []:
            address, port = bound.getsockname()[:2]
            log.info("listening on http://%s:%d", f"[{address}]" if ":" in address else address, port)


def names_of(engines: Sequence[str]) -> dict[str, str]:
    """The file, or name of a shipped model, behind each name: NAME=FILE, else the file's name without its ending.

    Raises:
        InputError: two models have one name, or one has none that fits into an address.
    """
    found: dict[str, str] = {}
    for engine in engines:
        name, equals, file = engine.partition("=")
        if not equals or Path(engine).exists():
            name, file = UNFIT.sub("-", Path(engine.partition("@")[0]).stem), engine
        if not name or UNFIT.search(name) or not file:
            raise InputError(
                f"--engine {engine}: expected NAME=FILE with letters, digits and . _ - in the name, or FILE alone"
            )
        if name in found:
            raise InputError(
                f"--engine {engine}: {found[name]} has the name {name!r} already",
                hint=f"give it another: {name}-2={file}",
            )
        found[name] = file
    return found


def page(folder: Path | None) -> Path | None:
    """The folder of the page that is served at "/": the named one, else the playground where it is installed.

    Raises:
        InputError: the named folder holds no page.
    """
    if folder is None:
        spec = importlib.util.find_spec("trm_deploy.web")
        installed = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
        return next((place for place in installed if (place / INDEX).is_file()), None)
    if not (folder / INDEX).is_file():
        raise InputError(f"--web {folder}: there is no {INDEX} in it", hint="name the folder of a page")
    return folder


def make_server(app: FastAPI, *, deadline: float) -> Server:
    """A server of an application; a deadline in seconds, after which it does not wait for a request when it stops."""
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(deadline + ANSWER_SECONDS) + 1,
    )
    return Server(config)


def run(app: FastAPI, bound: socket.socket, models: Mapping[str, ServedModel], *, deadline: float) -> None:
    """Serve until SIGTERM or Ctrl-C; what has begun is answered.

    Args:
        app: see `app.make_app`.
        bound: the socket, see `access.bind`.
        models: whose threads end with it.
        deadline: of a request, in seconds.
    """
    # uvicorn raises the signal anew once it has drained.
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        make_server(app, deadline=deadline).run(sockets=[bound])
    finally:
        signal.signal(signal.SIGTERM, before)
        for model in models.values():
            model.engine.close()
    log.info("stopped: every request that had begun is answered")
