"""The models that are served, and what all routes share."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import anyio
from fastapi import Request

from trm_deploy.puzzles.reading import Question
from trm_deploy.serving.http import Bodies, Refused, trace_of
from trm_deploy.serving.metrics import Metrics
from trm_deploy.serving.models import ServedModel
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

    body: int = 1 << 20
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

    @property
    def is_ready(self) -> bool:
        """Whether every engine works."""
        return all(model.engine.works for model in self.models.values())

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
