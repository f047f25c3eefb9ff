"""The command line: `app` assembles it, a file a command."""

from trm_deploy.cli.app import main

__all__ = ["main"]
