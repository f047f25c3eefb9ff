"""The command line: `app` assembles it, one file a command."""

from __future__ import annotations

import os

__all__ = ["main"]


def main() -> None:
    """Entry point: runs the command that `sys.argv` names, and ends with its exit code."""
    try:
        from trm_deploy.cli import app
    except KeyboardInterrupt:  # pressed before the error boundary is there
        os.write(2, b"error: interrupted\n")
        os._exit(130)
    app.run_app()
