"""Puzzles through a runtime with the answers checked by the rules, and tried again under symmetries where they fail.

An answer is never trusted: it is verified by the task's rules or shown as the best attempt.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trm_deploy.puzzles.base import Puzzle, Symmetries, Tokens
from trm_deploy.runtimes.base import Runtime


@dataclass(frozen=True)
class Answer:
    """What became of one puzzle.

    Attributes:
        answer: int32 [L], in the puzzle's own form, of the attempt shown.
        steps: supervision steps of that attempt.
        attempts: how many were made.
        total_steps: supervision steps of them all.
        halted: whether the attempt shown halted by itself.
        halt_logit: of the attempt shown.
        faults: the rules that the answer breaks; empty means verified.
        milliseconds: of computing; a batch's time is shared evenly among its puzzles.
    """

    answer: Tokens
    steps: int
    attempts: int
    total_steps: int
    halted: bool
    halt_logit: float
    faults: tuple[str, ...]
    milliseconds: float

    @property
    def verified(self) -> bool:
        """Whether the answer obeys the rules and keeps the givens."""
        return not self.faults


@dataclass(frozen=True)
class SolveSettings:
    """How puzzles are solved.

    Attributes:
        attempts: tries a puzzle at the most; the first is the puzzle itself, the others are symmetric forms of it, and
            fewer where the task has fewer of them (a maze has at most seven).
        max_steps: supervision steps an attempt at the most.
        halt_threshold: see `Runtime.solve`.
        seed: of the symmetries.
    """

    attempts: int
    max_steps: int
    halt_threshold: float
    seed: int = 0


def solve_verified(runtime: Runtime, puzzle: Puzzle, questions: Tokens, settings: SolveSettings) -> list[Answer]:
    """Solve questions int32 [B, L] as one batch.

    An attempt's symmetry follows from the seed and the attempt's number alone, so that an answer does not depend on
    what shares its batch or comes before it. The task needs rules (`Puzzle.has_rules`): without, all would be verified.
    """
    if not puzzle.has_rules:
        raise ValueError(f"{puzzle.name} has no rules to verify an answer by")
    best: list[Answer | None] = [None] * len(questions)
    open_rows: NDArray[np.intp] = np.arange(len(questions))
    forms: Iterator[Symmetries | None] = itertools.chain([None], puzzle.further_forms(settings.seed))
    for symmetries in itertools.islice(forms, settings.attempts):
        asked = questions[open_rows]
        started = time.perf_counter()
        solution = runtime.solve(
            symmetries.apply(asked) if symmetries else asked,
            max_steps=settings.max_steps,
            halt_threshold=settings.halt_threshold,
        )
        milliseconds = (time.perf_counter() - started) * 1e3 / len(asked)
        found = symmetries.invert(solution.answer) if symmetries else solution.answer
        for index, row in enumerate(open_rows):
            best[row] = _better(
                best[row],
                Answer(
                    answer=found[index],
                    steps=int(solution.steps[index]),
                    attempts=1,
                    total_steps=int(solution.steps[index]),
                    halted=bool(solution.halt_logit[index] > settings.halt_threshold),
                    halt_logit=float(solution.halt_logit[index]),
                    faults=tuple(puzzle.answer_faults(asked[index], found[index])),
                    milliseconds=milliseconds,
                ),
            )
        open_rows = np.array([row for row in open_rows if not _verified(best[row])], np.intp)
        if not len(open_rows):
            break
    return [answer for answer in best if answer is not None]


def _verified(answer: Answer | None) -> bool:
    return answer is not None and answer.verified


def _better(before: Answer | None, now: Answer) -> Answer:
    """The attempt to show (fewest broken rules, then the earlier), with the costs of both."""
    if before is None:
        return now
    shown = now if len(now.faults) < len(before.faults) else before
    return Answer(
        answer=shown.answer,
        steps=shown.steps,
        attempts=before.attempts + 1,
        total_steps=before.total_steps + now.total_steps,
        halted=shown.halted,
        halt_logit=shown.halt_logit,
        faults=shown.faults,
        milliseconds=before.milliseconds + now.milliseconds,
    )
