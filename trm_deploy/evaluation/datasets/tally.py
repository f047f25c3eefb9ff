"""What is counted of each answer, and how puzzles are grouped by their difficulty."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

# Numbers of more values than this are put together into ranges with about as many puzzles each.
RANGES = 8
# Of words, the largest groups; what is left over is one more.
WORDS = 30


@dataclass(frozen=True)
class Outcome:
    """What became of one puzzle; None where nobody knows.

    Attributes:
        exact: whether each cell that counts is as in the known answer.
        cells: share of the cells that count that are, 0 to 1.
        verified: whether the answer obeys the task's rules and keeps the givens.
        halted: whether the model halted by itself.
        steps: supervision steps of the attempt whose answer it is; of votes, of an attempt in the mean.
        total_steps: supervision steps of all attempts.
    """

    exact: bool | None
    cells: float | None
    verified: bool | None
    halted: bool | None
    steps: float
    total_steps: float


@dataclass
class Tally:
    """Sums over puzzles, from which the shares follow."""

    puzzles: int = 0
    known: int = 0
    exact: int = 0
    cells: float = 0.0
    checked: int = 0
    verified: int = 0
    timed: int = 0
    halted: int = 0
    halted_wrong: int = 0
    steps: float = 0.0
    total_steps: float = 0.0

    def add(self, outcome: Outcome) -> None:
        """One more puzzle."""
        self.puzzles += 1
        self.steps += outcome.steps
        self.total_steps += outcome.total_steps
        if outcome.exact is not None:
            self.known += 1
            self.exact += outcome.exact
            self.cells += outcome.cells or 0.0
        if outcome.verified is not None:
            self.checked += 1
            self.verified += outcome.verified
        if outcome.halted is not None:
            right = outcome.exact if outcome.verified is None else outcome.verified
            self.timed += 1
            self.halted += outcome.halted
            self.halted_wrong += outcome.halted and right is False

    def merge(self, other: Tally) -> None:
        """All puzzles of another one."""
        for entry in fields(self):
            setattr(self, entry.name, getattr(self, entry.name) + getattr(other, entry.name))

    def to_plain(self) -> dict[str, float | int | None]:
        """Shares, 0 to 1, and means over the puzzles; None where nobody knows."""
        return {
            "puzzles": self.puzzles,
            "with_answer": self.known,
            "exact": _share(self.exact, self.known),
            "cells": _share(self.cells, self.known),
            "verified": _share(self.verified, self.checked),
            "halted": _share(self.halted, self.timed),
            "halted_wrong": _share(self.halted_wrong, self.timed),
            "mean_steps": _share(self.steps, self.puzzles),
            "mean_total_steps": _share(self.total_steps, self.puzzles),
        }


def _share(count: float, of: int) -> float | None:
    return count / of if of else None


def grouped(tallies: Mapping[str, Tally]) -> dict[str, Tally]:
    """The groups to show of tallies by rating: numbers in their order and in ranges, words in the file's order."""
    numbers = {rating: _number(rating) for rating in tallies}
    if any(number is None for number in numbers.values()):
        return _words(tallies)
    in_order = sorted(tallies, key=lambda rating: numbers[rating] or 0.0)
    if len(in_order) <= RANGES:
        return {rating: tallies[rating] for rating in in_order}
    wanted = sum(tally.puzzles for tally in tallies.values()) / RANGES
    ranges: dict[str, Tally] = {}
    first, found, so_far = in_order[0], Tally(), 0
    for place, rating in enumerate(in_order):
        found.merge(tallies[rating])
        so_far += tallies[rating].puzzles
        # A range ends where the next multiple of an eighth of the puzzles is reached.
        if so_far >= wanted * (len(ranges) + 1) or place == len(in_order) - 1:
            ranges[first if first == rating else f"{first} to {rating}"] = found
            found = Tally()
            first = in_order[min(place + 1, len(in_order) - 1)]
    return ranges


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _words(tallies: Mapping[str, Tally]) -> dict[str, Tally]:
    if len(tallies) <= WORDS:
        return {rating or "(none)": tally for rating, tally in tallies.items()}
    kept = set(sorted(tallies, key=lambda rating: tallies[rating].puzzles, reverse=True)[:WORDS])
    others = Tally()
    for rating, tally in tallies.items():
        if rating not in kept:
            others.merge(tally)
    shown = {rating or "(none)": tally for rating, tally in tallies.items() if rating in kept}
    return {**shown, f"({len(tallies) - WORDS} others)": others}
