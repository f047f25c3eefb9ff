"""Ctrl-C at a moment when there is something to save."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator

log = logging.getLogger(__name__)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Ctrl-C takes effect when the block ends, pressed twice at once.

    Does nothing where Ctrl-C has been given another meaning, or outside the main thread, which alone receives it.

    Raises:
        KeyboardInterrupt: behind the block where Ctrl-C was pressed once, inside where it was pressed twice.
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    pressed = False

    def notice(number: int, frame: object) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True
        log.info("interrupted; this step is finished and saved, Ctrl-C once more ends without")

    signal.signal(signal.SIGINT, notice)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if pressed:
        raise KeyboardInterrupt
