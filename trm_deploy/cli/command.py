"""What every command has in common: how its help looks, and the options that may be given before or after its name."""

from __future__ import annotations

import functools
import logging
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from trm_deploy.cli import messages

# Columns of the names of options in a help text, where they fit; the descriptions get the rest.
NAMES_WIDTH = 28


def _quiet(given: bool) -> None:
    if given:
        messages.show(logging.WARNING)


def _debug(given: bool) -> None:
    if given:
        messages.show(logging.DEBUG)


def _everywhere(
    quiet: Annotated[
        bool,
        typer.Option(
            "-q", "--quiet", callback=_quiet, expose_value=False, help="Show errors and notes only, no progress."
        ),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug",
            callback=_debug,
            is_eager=True,
            expose_value=False,
            help="Show tracebacks and debug messages, TensorRT's included.",
        ),
    ] = False,
) -> None:
    """The options of every command."""


@functools.cache
def _common() -> list[Any]:
    """The options of `_everywhere`, as typer makes them."""
    app = typer.Typer(add_completion=False)
    app.command()(_everywhere)
    return list(typer.main.get_command(app).params)


class Command(TyperCommand):
    """A command with the common options, whose help needs no more than 80 columns."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.params = [*self.params, *_common()]

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The usage line: arguments by the names that the help gives them."""
        arguments = [parameter for parameter in self.params if parameter.param_type_name == "argument"]
        names = [(_metavar(argument), argument.required) for argument in arguments]
        return [self.options_metavar or "", *(name if required else f"[{name}]" for name, required in names)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments and options, without typer's column of types."""
        _write_parameters(self, ctx, formatter)


class Group(TyperGroup):
    """A command with commands of its own: its help is shown where none of them is named."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.params = [*self.params, *_common()]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typer, but the bare command is not a mistake."""
        if not args and not ctx.resilient_parsing:
            print(ctx.get_help())
            raise typer.Exit
        return super().parse_args(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The options, then the commands."""
        _write_parameters(self, ctx, formatter)
        self.format_commands(ctx, formatter)


def _write_parameters(command: Any, ctx: Any, formatter: Any) -> None:
    arguments, options = [], []
    for parameter in command.get_params(ctx):
        if parameter.param_type_name == "argument":
            arguments.append((_metavar(parameter), parameter.help or ""))
        elif not parameter.hidden:
            options.append((_names(parameter), " ".join(filter(None, (parameter.help, _default(parameter))))))
    for title, rows in (("Arguments", arguments), ("Options", options)):
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows, col_max=NAMES_WIDTH)


def _metavar(parameter: Any) -> str:
    """What stands for the value."""
    return str(parameter.metavar or parameter.name.upper())


def _names(parameter: Any) -> str:
    names = ", ".join((*sorted(parameter.opts, key=len), *parameter.secondary_opts))
    return names if parameter.is_flag else f"{names} {_metavar(parameter)}"


def _default(parameter: Any) -> str:
    """What holds where the option is not given: in words where the option says so, else its value."""
    if parameter.required:
        return "[required]"
    if isinstance(parameter.show_default, str):
        return f"[default: {parameter.show_default}]"
    default = parameter.default
    if default is None or parameter.is_flag or not parameter.show_default or callable(default):
        return ""
    return f"[default: {getattr(default, 'value', default)}]"
