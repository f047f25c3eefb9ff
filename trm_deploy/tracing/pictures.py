"""Recorded steps as pictures: an animated GIF, or a strip in one PNG."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from trm_deploy.puzzles.base import TextPuzzle
from trm_deploy.support.figures import write_animation, write_figure
from trm_deploy.tracing.recording import RecordedStep, Recording

log = logging.getLogger(__name__)

# Steps that are drawn: first, last, and others evenly between.
GIF_STEPS, PNG_STEPS = 120, 24
COLUMNS = 6  # of a strip
FRAME_SECONDS, LAST_SECONDS = 0.5, 3.0
# Of a cell whose token has no probability at all; red, green, blue and opacity.
DOUBT = (0.85, 0.35, 0.0, 0.65)
VERIFIED, PLAIN = "#14602f", "#333333"


def write_gif(path: Path, recordings: Sequence[Recording]) -> None:
    """The steps of one puzzle one after the other, for ever; the last is shown longer.

    Raises:
        MissingPackage: matplotlib is not installed.
        TrmDeployError: the file cannot be written.
    """
    recording = recordings[0]
    chosen = _chosen(path, recording, GIF_STEPS)
    frames: Iterator[Callable[[Any], None]] = (partial(_draw_frame, recording, step) for step in chosen)
    seconds = [FRAME_SECONDS] * (len(chosen) - 1) + [LAST_SECONDS]
    write_animation(path, frames, seconds, width=4.2, height=4.9)


def write_png(path: Path, recordings: Sequence[Recording]) -> None:
    """The steps of one puzzle beside each other; errors as of `write_gif`."""
    recording = recordings[0]
    chosen = _chosen(path, recording, PNG_STEPS)
    columns = min(len(chosen), COLUMNS)
    rows = -(-len(chosen) // columns)
    width = max(2.4 * columns, 4.8)
    write_figure(path, partial(_draw_strip, recording, chosen, rows, columns), width=width, height=2.9 * rows + 0.5)


def _chosen(path: Path, recording: Recording, most: int) -> list[RecordedStep]:
    steps = recording.steps
    if len(steps) <= most:
        return list(steps)
    log.warning(
        "%s: shows %d of the %d steps, evenly chosen; a page shows all: --trace FILE.html", path, most, len(steps)
    )
    return [steps[place] for place in np.linspace(0, len(steps) - 1, most).round().astype(int)]


def _draw_frame(recording: Recording, step: RecordedStep, figure: Any) -> None:
    axes = figure.add_axes((0.03, 0.02, 0.94, 0.8))
    _draw_board(recording, step, axes)
    figure.text(0.03, 0.955, f"attempt {step.shown.attempt}, step {step.shown.step}", size=13, weight="bold")
    figure.text(0.03, 0.91, f"halting logit {step.shown.halt_logit:.2f}, {step.changed} cells changed", size=10)
    said = "verified by the rules" if step.shown.verified else f"{step.doubtful} cells in doubt"
    figure.text(0.03, 0.865, said, size=10, color=VERIFIED if step.shown.verified else PLAIN)


def _draw_strip(recording: Recording, chosen: Sequence[RecordedStep], rows: int, columns: int, figure: Any) -> None:
    figure.suptitle(f"{recording.puzzle.name}, {recording.computed_by}", size=9)
    for place, step in enumerate(chosen, start=1):
        axes = figure.add_subplot(rows, columns, place)
        _draw_board(recording, step, axes, small=True)
        said = "verified" if step.shown.verified else f"logit {step.shown.halt_logit:.1f}"
        title = f"attempt {step.shown.attempt}, step {step.shown.step}\n{said}"
        axes.set_title(title, size=8, color=VERIFIED if step.shown.verified else PLAIN)


def _draw_board(recording: Recording, step: RecordedStep, axes: Any, *, small: bool = False) -> None:
    """The answer, with doubt as shade behind it."""
    puzzle, shown = recording.puzzle, step.shown
    assert isinstance(puzzle, TextPuzzle)  # whoever has rules has a grid
    puzzle.plot(axes, recording.question, shown.tokens)
    limits = axes.get_xlim(), axes.get_ylim()
    shade = np.empty((puzzle.form.rows, puzzle.form.columns, 4), np.float32)
    shade[:] = DOUBT
    shade[..., 3] *= 1 - shown.confidence.reshape(shade.shape[:2])
    axes.imshow(shade, zorder=1.5)
    axes.set_xlim(*limits[0])
    axes.set_ylim(*limits[1])
    axes.set_axis_off()
    axes.set_aspect("equal")
    if small:
        for text in axes.texts:
            text.set_fontsize(text.get_fontsize() * 0.45)
