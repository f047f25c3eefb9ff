"""What the terminal can show."""

from __future__ import annotations

import os
from typing import TextIO


def can_move(stream: TextIO) -> bool:
    """Whether the stream is a terminal that can draw over its own lines, as a progress bar does."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def use_colour(stream: TextIO) -> bool:
    """Whether to write colours: to a terminal that has them, unless NO_COLOR is set (https://no-color.org)."""
    return can_move(stream) and not os.environ.get("NO_COLOR")
