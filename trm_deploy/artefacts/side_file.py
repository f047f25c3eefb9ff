"""A kind of file beside an artefact: its name, its reader, its writer. `trm_deploy.artefacts.bundle` has the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from trm_deploy.support.files import atomic_path

Read = TypeVar("Read")
Written = TypeVar("Written")


@dataclass(frozen=True, eq=False)
class SideFile(Generic[Read, Written]):
    """A kind of file beside an artefact.

    Attributes:
        suffix: its name is the artefact's with this behind it.
        read_file: what a file holds.
        write_file: writes a file whose folder exists, not atomically.
        entry: field of the build record that describes the file; empty where none does.
        describe: that description, plain values with the file's SHA-256.
    """

    suffix: str
    read_file: Callable[[Path], Read]
    write_file: Callable[[Path, Written], object]
    entry: str = ""
    describe: Callable[[Path], dict[str, Any]] | None = None

    def path_of(self, artefact: Path) -> Path:
        """The file's place beside an artefact."""
        return artefact.with_name(artefact.name + self.suffix)

    def read(self, artefact: Path) -> Read | None:
        """What the file beside an artefact holds; None where there is none. Errors are those of `read_file`."""
        path = self.path_of(artefact)
        return self.read_file(path) if path.is_file() else None

    def write(self, artefact: Path, value: Written | None) -> None:
        """Write the file beside an artefact, atomically; None removes an older one."""
        path = self.path_of(artefact)
        if value is None:
            path.unlink(missing_ok=True)
            return
        with atomic_path(path) as temporary:
            self.write_file(temporary, value)
