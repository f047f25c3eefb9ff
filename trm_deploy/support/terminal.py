"""What the terminal can show."""

from __future__ import annotations

import codecs
import io
import os
from typing import TextIO

# The name of `_encode_anyway` among the handlers of encoding errors.
_ANYWAY = "trm_deploy.anyway"


def can_move(stream: TextIO) -> bool:
    """Whether the stream is a terminal that can draw over its own lines, as a progress bar does."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def use_colour(stream: TextIO) -> bool:
    """Whether to write colours: to a terminal that has them, unless NO_COLOR is set (https://no-color.org)."""
    return can_move(stream) and not os.environ.get("NO_COLOR")


def write_any_text(stream: TextIO) -> None:
    """Let a stream take every text: a file's name need not be text in the locale's encoding, nor what it holds."""
    if isinstance(stream, io.TextIOWrapper):
        codecs.register_error(_ANYWAY, _encode_anyway)
        stream.reconfigure(errors=_ANYWAY)


def _encode_anyway(error: UnicodeError) -> tuple[str | bytes, int]:
    """Bytes of a name that the locale could not decode go out as they came in, if they are UTF-8; else escaped."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    try:
        raw = text.encode("ascii", "surrogateescape")
        raw.decode()
    except UnicodeError:
        return text.encode("ascii", "backslashreplace").decode(), error.end
    return raw, error.end
