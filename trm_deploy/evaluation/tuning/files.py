"""From a file's puzzles to a threshold."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

from trm_deploy import puzzles
from trm_deploy.errors import InputError
from trm_deploy.evaluation.defaults import MAX_LOSS
from trm_deploy.evaluation.tuning.passes import costs_more, record_pass
from trm_deploy.evaluation.tuning.recommend import equally_good, recommend, rule_in_words
from trm_deploy.evaluation.tuning.report import Tuned
from trm_deploy.runtimes.base import fixed_in_words
from trm_deploy.runtimes.solving.session import SolveOptions, SolvingSession

logger = logging.getLogger(__name__)

# Below this number, one puzzle is a point of the solved share or more.
FEW_PUZZLES = 100


@dataclass(frozen=True)
class TuneSettings:
    """What the threshold is chosen by.

    Attributes:
        max_loss: maximum loss of the solved share against the best threshold, in points; None: `MAX_LOSS`, or
            no loss against the best within `mean_steps` where those are given.
        mean_steps: maximum mean supervision steps a puzzle; None where they do not matter.
        input_format, column: of the file with puzzles, see `trm_deploy.puzzles.questions`.
        limit: use the first N puzzles; all where None.
        max_steps: maximum number of supervision steps; the engine's own where None.
    """

    max_loss: float | None = None
    mean_steps: float | None = None
    limit: int | None = None
    max_steps: int | None = None
    input_format: str | None = None
    column: str | None = None

    @property
    def loss_in_force(self) -> float | None:
        """`max_loss`, or its default where neither limit is given."""
        neither = self.max_loss is None and self.mean_steps is None
        return MAX_LOSS if neither else self.max_loss


def tune(opened: SolvingSession, file: str, settings: TuneSettings) -> Tuned:
    """Record a pass over a file's puzzles and choose a threshold.

    Raises:
        InputError: the task has no rules, the graph is unrolled, a puzzle cannot be read, the engine solves none, or no
            threshold is within both the loss and the budget.
    """
    puzzle, runtime = opened.puzzle, opened.runtime
    if not puzzle.has_rules:
        raise InputError(f"{opened.path}: its task, {puzzle.name}, has no rules that tell which answers are right")
    if runtime.fixed_steps is not None:
        raise InputError(
            f"{opened.path}: {fixed_in_words(runtime)} and shows only the last",
            hint="type: trm-deploy export CHECKPOINT --graph step -o step.onnx, and tune that",
        )
    tokens = puzzles.read_tokens(
        file, puzzle, settings.limit, input_format=settings.input_format, column=settings.column
    )
    max_steps = settings.max_steps or opened.own_steps
    notes = []
    if warning := few_puzzles(len(tokens), settings):
        logger.warning("%s", warning)
        notes.append(warning)
    if warning := costs_more(runtime, max_steps):
        logger.warning("%s", warning)
    recorded = record_pass(runtime, puzzle, tokens, max_steps)
    curve = [recorded.at(threshold) for threshold in recorded.candidates()]
    limits = {"max_loss": settings.loss_in_force, "mean_steps": settings.mean_steps}
    recommended = recommend(curve, **limits)
    if rule := rule_in_words(equally_good(curve, **limits), recommended):
        notes.append(rule)
    return Tuned(
        engine=str(opened.path),
        description=runtime.description,
        puzzles=len(tokens),
        max_steps=max_steps,
        max_loss=settings.loss_in_force,
        budget=settings.mean_steps,
        never=recorded.at(math.inf),
        now=recorded.at(opened.halt_threshold(SolveOptions())),
        recommended=recommended,
        curve=curve,
        notes=notes,
    )


def few_puzzles(count: int, settings: TuneSettings) -> str:
    """A warning where one puzzle weighs more than what is to be told apart; empty where it does not."""
    needed = max(FEW_PUZZLES, math.ceil(100 / (settings.loss_in_force or 100)))
    if count >= needed:
        return ""
    noun = "puzzle is" if count == 1 else "puzzles are"
    return (
        f"{count} {noun} few to choose a threshold by: each is {100 / count:.3g} points of the solved share; take"
        f" {needed} or more"
    )
