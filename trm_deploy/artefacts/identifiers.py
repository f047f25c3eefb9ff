"""The identifier map, `<artefact>.identifiers.json`: which puzzle each row of the embedding table belongs to.

A JSON list of names, as the published datasets have it in `identifiers.json`: a name's place is its puzzle id, and
place 0 is usually "<blank>".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from trm_deploy.artefacts.side_file import SideFile
from trm_deploy.errors import InputError, shown


def read_file(path: Path) -> tuple[str, ...]:
    """The names in an `identifiers.json`, in order of puzzle id.

    Raises:
        InputError: it cannot be read, is not a list of names, or names a puzzle twice.
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
        if name in seen and name != BLANK:
            raise InputError(
                f"{path}: entries {seen[name]} and {place} are both {shown(name)}, expected a name only once"
            )
        seen[name] = place
    return tuple(names)


def _write_file(path: Path, names: Sequence[str]) -> None:
    path.write_bytes((json.dumps(list(names), ensure_ascii=False) + "\n").encode())


# Written for each puzzle id that no puzzle has.
BLANK = "<blank>"
# Names are written in order of puzzle id.
FILE = SideFile(".identifiers.json", read_file, _write_file)
path_of, read, write = FILE.path_of, FILE.read, FILE.write


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
