"""POST /solve/stream: server-sent events, step by step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from trm_deploy.puzzles.reading import Question
from trm_deploy.runtimes.solving.answer import Answer
from trm_deploy.runtimes.solving.trace import TraceStep
from trm_deploy.serving.http import DEADLINE, Trace
from trm_deploy.serving.metrics import Metrics
from trm_deploy.serving.models import ServedModel
from trm_deploy.support.jsontext import dumps

# Seconds without an event after which a comment keeps the connection alive.
QUIET_SECONDS = 15.0
# Digits of a confidence that are worth their bytes.
DIGITS = 4

Event = tuple[str, dict[str, Any]]


def event_text(name: str, data: dict[str, Any]) -> str:
    """One event as it is sent."""
    return f"event: {name}\ndata: {dumps(data)}\n\n"


def step_event(place: int, step: TraceStep) -> Event:
    """A supervision step of the puzzle at a place, from 0."""
    return "step", {
        "number": place + 1,
        "attempt": step.attempt,
        "step": step.step,
        "answer": step.answer,
        "halt_logit": step.halt_logit,
        "confidence": [round(float(value), DIGITS) for value in step.confidence],
        "halted": step.halted,
        "verified": step.verified,
    }


class Stream:
    """The events of one request, in the order in which they are computed."""

    def __init__(
        self, model: ServedModel, questions: Sequence[Question], attempts: int | None, trace: Trace, metrics: Metrics
    ) -> None:
        """Submit the puzzles.

        Raises:
            InputError: the model shows its last step alone.
            QueueFull, EngineFailed: see `EngineThread.submit`.
        """
        self._model, self._questions, self._trace, self._metrics = model, questions, trace, metrics
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        solving = model.watching(
            questions,
            attempts,
            show=lambda place, step: self._put(step_event(place, step)),
            answered=lambda place, answer: self._put(self._answer_event(place, answer)),
        )
        self._job = solving.job
        self._verified = 0
        model.engine.submit(self._job)
        self._job.ended.add_done_callback(lambda _: self._put(None))
        # However slowly the client reads, its slots are free after the deadline.
        self._at_deadline = self._loop.call_later(trace.left, model.engine.cancel, self._job)

    def _put(self, event: Event | None) -> None:
        """In the engine's thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    def _answer_event(self, place: int, answer: Answer) -> Event:
        self._metrics.answer(self._model.name, answer)
        self._verified += answer.verified
        return "answer", {"number": place + 1, **answer.to_plain()}

    async def text(self) -> AsyncIterator[str]:
        """What is sent; ends with the client, the deadline, or the last answer."""
        try:
            for event in self._beginning():
                yield event_text(*event)
            while True:
                try:
                    computed = await asyncio.wait_for(self._events.get(), QUIET_SECONDS)
                except asyncio.TimeoutError:
                    yield ": waiting\n\n"
                    continue
                if computed is None:
                    break
                yield event_text(*computed)
            yield event_text(*self._end())
        finally:
            self._at_deadline.cancel()
            self._model.engine.cancel(self._job)
            self._trace.count(self._job)
            self._trace.fields["verified"] = self._verified

    def _beginning(self) -> list[Event]:
        """Every puzzle; with the answer of those that need no computing."""
        events: list[Event] = []
        task = self._model.session.puzzle
        for place, question in enumerate(self._questions):
            if question.tokens is None:
                shown = {"puzzle": question.text, "error": question.error}
            else:
                shown = {"puzzle": task.text(question.tokens)}
            events.append(("puzzle", {"number": place + 1, **shown}))
        for place, question in enumerate(self._questions):
            if question.tokens is None or question.answered is not None:
                events.append(self._answer_event(place, Answer.of(question, None, task)))
        return events

    def _end(self) -> Event:
        error = self._job.ended.exception()
        if error is not None:
            return "error", {"error": str(error)}
        if self._job.cancelled:
            return "error", {"error": DEADLINE}
        return "end", {}
