"""The readers of puzzle text under the names by which they were known before: see `trm_deploy.puzzles.text`."""

from __future__ import annotations

from trm_deploy.puzzles.text import (
    MAX_LINE,
    estimate_lines,
    is_text_of,
    read,
    read_answered,
    read_bytes,
    read_text,
    read_with_answers,
)
from trm_deploy.puzzles.text.question import Answered, OtherSize, Question

__all__ = [
    "Answered",
    "MAX_LINE",
    "OtherSize",
    "Question",
    "estimate_lines",
    "is_text_of",
    "read",
    "read_answered",
    "read_bytes",
    "read_text",
    "read_with_answers",
]
