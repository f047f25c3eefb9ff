"""Dataclasses from plain JSON or TOML values: unknown keys and wrong types are refused, naming their place."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, Literal, TypeVar

from trm_deploy.errors import SpecError, shown

MAX_INTEGER = (1 << 63) - 1

Dataclass = TypeVar("Dataclass")


def from_plain(cls: type[Dataclass], value: object, place: str) -> Dataclass:
    """Build a dataclass from plain JSON or TOML values, refusing unknown keys and wrong types.

    Args:
        cls: the dataclass; its fields may be dataclasses, tuples, literals, optionals, numbers and strings.
        value: the mapping that came.
        place: where it was found, for messages: "spec", "recipe [optimizer]".

    Raises:
        SpecError: naming the key, what came and what was expected.
    """
    if not isinstance(value, dict):
        raise SpecError(f"{place} is {shown(value)}, expected an object with keys")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(value) - set(fields))
    if unknown:
        raise SpecError(f"{place} has the unknown key {shown(unknown[0])}, expected one of {', '.join(sorted(fields))}")
    values: dict[str, Any] = {}
    for name, spec_field in fields.items():
        if name in value:
            values[name] = _convert(hints[name], value[name], f"{place}.{name}")
        elif spec_field.default is dataclasses.MISSING and spec_field.default_factory is dataclasses.MISSING:
            raise SpecError(f"{place} lacks the key {name!r}")
    return cls(**values)


def _convert(hint: Any, value: Any, place: str) -> Any:
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(value):
        return value  # made already, by a caller who knew which of several kinds it is
    if dataclasses.is_dataclass(hint):
        return from_plain(typing.cast("type[Any]", hint), value, place)
    if origin is Literal:
        choices = typing.get_args(hint)
        if value not in choices:
            raise SpecError(f"{place} is {shown(value)}, expected one of {', '.join(map(repr, choices))}")
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise SpecError(f"{place} is {shown(value)}, expected a list")
        element = typing.get_args(hint)[0]
        return tuple(_convert(element, item, f"{place}[{index}]") for index, item in enumerate(value))
    if origin in (typing.Union, types.UnionType):
        inner = [choice for choice in typing.get_args(hint) if choice is not type(None)]
        return None if value is None else _convert(inner[0], value, place)
    if origin is dict:
        if not isinstance(value, dict):
            raise SpecError(f"{place} is {shown(value)}, expected an object with keys")
        return value
    # bool is an int in Python; a count given as `true` is a slip.
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > MAX_INTEGER:
            raise SpecError(f"{place} is {shown(value)}, expected a number of at most {MAX_INTEGER}")
        value = float(value) if hint is float else value
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool) or value != value:
        raise SpecError(f"{place} is {shown(value)}, expected {hint.__name__}")
    if hint is str and not _is_text(value):
        raise SpecError(f"{place} is {shown(value)}, which is not text: it holds half of a surrogate pair")
    return value


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
