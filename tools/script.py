"""How the scripts of this folder run from the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from trm_deploy.cli import messages
from trm_deploy.errors import TrmDeployError


def run_script(main: Callable[..., None]) -> None:
    """Take the arguments of `main` from the command line; an error is one line on stderr, and exit code 1."""
    try:
        messages.show()
        typer.run(main)
    except TrmDeployError as error:
        sys.exit(f"error: {error}")
