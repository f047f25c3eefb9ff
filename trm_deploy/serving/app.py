"""The application: /solve for people and scripts, the Open Inference Protocol, metrics, documentation, the page."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

import trm_deploy
from trm_deploy.errors import InputError
from trm_deploy.serving import inference, inference_routes, page, schemas
from trm_deploy.serving.engine import EngineFailed, QueueFull
from trm_deploy.serving.http import Frame, Refused, error_response, json_response, trace_of, wait_for
from trm_deploy.serving.models import MAX_ATTEMPTS, ServedModel, TooMany
from trm_deploy.serving.service import Limits, Service
from trm_deploy.serving.solve_request import SolveRequest
from trm_deploy.serving.streaming import Stream

Model = Annotated[str | None, Query(description="Name of the model; the first one where it is left out.")]
Attempts = Annotated[int | None, Query(ge=1, le=MAX_ATTEMPTS, description="Maximum number of attempts at a puzzle.")]
InputFormat = Annotated[str | None, Query(description="Format of puzzle text, as of `run --input-format`.")]
Column = Annotated[str | None, Query(description="Column or key that holds the puzzles, as of `run --column`.")]


async def _asked(attempts: Attempts = None, input_format: InputFormat = None, column: Column = None) -> SolveRequest:
    """What the query asks of the solving."""
    return SolveRequest(attempts, input_format, column)


Asked = Annotated[SolveRequest, Depends(_asked)]


def make_app(
    models: Mapping[str, ServedModel], limits: Limits, *, token: str | None = None, web: Path | None = None
) -> FastAPI:
    """The application.

    Args:
        models: by their names, the default one first.
        limits: of a request.
        token: that requests must bring; None: none.
        web: folder with a page for "/".

    Raises:
        InputError: the page's `models.json` is not one.
    """
    app = FastAPI(title="trm-deploy", version=trm_deploy.__version__, description=schemas.DESCRIPTION, redoc_url=None)
    service = Service(models, limits)
    _answer_errors(app)
    app.add_middleware(Frame, token=token, deadline=limits.deadline, metrics=service.metrics)

    @app.post("/solve", responses=schemas.SOLVED, openapi_extra=schemas.PUZZLES)
    async def solve(request: Request, asked: Asked, model: Model = None) -> Response:
        """Solve puzzles: text in any format that `run` reads, or JSON."""
        served = service.model(model)
        questions, tries = await service.questions(request, served, asked)
        solving = served.solving(questions, tries)
        served.engine.submit(solving.job)
        await wait_for(solving.job, served.engine, request)
        answers = [served.answer(solving, place) for place in range(len(questions))]
        for answer in answers:
            service.metrics.answer(served.name, answer)
        trace_of(request).fields["verified"] = sum(answer.verified for answer in answers)
        return json_response({"answers": [answer.to_plain() for answer in answers]})

    @app.post("/solve/stream", responses=schemas.STREAMED, openapi_extra=schemas.PUZZLES)
    async def stream(request: Request, asked: Asked, model: Model = None) -> Response:
        """Solve puzzles, and show every supervision step as it is computed, as server-sent events."""
        served = service.model(model)
        questions, tries = await service.questions(request, served, asked)
        events = Stream(served, questions, tries, trace_of(request), service.metrics)
        # A proxy passes on what comes when it comes.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(events.text(), media_type="text/event-stream", headers=headers)

    inference_routes.add(app, service)

    @app.get("/metrics", responses=schemas.METRICS)
    async def metrics() -> Response:
        """What Prometheus reads."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    if web is None:

        @app.get("/", include_in_schema=False)
        async def index() -> Response:
            return RedirectResponse("docs")
    else:
        known = page.document(models, web)

        @app.get("/models.json", include_in_schema=False)
        async def models_of_the_page() -> Response:
            return json_response(known)

        app.mount("/", Page(app.routes, directory=web, html=True))
    general = app.openapi

    def document() -> dict[str, Any]:
        return schemas.as_served(general(), list(models), inference.VERSION, has_token=token is not None)

    app.openapi = document  # type: ignore[method-assign]  # as FastAPI's documentation does it
    return app


class Page(StaticFiles):
    """The files of a page, at the addresses that nothing else has.

    The playground's folder is a package, whose code is not part of the page.
    """

    def __init__(self, routes: Sequence[BaseRoute], **settings: Any) -> None:
        super().__init__(**settings)
        self._routes = routes

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """See Starlette."""
        return ("", None) if path.endswith((".py", ".pyc")) else super().lookup_path(path)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """See Starlette; raises `HTTPException` where the address is of something else, which has other methods."""
        taken = [route for route in self._routes if route.matches(scope)[0] is Match.PARTIAL]
        allowed = sorted({method for route in taken for method in getattr(route, "methods", None) or ()})
        if allowed:
            raise HTTPException(405, headers={"Allow": ", ".join(allowed)})
        return await super().get_response(path, scope)


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
        message = str(error.detail)
        if error.status_code in (404, 405):
            message = f"there is no {request.method} {request.url.path[:80]!r} here: see /docs"
        return error_response(error.status_code, message, dict(error.headers or {}))
