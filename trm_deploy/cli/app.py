"""Assembles the command line, and is the one place that turns errors into a message and an exit code."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from typing import Annotated, Any, NoReturn

import typer

import trm_deploy
from trm_deploy.cli import messages
from trm_deploy.cli.benchmark import benchmark
from trm_deploy.cli.command import Command, Group
from trm_deploy.cli.data import data_app
from trm_deploy.cli.doctor import doctor
from trm_deploy.cli.evaluate import evaluate
from trm_deploy.cli.export import export
from trm_deploy.cli.fetch import fetch
from trm_deploy.cli.inspect import inspect
from trm_deploy.cli.models import models
from trm_deploy.cli.parity import parity
from trm_deploy.cli.profile import profile
from trm_deploy.cli.run import run
from trm_deploy.cli.serve import serve
from trm_deploy.cli.train import train
from trm_deploy.cli.tune import tune
from trm_deploy.cli.verify import verify
from trm_deploy.errors import InputError, Interrupted, TrmDeployError
from trm_deploy.support.terminal import write_any_text

app = typer.Typer(
    name="trm-deploy",
    help="Takes recursive reasoning models (TRM, HRM) from a checkpoint to ONNX and TensorRT, and checks parity.",
    cls=Group,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


# typer shows only the leaves of its usage errors, and where their base comes from differs with its version.
UsageError: Any = typer.BadParameter.__mro__[2]


# What is wrong with a path that was typed, rather than with the machine.
UNREADABLE = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}


def _version(given: bool) -> None:
    if given:
        print(f"trm-deploy {trm_deploy.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("-V", "--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command(cls=Command)(train)
app.add_typer(data_app, name="data")
for _command in (
    export,
    run,
    serve,
    evaluate,
    parity,
    verify,
    tune,
    benchmark,
    profile,
    inspect,
    models,
    fetch,
    doctor,
):
    app.command(cls=Command)(_command)


def run_app() -> None:
    """Run the command that `sys.argv` names; end with its exit code."""
    messages.show()
    for stream in (sys.stdout, sys.stderr):
        write_any_text(stream)
    signal.signal(signal.SIGTERM, _terminated)
    try:
        # Without standalone mode, errors reach this place and an exit code comes back as a value; so does Ctrl-C.
        code = app(prog_name="trm-deploy", standalone_mode=False)
        if code == Interrupted.exit_code:
            raise Interrupted
        sys.stdout.flush()  # what cannot be written is told here, not when Python ends
        sys.exit(code)
    except TrmDeployError as error:
        _fail(str(error), error.exit_code)
    except UsageError as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "trm-deploy"
        _fail(f"{_in_words(error.format_message())}; type: {command} --help", error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        _fail(str(Interrupted()), Interrupted.exit_code)
    except BrokenPipeError:
        # The reader of our output has gone, as in `... | head`: no error, and nothing more to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except MemoryError:
        _fail("this needs more memory than there is", TrmDeployError.exit_code)
    except OSError as error:
        place = error.filename if error.filename is not None else _full_stream()
        kind = InputError if error.errno in UNREADABLE else TrmDeployError
        _fail(f"{place}: {error.strerror}" if place is not None else str(error.strerror or error), kind.exit_code)


def _in_words(message: str) -> str:
    """A usage error in the words of this program: typer's end with a full stop."""
    return message.rstrip(".")


def _full_stream() -> str | None:
    """The name of our own output where that is what cannot be written, as on a full disk."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor can it be when Python ends
        return "standard output"
    return None


def _terminated(number: int, frame: object) -> NoReturn:
    """SIGTERM ends a command as Ctrl-C does: what it was writing is taken away."""
    sys.exit(128 + number)


def _fail(message: str, exit_code: int) -> NoReturn:
    if messages.debugging():
        traceback.print_exc()
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(exit_code)
