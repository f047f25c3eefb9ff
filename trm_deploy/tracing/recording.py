"""The steps of a puzzle's attempts as `Solver.trace` shows them, with what is needed to show them again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from trm_deploy.puzzles.base import DOUBTFUL, Puzzle, Tokens
from trm_deploy.runtimes.solving.attempts import Forms
from trm_deploy.runtimes.solving.session import SolveOptions, SolvingSession
from trm_deploy.runtimes.solving.trace import TraceStep, trace

SCHEMA = 1
# Digits of a confidence that are worth their bytes.
DIGITS = 3


@dataclass(frozen=True)
class RecordedStep:
    """A supervision step.

    Attributes:
        shown: what it came to.
        changed: cells that differ from the step before of the same attempt; at the first from the puzzle.
        milliseconds: that it took.
    """

    shown: TraceStep
    changed: int
    milliseconds: float

    @property
    def doubtful(self) -> int:
        """Cells whose token has a probability below `DOUBTFUL`."""
        return int((self.shown.confidence < DOUBTFUL).sum())

    def in_words(self) -> str:
        """One line."""
        step = self.shown
        return (
            f"attempt {step.attempt}, step {step.step}: halting logit {step.halt_logit:.2f}, {self.changed} cells"
            f" changed, {self.doubtful} in doubt"
        )


class Recording:
    """One puzzle, and its steps as far as they are computed.

    Attributes:
        puzzle: its task.
        place: where the puzzle came from.
        question: int32 [L].
        steps: in the order in which they were computed.
    """

    def __init__(
        self, session: SolvingSession, question: Tokens, options: SolveOptions, *, place: str, slots: int = 1
    ) -> None:
        """Compute nothing yet.

        Args:
            session: the model.
            question: int32 [L].
            options: how to solve it.
            place: where it came from, as in "puzzles.txt line 3".
            slots: rows of a step engine's batch; as many as another call has, for the same bits.
        """
        self.puzzle: Puzzle = session.puzzle
        self.place, self.question = place, question
        self.steps: list[RecordedStep] = []
        self._session, self._options, self._slots = session, options, slots
        self._forms = Forms(session.puzzle, session.schedule(options))

    def follow(self) -> Iterator[RecordedStep]:
        """Each step as it is computed; raises as `trace` does."""
        before = self.question
        steps = trace(self._session, self.question, self._options, slots=self._slots)
        while True:
            started = time.perf_counter()
            shown = next(steps, None)
            if shown is None:
                return
            spent = 1000 * (time.perf_counter() - started)
            before = self.question if shown.step == 1 else before
            recorded = RecordedStep(shown, int((before != shown.tokens).sum()), spent)
            before = shown.tokens
            self.steps.append(recorded)
            yield recorded

    @property
    def computed_by(self) -> str:
        """The model's file, and what ran it."""
        return f"{self._session.path.name} ({self._session.runtime.description})"

    def ends(self, number: int) -> bool:
        """Whether the step of this number, from 0, is the last of its attempt."""
        return number + 1 == len(self.steps) or self.steps[number + 1].shown.attempt != self.steps[number].shown.attempt

    def to_plain(self) -> dict[str, Any]:
        """As JSON values, in the form that web/trace.js states."""
        attempts = sorted({step.shown.attempt for step in self.steps})
        forms = {attempt: form for attempt in attempts if (form := self._forms.form(attempt - 1)) is not None}
        return {
            "schema": SCHEMA,
            "task": self.puzzle.name,
            "place": self.place,
            "puzzle": self.puzzle.text(self.question),
            "halt_threshold": self._forms.schedule.halt_threshold,
            "computed_by": self.computed_by,
            "forms": {
                str(attempt): {"cells": form.cells[0].tolist(), "symbols": form.symbols[0].tolist()}
                for attempt, form in forms.items()
            },
            "steps": [self._step(number) for number in range(len(self.steps))],
        }

    def _step(self, number: int) -> dict[str, Any]:
        recorded = self.steps[number]
        step = recorded.shown
        plain: dict[str, Any] = {
            "attempt": step.attempt,
            "step": step.step,
            "answer": step.answer,
            "confidence": [round(float(value), DIGITS) for value in step.confidence],
            "halt_logit": step.halt_logit,
            "halted": step.halted,
            "verified": step.verified,
            "milliseconds": round(recorded.milliseconds, 1),
        }
        if self.ends(number) and not step.verified:
            plain["faults"] = self.puzzle.answer_faults(self.question, step.tokens)
        return plain
