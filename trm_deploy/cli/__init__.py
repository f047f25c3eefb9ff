"""The command line: `app` assembles it, one file a command."""

from __future__ import annotations

import _thread
import os
import sys
import threading

__all__ = ["main"]


def main() -> None:
    """Entry point: runs the command that `sys.argv` names, and ends with its exit code."""
    sys.unraisablehook = _press_again
    try:
        from trm_deploy.cli import app

        app.run_app()
    except KeyboardInterrupt:  # pressed before the error boundary is there
        os.write(2, b"error: interrupted\n")
        os._exit(130)


def _press_again(lost: sys.UnraisableHookArgs) -> None:
    """A Ctrl-C that falls into code whose errors Python drops, as a callback of the import system, is pressed again."""
    if lost.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(lost)
    elif not sys.is_finalizing():
        again = threading.Timer(0.01, _thread.interrupt_main)  # later: now it would fall into this function
        again.daemon = True
        again.start()
