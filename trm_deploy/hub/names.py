"""Names of files on the hub: hf://OWNER/NAME[/FILE][@REVISION]."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from trm_deploy.errors import InputError, shown

SCHEME = "hf://"
# A path that went through pathlib has lost a slash; on Windows the others have turned.
BEGINNING = re.compile(r"hf:[/\\]+")
WORD = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
NAME = re.compile(rf"(?P<owner>{WORD})/(?P<name>{WORD})(?:/(?P<file>[^@]+))?(?:@(?P<revision>[\w./-]+))?")
COMMIT = re.compile(r"[0-9a-f]{40}")
DEFAULT_REVISION = "main"


@dataclass(frozen=True)
class HubName:
    """A file of a repository.

    Attributes:
        repository: OWNER/NAME.
        file: its path in the repository; empty: the only checkpoint, or the last one.
        revision: a branch, a tag or a commit.
    """

    repository: str
    file: str = ""
    revision: str = DEFAULT_REVISION

    def __str__(self) -> str:
        file = f"/{self.file}" if self.file else ""
        return f"{SCHEME}{self.repository}{file}@{self.revision}"

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit, which never changes."""
        return COMMIT.fullmatch(self.revision) is not None


def is_name(path: str | os.PathLike[str]) -> bool:
    """Whether a path is meant as a name on the hub."""
    return BEGINNING.match(os.fspath(path)) is not None


def parse(path: str | Path) -> HubName:
    """What a name says.

    Raises:
        InputError: it is malformed.
    """
    text = str(path)
    rest = BEGINNING.sub("", text, count=1).replace("\\", "/").rstrip("/")
    match = NAME.fullmatch(rest)
    file = (match["file"] or "") if match else ""
    if match is None or {"", ".", ".."} & set(file.split("/") if file else ()):
        raise InputError(
            f"{shown(SCHEME + rest)} is malformed, expected hf://OWNER/NAME, then /FILE and @REVISION where they are"
            " needed",
            hint="such as hf://sapientinc/HRM-checkpoint-sudoku-extreme/checkpoint@main",
        )
    return HubName(f"{match['owner']}/{match['name']}", file, match["revision"] or DEFAULT_REVISION)
