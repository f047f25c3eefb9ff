"""Frames for a terminal that can draw over its own lines."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable

from trm_deploy.errors import InputError
from trm_deploy.puzzles.base import Puzzle
from trm_deploy.tracing.recording import RecordedStep, Recording

# Seconds for which each step is to be seen: a model may take less.
LEAST_SECONDS = 0.15
# Broken rules that are named.
SHOWN_FAULTS = 3
_CODES = re.compile(r"\x1b\[[\d;]*m")


def check_fits(puzzle: Puzzle, *, colour: bool) -> None:
    """Raises `InputError` where a grid is larger than the terminal: it could not be drawn over."""
    example = puzzle.examples()[0]
    lines = _CODES.sub("", puzzle.draw(example, example, colour=colour)).split("\n")
    needed = max(map(len, lines)), len(lines) + 3
    there = shutil.get_terminal_size(fallback=(80, 24))
    if there.columns < needed[0] or there.lines < needed[1]:
        raise InputError(
            f"--watch: the terminal has {there.columns} columns and {there.lines} lines, a grid of {puzzle.name} needs"
            f" {needed[0]} and {needed[1]}",
            hint="make it larger, or write a page: --trace FILE.html",
        )


def watch(recording: Recording, write: Callable[[str], None], *, colour: bool, least: float = LEAST_SECONDS) -> None:
    """Draw each step over the one before it, as it is computed; the last one stays.

    Args:
        recording: of one puzzle, nothing of it computed yet.
        write: takes text for the terminal.
        colour: whether the terminal has colours.
        least: seconds for which each step is seen at least.
    """
    write(f"{recording.place}\n")
    lines, shown_at = 0, 0.0
    for step in recording.follow():
        time.sleep(max(0.0, shown_at + least - time.monotonic()))
        shown_at = time.monotonic()
        back = f"\x1b[{lines}F\x1b[J" if lines else ""
        text = _frame(recording, step, colour=colour)
        lines = text.count("\n")
        write(back + text)
    write(f"{_verdict(recording)}\n\n")


def _frame(recording: Recording, step: RecordedStep, *, colour: bool) -> str:
    shown = step.shown
    grid = recording.puzzle.draw(recording.question, shown.tokens, colour=colour, confidence=shown.confidence)
    words = step.in_words()[: shutil.get_terminal_size(fallback=(80, 24)).columns]  # a line that wraps would be two
    return f"{grid}\n{words}\n"


def _verdict(recording: Recording) -> str:
    last = recording.steps[-1].shown
    cost = f"{len(recording.steps)} steps in {last.attempt} attempts" if last.attempt > 1 else f"{last.step} steps"
    cost = "1 step" if len(recording.steps) == 1 else cost
    cost = f"{cost}, {sum(step.milliseconds for step in recording.steps):.0f} ms"
    if last.verified:
        return f"verified: {cost}"
    faults = recording.puzzle.answer_faults(recording.question, last.tokens)
    more = f"; and {len(faults) - SHOWN_FAULTS} more" if len(faults) > SHOWN_FAULTS else ""
    return f"NOT SOLVED, this is the last attempt: {cost}\nbroken rules: {'; '.join(faults[:SHOWN_FAULTS])}{more}"
