"""One progress bar for all long work, on stderr; shown where what the library logs at INFO is shown."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from trm_deploy.support.terminal import can_move

log = logging.getLogger(__name__)

# Without a terminal a bar would be invisible until its end: a plain line now and then instead.
PLAIN_INTERVAL_S = 30.0

Advance = Callable[..., None]


@contextlib.contextmanager
def progress(title: str, total: int | None, *, done: int = 0, unit: str = "") -> Iterator[Advance]:
    """A bar with the share done, the time left and a note.

    Args:
        title: what is being done.
        total: how many there are; None where nobody knows.
        done: how many are done already.
        unit: of the total, such as "steps".

    Yields:
        ``advance(count, note="")``: count more are done.
    """
    if _draws():
        with _bar(title, total, done, unit) as advance:
            yield advance
    else:
        yield _lines(title, total, done, unit)


def _draws() -> bool:
    """Whether a bar is drawn: not where messages are hidden, as by --quiet, or where nobody handles them."""
    return log.isEnabledFor(logging.INFO) and can_move(sys.stderr)


@contextlib.contextmanager
def _bar(title: str, total: int | None, done: int, unit: str) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TextColumn("elapsed"),
        TimeElapsedColumn(),
        TextColumn("remaining"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=120) as bar:
        task = bar.add_task(title, total=total, completed=done, note="")

        def advance(count: int, note: str = "") -> None:
            if note:
                bar.update(task, note=note)
            bar.advance(task, count)

        yield advance


def _lines(title: str, total: int | None, done: int, unit: str) -> Advance:
    start = last = time.monotonic()
    first, latest = done, ""

    def advance(count: int, note: str = "") -> None:
        nonlocal done, last, latest
        done += count
        note = latest = note or latest
        now = time.monotonic()
        ends = count > 0 and done == total and last > start  # what was shown on its way is shown at its end
        if ends or now - last >= PLAIN_INTERVAL_S:
            last = now
            far = f"{done} {unit}"
            if total is not None:
                left = max(total - done, 0) * (now - start) / max(done - first, 1)
                far = f"{done}/{total} {unit}, {left / 60:.0f} min remaining"
            log.info("%s: %s  %s", title, far, note)

    return advance


class Phases:
    """Work that announces its phases as it goes, nested."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Phases:
        if _draws():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase of `steps` steps begins."""
        if self._bar is not None:
            self._tasks[name] = self._bar.add_task(f"{self._title}: {name}", total=steps)
        elif parent is None:
            log.info("%s: %s", self._title, name)

    def step(self, name: str, number: int) -> None:
        """Step `number` (from 0) of a phase is done."""
        if self._bar is not None and name in self._tasks:
            self._bar.update(self._tasks[name], completed=number + 1)

    def finish(self, name: str) -> None:
        """A phase ends."""
        if self._bar is not None and name in self._tasks:
            self._bar.remove_task(self._tasks.pop(name))
