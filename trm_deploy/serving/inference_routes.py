"""The addresses of the Open Inference Protocol."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import FastAPI, Header, Request, Response
from fastapi import Path as InPath

from trm_deploy.serving import inference, schemas
from trm_deploy.serving.http import Refused, json_response, trace_of, wait_for
from trm_deploy.serving.models import ServedModel, finished
from trm_deploy.serving.service import Service

Name = Annotated[str, InPath(description="Name of the model.", max_length=200)]
Version = Annotated[str, InPath(description="Version of the model: 1.", max_length=20)]
JsonLength = Annotated[str | None, Header(alias=inference.HEADER, description="Bytes of JSON before the tensors.")]


def add(app: FastAPI, service: Service) -> None:
    """Add them; a model has one version, which may be named or left out."""

    @app.get("/v2", responses=schemas.DOCUMENT)
    async def server() -> Response:
        """What the server is."""
        return json_response(inference.server_metadata())

    @app.get("/v2/health/live", responses=schemas.HEALTH)
    async def live() -> Response:
        """Whether the server runs; 503: start it again."""
        return json_response({"live": service.is_ready}, 200 if service.is_ready else 503)

    @app.get("/v2/health/ready", responses=schemas.HEALTH)
    async def ready() -> Response:
        """Whether requests can be sent."""
        return json_response({"ready": service.is_ready}, 200 if service.is_ready else 503)

    @app.get("/v2/models/{name}", responses=schemas.DOCUMENT)
    async def metadata(name: Name) -> Response:
        """What a model takes and gives."""
        return json_response(inference.model_metadata(service.model(name)))

    @app.get("/v2/models/{name}/versions/{version}", responses=schemas.DOCUMENT)
    async def version_metadata(name: Name, version: Version) -> Response:
        """What a version of a model takes and gives."""
        return json_response(inference.model_metadata(_model(service, name, version)))

    @app.get("/v2/models/{name}/ready", responses=schemas.HEALTH)
    async def model_ready(name: Name) -> Response:
        """Whether requests for a model can be sent."""
        return _ready(service.model(name))

    @app.get("/v2/models/{name}/versions/{version}/ready", responses=schemas.HEALTH)
    async def version_ready(name: Name, version: Version) -> Response:
        """Whether requests for a version of a model can be sent."""
        return _ready(_model(service, name, version))

    @app.post("/v2/models/{name}/infer", responses=schemas.INFERRED, openapi_extra=schemas.INFER)
    async def infer(request: Request, name: Name, json_length: JsonLength = None) -> Response:
        """One attempt at each question, which nothing verifies."""
        return await _infer(service, service.model(name), request, json_length)

    @app.post("/v2/models/{name}/versions/{version}/infer", responses=schemas.INFERRED, openapi_extra=schemas.INFER)
    async def version_infer(request: Request, name: Name, version: Version, json_length: JsonLength = None) -> Response:
        """One attempt at each question by a version of a model."""
        return await _infer(service, _model(service, name, version), request, json_length)


async def _infer(service: Service, model: ServedModel, request: Request, json_length: str | None) -> Response:
    trace = trace_of(request)
    trace.model = model.name
    body = await service.bodies.read(request)
    asked = await service.in_thread(inference.parse, model, body, json_length, service.limits.puzzles)
    trace.stages["read"] = time.monotonic() - trace.started
    trace.fields["puzzles"] = len(asked.tokens)
    job = model.inferring(asked.tokens, asked.puzzle_ids, asked.limits)
    model.engine.submit(job)
    await wait_for(job, model.engine, request)
    found = finished(job)
    for each in found:
        service.metrics.inference(model.name, each)
    content, headers = inference.response(model, asked, found)
    return Response(content, headers=headers)


def _ready(model: ServedModel) -> Response:
    return json_response({"name": model.name, "ready": model.engine.works}, 200 if model.engine.works else 503)


def _model(service: Service, name: str, version: str) -> ServedModel:
    model = service.model(name)
    if version != inference.VERSION:
        raise Refused(404, f"{name} has the version {inference.VERSION}, not {version[:20]!r}")
    return model
