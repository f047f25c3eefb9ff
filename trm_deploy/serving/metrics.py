"""What Prometheus reads at /metrics."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from trm_deploy.runtimes.solving.answer import Answer
from trm_deploy.runtimes.solving.scheduling import Finished
from trm_deploy.serving.models import ServedModel

SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)


class Metrics:
    """The counts of one server."""

    def __init__(self, models: Mapping[str, ServedModel]) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter("trm_requests", "Requests answered.", ["endpoint", "status"], registry=self._registry)
        self._puzzles = self._counter("trm_puzzles", "Puzzles answered.")
        self._verified = self._counter("trm_verified", "Puzzles whose answer the rules verify.")
        self._steps = self._counter("trm_steps", "Supervision steps of answered puzzles.")
        self._attempts = self._counter("trm_attempts", "Attempts at answered puzzles.")
        self._seconds = Histogram(
            "trm_stage_seconds",
            "Seconds of a request by stage: read, queue, compute, respond.",
            ["model", "stage"],
            registry=self._registry,
            buckets=SECONDS,
        )
        waiting = self._gauge("trm_queue_puzzles", "Puzzles that wait for a slot.")
        slots = self._gauge("trm_slots", "Slots of the engine.")
        used = self._gauge("trm_slots_in_use", "Slots that compute an attempt.")
        for name, model in models.items():
            waiting.labels(name).set_function(functools.partial(getattr, model.engine, "waiting"))
            slots.labels(name).set(model.engine.slots)
            used.labels(name).set_function(functools.partial(getattr, model.engine, "slots_in_use"))
            for counter in (self._puzzles, self._verified, self._steps, self._attempts):
                counter.labels(name)  # there from the beginning, as 0

    def _counter(self, name: str, help: str) -> Counter:
        return Counter(name, help, ["model"], registry=self._registry)

    def _gauge(self, name: str, help: str) -> Gauge:
        return Gauge(name, help, ["model"], registry=self._registry)

    def request(self, endpoint: str, status: int) -> None:
        """A request was answered."""
        self._requests.labels(endpoint, str(status)).inc()

    def answer(self, model: str, answer: Answer) -> None:
        """A puzzle was answered."""
        if not answer.error:
            self._count(model, answer.verified, answer.total_steps, answer.attempts)

    def inference(self, model: str, finished: Finished) -> None:
        """A single attempt was made, which nothing verifies."""
        self._count(model, False, finished.steps, 1)

    def _count(self, model: str, verified: bool, steps: int, attempts: int) -> None:
        self._puzzles.labels(model).inc()
        self._verified.labels(model).inc(verified)
        self._steps.labels(model).inc(steps)
        self._attempts.labels(model).inc(attempts)

    def seconds(self, model: str, stages: Mapping[str, float]) -> None:
        """How long the stages of a request took."""
        for stage, seconds in stages.items():
            self._seconds.labels(model, stage).observe(max(0.0, seconds))

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)
