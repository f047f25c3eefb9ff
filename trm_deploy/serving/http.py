"""Requests in, responses out: bodies within limits, errors as JSON, an id and a log line each."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trm_deploy.serving.access import is_allowed
from trm_deploy.serving.engine import EngineThread, Job
from trm_deploy.serving.metrics import Metrics
from trm_deploy.support.jsontext import dumps

log = logging.getLogger(__name__)

# Seconds in which a body must have come.
BODY_SECONDS = 60.0
# Bodies of the largest size that may be read at once: what else comes is told to try again.
BODIES = 16
# Seconds beyond its deadline in which a client must have read its answer.
ANSWER_SECONDS = 60.0
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# What those who only watch or look may have without a token: probes of an orchestrator, the page and the documentation.
OPEN = ("/v2/health/live", "/v2/health/ready", "/docs", "/openapi.json")
PROBED = ("/v2/health/live", "/v2/health/ready", "/metrics")
CLOSED = ("/v2", "/solve", "/metrics")
DEADLINE = "the puzzles were not solved before the deadline"
CLIENT_GONE = 499  # as nginx has it in its logs; nobody reads it


class Refused(Exception):
    """A request that is not done, with the status that says why."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers or {}


@dataclass
class Trace:
    """What becomes of a request, for its log line and the metrics.

    Attributes:
        id: of the request.
        started: time of `time.monotonic`.
        deadline: time at which it is given up.
        fields: of the log line.
        stages: seconds by stage.
        model: that it was for; empty where it was for none.
    """

    id: str
    started: float
    deadline: float
    fields: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, float] = field(default_factory=dict)
    model: str = ""

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return max(0.0, self.deadline - time.monotonic())

    def count(self, job: Job) -> None:
        """How long the job of this request took."""
        if job.finished:
            started = job.started or job.finished
            self.stages |= {"queue": started - job.submitted, "compute": job.finished - started}


def trace_of(request: Request) -> Trace:
    """Of a request that came through `Frame`."""
    found: Trace = request.scope["trm_trace"]
    return found


def error_response(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    """An error as the Open Inference Protocol has it."""
    return json_response({"error": message}, status, headers)


def json_response(document: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A document."""
    return Response(dumps(document), status, headers, media_type="application/json")


class Frame:
    """What every request gets, around the application: an id, a check of its token, a log line, an end."""

    def __init__(self, app: ASGIApp, *, token: str | None, deadline: float, metrics: Metrics) -> None:
        self._app, self._token, self._deadline, self._metrics = app, token, deadline, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        given = headers.get("x-request-id", "")
        started = time.monotonic()
        trace = Trace(given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex, started, started + self._deadline)
        scope["trm_trace"] = trace
        status = CLIENT_GONE

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", trace.id.encode())]
            await send(message)

        try:
            if self._refuses(scope["path"], headers.get("authorization", "")):
                challenge = {"WWW-Authenticate": "Bearer"}
                response = error_response(
                    401, "the token is missing or wrong: send Authorization: Bearer TOKEN", challenge
                )
                await response(scope, receive, named)
            else:
                await asyncio.wait_for(self._app(scope, receive, named), self._deadline + ANSWER_SECONDS)
        except (asyncio.TimeoutError, ClientDisconnect):
            pass  # who does not read the answer is cut off
        except Exception:
            log.exception("request %s failed", trace.id)
            if status == CLIENT_GONE:
                response = error_response(500, f"the server failed: see its log, id {trace.id}")
                await response(scope, receive, named)
        finally:
            self._write(scope, trace, status)

    def _refuses(self, path: str, authorization: str) -> bool:
        if self._token is None or path in OPEN or not path.startswith(CLOSED):
            return False
        return not is_allowed(authorization, self._token)

    def _write(self, scope: Scope, trace: Trace, status: int) -> None:
        seconds = time.monotonic() - trace.started
        route = scope.get("route")
        self._metrics.request(getattr(route, "path", "other"), status)
        if trace.model:
            stages = {**trace.stages, "respond": seconds - sum(trace.stages.values())}
            self._metrics.seconds(trace.model, stages)
        fields = {
            "id": trace.id,
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "seconds": round(seconds, 6),
            "client": (scope.get("client") or ("",))[0],
            **({"model": trace.model} if trace.model else {}),
            **trace.fields,
        }
        quiet = scope["path"] in PROBED and status == 200
        log.log(
            logging.DEBUG if quiet else logging.INFO,
            "%s %r %s, %.3f s, id %s", scope["method"], scope["path"], status, seconds, trace.id,
            extra={"fields": fields},
        )  # fmt: skip


class Bodies:
    """Reads the bodies of requests within limits, before memory is taken."""

    def __init__(self, largest: int) -> None:
        """Begin, with the size in bytes of the largest body."""
        self._largest = largest
        self._held = 0

    async def read(self, request: Request) -> bytes:
        """The body.

        Raises:
            Refused: it is too large, compressed, or does not come in time.
            ClientDisconnect: the client went away.
        """
        encoding = request.headers.get("content-encoding", "identity")
        if encoding.lower() != "identity":
            raise Refused(415, f"the body is compressed ({encoding[:40]!r}), expected it as it is", CLOSE)
        claimed = request.headers.get("content-length", "")
        if claimed.isdigit() and int(claimed[:20]) > self._largest:
            raise self._too_large()
        seconds = min(BODY_SECONDS, trace_of(request).left)
        try:
            return await asyncio.wait_for(self._gather(request), seconds)
        except asyncio.TimeoutError as error:
            raise Refused(408, f"the body did not come within {seconds:.0f} s", CLOSE) from error

    async def _gather(self, request: Request) -> bytes:
        body = bytearray()
        stream: AsyncIterator[bytes] = request.stream()
        try:
            async for chunk in stream:
                if len(body) + len(chunk) > self._largest:
                    raise self._too_large()
                # What has come is counted, not what is claimed: slow clients keep nobody out.
                if self._held + len(chunk) > BODIES * self._largest:
                    raise Refused(503, "too many large requests at once", {**CLOSE, "Retry-After": "1"})
                self._held += len(chunk)
                body += chunk
            return bytes(body)
        finally:
            self._held -= len(body)

    def _too_large(self) -> Refused:
        return Refused(413, f"the body has more than {self._largest:,} bytes, expected at most that many", CLOSE)


# What is left of a body that is not read goes with the connection.
CLOSE = {"Connection": "close"}


async def wait_for(job: Job, engine: EngineThread, request: Request) -> None:
    """Wait until a job is done; whatever ends the waiting sooner frees its slots.

    Raises:
        Refused: its deadline has passed.
        ClientDisconnect: the client went away.
        EngineFailed: the engine could not compute it.
    """
    trace = trace_of(request)
    ended = asyncio.wrap_future(job.ended)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({ended, gone}, timeout=trace.left, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            return ended.result()
        if gone.done():
            raise ClientDisconnect
        raise Refused(504, DEADLINE)
    finally:
        gone.cancel()
        engine.cancel(job)
        trace.count(job)


async def _gone(request: Request) -> None:
    receive: Callable[[], Any] = request.receive
    while (await receive())["type"] != "http.disconnect":
        pass
