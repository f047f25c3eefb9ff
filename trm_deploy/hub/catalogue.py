"""Public checkpoints, and what is known of them: `catalogue.toml`, beside this file.

Settings are there only where a page states them, and each entry names its pages.
"""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from trm_deploy.hub import fetched
from trm_deploy.support.plain import from_plain

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CATALOGUE = "catalogue.toml"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A public checkpoint.

    Attributes:
        repository: OWNER/NAME on the hub.
        file: the checkpoint's path in it.
        model: what it is, in words.
        task: what it solves, as we name it.
        reported: what its makers, or others, report of it.
        license: as the hub states it; empty where no page that we can cite does.
        settings: by the published names, what the checkpoint's own files do not say.
        pages: that state what is here.
        missing: what is still asked for.
    """

    repository: str
    file: str
    model: str
    task: str
    reported: str = ""
    license: str = ""
    settings: dict[str, Any]
    pages: tuple[str, ...]
    missing: str = ""

    @property
    def name(self) -> str:
        """What to type."""
        return f"hf://{self.repository}/{self.file}"


@functools.cache
def entries() -> tuple[Entry, ...]:
    """The catalogue, in its order."""
    text = (resources.files("trm_deploy.hub") / CATALOGUE).read_text("utf-8")
    return tuple(from_plain(Entry, table, f"{CATALOGUE} entry") for table in tomllib.loads(text)["checkpoint"])


def find(repository: str, file: str = "") -> Entry | None:
    """The entry of a file; without a file the only one of its repository. None where there is none."""
    own = [entry for entry in entries() if entry.repository.lower() == repository.lower()]
    if not file:
        return own[0] if len(own) == 1 else None
    return next((entry for entry in own if entry.file == file), None)


def settings_of(file: Path) -> dict[str, Any]:
    """What the catalogue says of a fetched checkpoint, by the published names; empty where it says nothing.

    Raises:
        InputError: see `trm_deploy.hub.fetched.read`.
    """
    origin = fetched.read(file)
    entry = None if origin is None else find(origin.repository, origin.file)
    return {} if entry is None else dict(entry.settings)
