"""Puzzles and their answers as PNG files."""

from __future__ import annotations

from pathlib import Path

from trm_deploy.puzzles.base import Puzzle, Tokens
from trm_deploy.support.figures import write_plot


def write_png(path: Path, puzzle: Puzzle, question: Tokens, answer: Tokens) -> None:
    """Draw an answer [L] to a question [L], as `Puzzle.plot` does; see `write_plot`."""
    write_plot(path, lambda axes: puzzle.plot(axes, question, answer))
