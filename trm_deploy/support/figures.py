"""PNG files drawn with matplotlib, which is loaded only here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trm_deploy.errors import require
from trm_deploy.support.files import atomic_path

SIDE_INCHES = 5.0
DOTS_PER_INCH = 120


def require_matplotlib() -> None:
    """Say at once what would be missing at the first picture.

    Raises:
        MissingPackage: matplotlib is not installed.
    """
    require("matplotlib.figure", extra="draw", purpose="to draw PNG files")


def write_plot(path: Path, plot: Callable[[Any], None]) -> None:
    """Draw into a file of about 600 x 600 pixels.

    Args:
        path: the file.
        plot: draws on matplotlib's axes, as `Puzzle.plot` does.

    Raises:
        MissingPackage: matplotlib is not installed.
        TrmDeployError: the file cannot be written.
    """
    require_matplotlib()
    # Not pyplot: it would choose a backend with windows and keep every figure.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(SIDE_INCHES, SIDE_INCHES), dpi=DOTS_PER_INCH)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_aspect("equal")
    plot(axes)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", bbox_inches="tight", pad_inches=0.1)


def write_figure(path: Path, draw: Callable[[Any], None], *, width: float = 8.0, height: float = 4.0) -> None:
    """Draw a chart into a file.

    Args:
        path: the file.
        draw: draws on matplotlib's figure.
        width, height: in inches of `DOTS_PER_INCH` pixels.

    Raises:
        MissingPackage: matplotlib is not installed.
        TrmDeployError: the file cannot be written.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")
    draw(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def write_animation(
    path: Path, frames: Iterable[Callable[[Any], None]], seconds: Sequence[float], *, width: float, height: float
) -> None:
    """Draw an animated GIF that begins anew at its end.

    Args:
        path: the file.
        frames: each draws on matplotlib's figure.
        seconds: for which each is shown.
        width, height: in inches of 100 pixels.

    Raises:
        MissingPackage: matplotlib is not installed.
        TrmDeployError: the file cannot be written.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    pictures = []
    for draw in frames:
        figure = Figure(figsize=(width, height), dpi=100)
        canvas: Any = FigureCanvasAgg(figure)  # its methods have no types
        draw(figure)
        canvas.draw()
        drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        pictures.append(drawn.quantize(colors=64, dither=Image.Dither.NONE))
    durations = [round(1000 * length) for length in seconds]
    with atomic_path(path) as temporary:
        pictures[0].save(
            temporary, format="GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0, disposal=1
        )
