"""Assembles the command line, and is the one place that turns errors into a message and an exit code."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import traceback
from typing import Annotated, Any, NoReturn

import typer

import trm_deploy
from trm_deploy.cli.benchmark import benchmark
from trm_deploy.cli.data import data_app
from trm_deploy.cli.doctor import doctor
from trm_deploy.cli.export import export
from trm_deploy.cli.inspect import inspect
from trm_deploy.cli.parity import parity
from trm_deploy.cli.run import run
from trm_deploy.cli.train import train
from trm_deploy.cli.tune import tune
from trm_deploy.errors import Interrupted, TrmDeployError

app = typer.Typer(
    name="trm-deploy",
    help="Takes recursive reasoning models (TRM, HRM) from a checkpoint to ONNX, runs them, proves parity.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


# typer shows only the leaves of its usage errors, and where their base comes from differs with its version.
UsageError: Any = typer.BadParameter.__mro__[2]


def _version(asked: bool) -> None:
    if asked:
        print(f"trm-deploy {trm_deploy.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks, and what TensorRT logs.")] = False,
) -> None:
    pass


app.command()(train)
app.add_typer(data_app, name="data")
for _command in (export, run, parity, tune, benchmark, inspect, doctor):
    app.command()(_command)


def main() -> None:
    """Entry point: the one place that turns errors into a message and an exit code."""
    debug = "--debug" in sys.argv[1:]
    if debug:
        logging.basicConfig()
        logging.getLogger("trm_deploy").setLevel(logging.DEBUG)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file's name need not be text that the terminal can show
            stream.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, _terminated)
    try:
        # Without standalone mode, errors reach this place and an exit code comes back as a value; so does Ctrl-C.
        code = app(prog_name="trm-deploy", standalone_mode=False)
        if code == Interrupted.exit_code:
            raise Interrupted
        sys.exit(code)
    except TrmDeployError as error:
        _fail(str(error), error.exit_code, debug)
    except UsageError as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "trm-deploy"
        _fail(f"{error.format_message()}; type: {command} --help", error.exit_code, debug)
    except (KeyboardInterrupt, typer.Abort):
        _fail(str(Interrupted()), Interrupted.exit_code, debug)
    except BrokenPipeError:
        # The reader of our output has gone, as in `... | head`: no error, and nothing more to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except MemoryError:
        _fail("this needs more memory than there is", TrmDeployError.exit_code, debug)
    except OSError as error:
        place = f"{error.filename}: " if error.filename is not None else ""
        _fail(f"{place}{error.strerror or error}", TrmDeployError.exit_code, debug)


def _terminated(number: int, frame: object) -> NoReturn:
    """SIGTERM ends a command as Ctrl-C does: what it was writing is taken away."""
    sys.exit(128 + number)


def _fail(message: str, exit_code: int, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exc()
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(exit_code)
