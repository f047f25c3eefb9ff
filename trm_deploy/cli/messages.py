"""What the library logs, as plain lines on stderr: the command line is the handler."""

from __future__ import annotations

import logging
import sys

LOGGER = logging.getLogger("trm_deploy")
PREFIXES = {logging.DEBUG: "debug: ", logging.INFO: "", logging.WARNING: "note: ", logging.ERROR: "error: "}


class _Lines(logging.Handler):
    """A line a message; to the stderr of the moment, which a progress bar wraps while it is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            prefix = "" if self.formatter else PREFIXES.get(record.levelno, "")
            print(prefix + self.format(record), file=sys.stderr, flush=True)
        except Exception:
            self.handleError(record)


_HANDLER = _Lines()


def show(level: int = logging.INFO) -> None:
    """Print what "trm_deploy" logs from this level on to stderr; progress is shown from INFO on."""
    LOGGER.setLevel(level)
    LOGGER.addHandler(_HANDLER)  # a handler that is there already is not added again


def debugging() -> bool:
    """Whether DEBUG is shown, and tracebacks with it."""
    return LOGGER.isEnabledFor(logging.DEBUG)


def show_also(name: str, formatter: logging.Formatter | None) -> None:
    """Show the warnings of another logger as well, and all messages in a form of their own; None: plain lines."""
    _HANDLER.setFormatter(formatter)
    other = logging.getLogger(name)
    other.setLevel(logging.WARNING)
    other.addHandler(_HANDLER)
