"""The application: /solve for people and scripts, the Open Inference Protocol, metrics, documentation, the page."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import anyio
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

import trm_deploy
from trm_deploy.errors import InputError
from trm_deploy.puzzles.reading import Question
from trm_deploy.serving import schemas
from trm_deploy.serving.engine import EngineFailed, QueueFull
from trm_deploy.serving.http import Bodies, Frame, Refused, error_response, json_response, trace_of, wait_for
from trm_deploy.serving.metrics import Metrics
from trm_deploy.serving.models import MAX_ATTEMPTS, ServedModel, TooMany
from trm_deploy.serving.solve_request import SolveRequest, read_request

# Threads that read puzzles: a body of JSON takes many times its size in memory while it is read.
READERS = 2


@dataclass(frozen=True)
class Limits:
    """What a request may take.

    Attributes:
        body: bytes of its body.
        puzzles: number of its puzzles.
        deadline: seconds until it is given up.
    """

    body: int = 4 << 20
    puzzles: int = 1024
    deadline: float = 300.0


class Service:
    """The models, and what their routes share."""

    def __init__(self, models: Mapping[str, ServedModel], limits: Limits) -> None:
        self.models, self.limits = models, limits
        self.metrics = Metrics(models)
        self.bodies = Bodies(limits.body)
        self.default = next(iter(models.values()))
        self._readers: anyio.CapacityLimiter | None = None

    def model(self, name: str | None) -> ServedModel:
        """The model of that name, the first one where None; raises `Refused` where there is none."""
        if name is None:
            return self.default
        if name not in self.models:
            raise Refused(404, f"there is no model {name[:80]!r} here, but {', '.join(self.models)}")
        return self.models[name]

    async def in_thread(self, function: Any, *arguments: Any) -> Any:
        """Call a function that may take a while."""
        if self._readers is None:
            self._readers = anyio.CapacityLimiter(READERS)
        return await anyio.to_thread.run_sync(functools.partial(function, *arguments), limiter=self._readers)

    async def questions(
        self, request: Request, model: ServedModel, asked: SolveRequest
    ) -> tuple[list[Question], int | None]:
        """The puzzles of a request's body, and how many attempts it asks for."""
        trace = trace_of(request)
        trace.model = model.name
        body = await self.bodies.read(request)
        found: tuple[list[Question], int | None] = await self.in_thread(
            read_request, model, asked, body, request.headers.get("content-type", ""), self.limits.puzzles
        )
        trace.stages["read"] = time.monotonic() - trace.started
        trace.fields["puzzles"] = len(found[0])
        return found


Model = Annotated[str | None, Query(description="Name of the model; the first one where it is left out.")]
Attempts = Annotated[int | None, Query(ge=1, le=MAX_ATTEMPTS, description="Maximum number of attempts at a puzzle.")]
InputFormat = Annotated[str | None, Query(description="Format of puzzle text, as of `run --input-format`.")]
Column = Annotated[str | None, Query(description="Column or key that holds the puzzles, as of `run --column`.")]


def make_app(
    models: Mapping[str, ServedModel], limits: Limits, *, token: str | None = None, web: Path | None = None
) -> FastAPI:
    """The application.

    Args:
        models: by their names, the default one first.
        limits: of a request.
        token: that requests must bring; None: none.
        web: folder with a page for "/".
    """
    app = FastAPI(title="trm-deploy", version=trm_deploy.__version__, description=schemas.DESCRIPTION, redoc_url=None)
    service = Service(models, limits)
    _answer_errors(app)
    app.add_middleware(Frame, token=token, deadline=limits.deadline, metrics=service.metrics)

    @app.post("/solve", responses=schemas.SOLVED, openapi_extra=schemas.PUZZLES)
    async def solve(
        request: Request,
        model: Model = None,
        attempts: Attempts = None,
        input_format: InputFormat = None,
        column: Column = None,
    ) -> Response:
        """Solve puzzles: text in any format that `run` reads, or JSON."""
        served = service.model(model)
        questions, tries = await service.questions(request, served, SolveRequest(attempts, input_format, column))
        solving = served.solving(questions, tries)
        served.engine.submit(solving.job)
        await wait_for(solving.job, served.engine, request)
        answers = [served.answer(solving, place) for place in range(len(questions))]
        for answer in answers:
            service.metrics.answer(served.name, answer)
        trace_of(request).fields["verified"] = sum(answer.verified for answer in answers)
        return json_response({"answers": [answer.to_plain() for answer in answers]})

    @app.get("/metrics", responses=schemas.METRICS)
    async def metrics() -> Response:
        """What Prometheus reads."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    if web is None:

        @app.get("/", include_in_schema=False)
        async def index() -> Response:
            return RedirectResponse("docs")
    else:
        app.mount("/", StaticFiles(directory=web, html=True))
    return app


def _answer_errors(app: FastAPI) -> None:
    """Every error is a JSON object with one message."""

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        return error_response(error.status, str(error), error.headers)

    @app.exception_handler(InputError)
    async def unreadable(request: Request, error: InputError) -> Response:
        return error_response(400, str(error))

    @app.exception_handler(TooMany)
    async def too_many(request: Request, error: TooMany) -> Response:
        return error_response(413, str(error))

    @app.exception_handler(QueueFull)
    async def full(request: Request, error: QueueFull) -> Response:
        return error_response(429, str(error), {"Retry-After": str(error.retry_after)})

    @app.exception_handler(EngineFailed)
    async def failed(request: Request, error: EngineFailed) -> Response:
        return error_response(503, str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = " ".join(str(part) for part in first["loc"])
        return error_response(422, f"{place}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        return error_response(error.status_code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> Response:
        return error_response(500, f"the server failed: see its log, id {trace_of(request).id}")
