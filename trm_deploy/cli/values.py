"""What the value of an option may be, checked where it is typed: a wrong one ends with exit code 2 before any work."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import typer

from trm_deploy.errors import shown


def whole(minimum: int = 0, maximum: int | None = None) -> dict[str, Any]:
    """A whole number in a range, for `typer.Option`."""
    wanted = f"a whole number of at least {minimum}"
    if maximum is not None:
        wanted = f"a whole number from {minimum} to {maximum}"

    def parse(value: Any) -> int:
        text = str(value).strip()
        # Python refuses to read a number of more than 4,300 digits.
        number = int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else None
        if number is None or number < minimum or (maximum is not None and number > maximum):
            raise typer.BadParameter(f"{shown(value)} is not {wanted}")
        return number

    return {"parser": parse, "metavar": "N"}


def whole_list(minimum: int, maximum: int) -> dict[str, Any]:
    """Whole numbers in a range with commas between them, for `typer.Option`; gives a tuple."""
    one = whole(minimum, maximum)["parser"]

    def parse(value: Any) -> tuple[int, ...]:
        return value if isinstance(value, tuple) else tuple(one(part) for part in str(value).split(","))

    return {"parser": parse, "metavar": "N[,N...]"}


def real(minimum: float | None = None, *, endless: bool = False) -> dict[str, Any]:
    """A number, for `typer.Option`; with `endless` also inf and -inf."""
    wanted = "a number" if minimum is None else f"a number of at least {minimum:g}"
    if endless:
        wanted += ", inf or -inf"

    def parse(value: Any) -> float:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if math.isnan(number) or (math.isinf(number) and not endless) or (minimum is not None and number < minimum):
            raise typer.BadParameter(f"{shown(value)} is not {wanted}")
        return number

    return {"parser": parse, "metavar": "NUMBER"}


def one_of(choices: Sequence[str]) -> dict[str, Any]:
    """One of some words, for `typer.Option`; the shell completes them."""

    def parse(value: Any) -> str:
        if value not in choices:
            raise typer.BadParameter(f"{shown(value)} is not one of {', '.join(choices)}")
        return str(value)

    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return {"parser": parse, "metavar": "|".join(choices), "autocompletion": complete}


def matching(pattern: str, wanted: str, metavar: str) -> dict[str, Any]:
    """Text of a form, for `typer.Option`."""

    def parse(value: Any) -> str:
        if not re.fullmatch(pattern, str(value)):
            raise typer.BadParameter(f"{shown(value)} is not {wanted}")
        return str(value)

    return {"parser": parse, "metavar": metavar}
