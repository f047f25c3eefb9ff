"""Where a fetched file came from: `<file>.fetched.json`, beside it, which may be copied along with the file."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trm_deploy.errors import InputError, SpecError
from trm_deploy.support.files import write_atomic
from trm_deploy.support.plain import from_plain

log = logging.getLogger(__name__)

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A file as the hub has it.

    Attributes:
        repository: OWNER/NAME.
        file: its path in the repository.
        revision: the commit.
        sha256: its SHA-256 as the hub states it, and as it was found here; empty where the hub states none, as of small
            files, whose git digest was compared.
        bytes: its size.
    """

    repository: str
    file: str
    revision: str
    sha256: str = ""
    bytes: int

    def __str__(self) -> str:
        return f"hf://{self.repository}/{self.file}@{self.revision}"

    def to_plain(self) -> dict[str, Any]:
        """The entry of a build record."""
        return {
            "name": f"hf://{self.repository}/{self.file}",
            "revision": self.revision,
            "sha256": self.sha256,
        }


def path_of(file: Path) -> Path:
    """Where it is said."""
    return file.with_name(f"{file.name}.fetched.json")


def write(file: Path, fetched: Fetched) -> None:
    """Say where a file came from."""
    write_atomic(path_of(file), json.dumps({"schema": SCHEMA, **asdict(fetched)}, indent=2) + "\n")


def read(file: Path) -> Fetched | None:
    """What is said of a file; None where nothing is.

    Raises:
        InputError: it is malformed.
    """
    path = path_of(file)
    if not path.is_file():
        return None
    try:
        document = json.loads(path.read_text("utf-8"))
        if not isinstance(document, dict) or document.pop("schema", None) != SCHEMA:
            raise SpecError(f"is not of schema {SCHEMA}")
        return from_plain(Fetched, document, "fetched")
    except (OSError, ValueError, RecursionError, SpecError) as error:
        raise InputError(
            f"{path}: does not tell where {file.name} came from ({error})", hint="remove it, or fetch the file again"
        ) from error


def origin(file: Path, sha256: str) -> Fetched | None:
    """Where a file with this digest came from; None where that is not known.

    Raises:
        InputError: see `read`.
    """
    found = read(file)
    if found is not None and found.sha256 and found.sha256 != sha256:
        log.warning("%s: is not the file that was fetched (%s): its SHA-256 differs", file, found)
        return None
    return found
