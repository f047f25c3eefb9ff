"""The identifier map, `<artefact>.identifiers.json`: which puzzle each row of the embedding table belongs to.

A JSON list of names, as the published datasets have it in `identifiers.json`: a name's place is its puzzle id, and
place 0 is usually "<blank>".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from trm_deploy.errors import InputError, shown
from trm_deploy.support.files import write_atomic


def path_of(artefact: Path) -> Path:
    """The map's place: the artefact's name with ``.identifiers.json`` behind it."""
    return artefact.with_name(artefact.name + ".identifiers.json")


def read(artefact: Path) -> tuple[str, ...] | None:
    """The names beside an artefact, in order of puzzle id; None where there is no map.

    Raises:
        InputError: it is there and is no list of names.
    """
    path = path_of(artefact)
    return read_file(path) if path.is_file() else None


def read_file(path: Path) -> tuple[str, ...]:
    """The names in an `identifiers.json`, in order of puzzle id.

    Raises:
        InputError: it cannot be read, is no list of names, or names a puzzle twice.
    """
    try:
        names = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as a JSON list of names ({error})") from error
    if not isinstance(names, list) or not names:
        raise InputError(f"{path}: holds {type(names).__name__}, expected a JSON list of names, one a puzzle id")
    seen: dict[str, int] = {}
    for place, name in enumerate(names):
        if not isinstance(name, str):
            raise InputError(f"{path}: entry {place} is {shown(name)}, expected a name")
        if not name.isprintable():
            raise InputError(f"{path}: entry {place} is {shown(name)}, expected a name of printable characters")
        if name in seen:
            raise InputError(
                f"{path}: entries {seen[name]} and {place} are both {shown(name)}, expected a name only once"
            )
        seen[name] = place
    return tuple(names)


def write(artefact: Path, names: Sequence[str] | None) -> None:
    """Write the names, in order of puzzle id, beside an artefact; without names, take an older file's away."""
    if names is None:
        path_of(artefact).unlink(missing_ok=True)
        return
    write_atomic(path_of(artefact), json.dumps(list(names), ensure_ascii=False) + "\n")


def check_count(names: Sequence[str], expected: int, path: Path) -> None:
    """Refuse a map of another number of puzzles than the model has.

    Raises:
        InputError: naming both numbers.
    """
    if len(names) != expected:
        raise InputError(
            f"{path}: names {len(names):,} puzzles, the model has {expected:,} puzzle identifiers",
            hint="take the identifiers.json of the dataset that the model was trained on",
        )
