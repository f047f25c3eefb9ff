"""What an evaluation found: as data, as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trm_deploy.evaluation.datasets.tally import Tally
from trm_deploy.runtimes.solving.attempts import Schedule

SCHEMA = 1


@dataclass(frozen=True)
class Votes:
    """What ARC asks beside the first prediction of each test input.

    Attributes:
        within_two: share of the test inputs with a known answer that one of two predictions has right.
        task_score, task_score_within_two: the share of a task's test inputs that is right, averaged over the tasks.
        augmentations: number of attempts a test input, in the mean.
    """

    within_two: float
    task_score: float
    task_score_within_two: float
    augmentations: float


@dataclass(frozen=True)
class Evaluation:
    """A model on a dataset.

    Attributes:
        engine: the artefact.
        description: runtime, graph form and precision.
        task: such as "sudoku-9x9".
        dataset: file or folder.
        split: of a folder in the published layout; empty for others.
        schedule: attempts and limits.
        overall: what was counted of all puzzles.
        by: what the puzzles are grouped by, a column's name; empty where they are not.
        groups: what was counted of each group.
        unreadable: puzzles that could not be read, and are not counted.
        votes: for ARC tasks, whose attempts vote; None for others.
        notes: what to know of these numbers.
    """

    engine: str
    description: str
    task: str
    dataset: str
    split: str
    schedule: Schedule
    overall: Tally
    by: str = ""
    groups: Mapping[str, Tally] = field(default_factory=dict)
    unreadable: int = 0
    votes: Votes | None = None
    notes: tuple[str, ...] = ()

    @property
    def puzzles(self) -> int:
        """How many were solved."""
        return self.overall.puzzles

    @property
    def exact(self) -> float | None:
        """Share of puzzles whose answer is the known one, cell by cell; None where no answer is known."""
        return self._share("exact")

    @property
    def cells(self) -> float | None:
        """Share of a puzzle's cells that are as in the known answer, in the mean; None where no answer is known."""
        return self._share("cells")

    @property
    def verified(self) -> float | None:
        """Share of puzzles whose answer obeys the rules and keeps the givens; None for a task without rules."""
        return self._share("verified")

    @property
    def mean_steps(self) -> float | None:
        """Supervision steps of the attempt whose answer it is, a puzzle."""
        return self._share("mean_steps")

    def _share(self, name: str) -> float | None:
        return self.overall.to_plain()[name]

    def to_plain(self) -> dict[str, Any]:
        """The document that `trm-deploy evaluate --json` prints."""
        groups = [{"value": value, **tally.to_plain()} for value, tally in self.groups.items()]
        return {
            "schema": SCHEMA,
            "engine": self.engine,
            "description": self.description,
            "task": self.task,
            "dataset": self.dataset,
            "split": self.split or None,
            "attempts": self.schedule.attempts if self.votes is None else None,
            "attempt_steps": list(self.schedule.attempt_steps),
            "budget": self.schedule.budget,
            "halt_threshold": self.schedule.halt_threshold,
            "seed": self.schedule.seed,
            **self.overall.to_plain(),
            "unreadable": self.unreadable,
            "votes": None if self.votes is None else dict(vars(self.votes)),
            "by": {"column": self.by, "groups": groups} if self.by else None,
            "notes": list(self.notes),
        }

    def table(self) -> str:
        """For people."""
        rows = [("all", self.overall.to_plain())]
        rows += [(value, tally.to_plain()) for value, tally in self.groups.items()]
        shown = [column for column in COLUMNS if any(plain[column[1]] is not None for _, plain in rows)]
        if all(plain["mean_total_steps"] == plain["mean_steps"] for _, plain in rows):
            shown = [column for column in shown if column[1] != "mean_total_steps"]
        head = f"by {self.by}" if self.by else ""
        width = max(len(head), *(len(value) for value, _ in rows))
        lines = [f"{self.engine} ({self.description})", f"{self.dataset}{self._what()}", ""]
        lines.append("  ".join([f"{head:{width}}", *(title for title, _, _ in shown)]))
        for value, plain in rows:
            entries = (
                f"{'-' if plain[key] is None else form(plain[key] or 0):>{len(title)}}" for title, key, form in shown
            )
            lines.append("  ".join([f"{value:{width}}", *entries]))
        if self.votes is not None:
            lines += [
                "",
                f"one of two predictions is right: {self.votes.within_two:.1%} of the test inputs",
                f"averaged over the tasks: {self.votes.task_score:.1%} by the first prediction,"
                f" {self.votes.task_score_within_two:.1%} by one of two;"
                f" {self.votes.augmentations:.1f} augmentations voted",
            ]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def _what(self) -> str:
        steps = ",".join(map(str, self.schedule.attempt_steps))
        tried = f"votes of attempts of {steps} steps" if self.votes is not None else self.schedule.in_words()
        split = f", {self.split} split" if self.split else ""
        return f"{split}: {tried}, halting threshold {self.schedule.halt_threshold:g}"


def _percent(value: float) -> str:
    return f"{value:.1%}"


# Title (as wide as what is under it), key of `Tally.to_plain`, and form.
COLUMNS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("puzzles", "puzzles", lambda value: f"{value:.0f}"),
    (" exact", "exact", _percent),
    ("verified", "verified", _percent),
    (" cells", "cells", _percent),
    ("halted wrong", "halted_wrong", _percent),
    ("mean steps", "mean_steps", lambda value: f"{value:.2f}"),
    ("steps in all", "mean_total_steps", lambda value: f"{value:.2f}"),
)
