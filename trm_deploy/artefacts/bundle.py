"""A bundle: an artefact and the files beside it, staged, checked and published as one.

    <artefact>                    the ONNX file or the plan
    <artefact>.embeddings.npy     the puzzle-embedding table, where it is too large for the graph
    <artefact>.identifiers.json   names of the puzzle ids, where there are any
    <artefact>.golden.npz         golden vectors, which `trm-deploy verify` replays
    <artefact>.json               the build record

A further kind of file is a row of `SIDE_FILES`; everything here takes it along.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from trm_deploy.artefacts import embeddings, golden, identifiers, record
from trm_deploy.artefacts.record import BuildRecord
from trm_deploy.artefacts.side_file import SideFile
from trm_deploy.errors import TrmDeployError
from trm_deploy.support.files import sha256

# In the order in which they are published; the record, which vouches for the others, comes last.
SIDE_FILES: tuple[SideFile[Any, Any], ...] = (embeddings.FILE, identifiers.FILE, golden.FILE, record.FILE)

Written = TypeVar("Written")


def present(artefact: Path) -> list[Path]:
    """The files of a bundle that exist, the artefact first."""
    places = [artefact, *(side.path_of(artefact) for side in SIDE_FILES)]
    return [place for place in places if place.is_file()]


@dataclass(frozen=True)
class Staging:
    """A bundle that is being made, in a folder of its own beside its target.

    Attributes:
        artefact: where to write the artefact; it has the target's name, and its side files are beside it.
        target: where `publish` moves it.
    """

    artefact: Path
    target: Path

    def add(self, side: SideFile[Any, Written], value: Written | None) -> None:
        """Write a side file; None: the bundle has none.

        Raises:
            TrmDeployError: it cannot be written.
        """
        if value is not None:
            with self._naming(side):
                side.write_file(side.path_of(self.artefact), value)

    def carry(self, source: Path, side: SideFile[Any, Any]) -> None:
        """Take over a side file of another artefact, if it has one: as a hard link where the disk has them, or a copy.

        Raises:
            TrmDeployError: it cannot be written.
        """
        found, place = side.path_of(source), side.path_of(self.artefact)
        if not found.is_file():
            return
        try:
            os.link(found, place)
        except OSError:
            with self._naming(side):
                shutil.copyfile(found, place)

    def publish(self, about: BuildRecord, *, check: Callable[[Path], Mapping[str, Any]] | None = None) -> BuildRecord:
        """Write the record, check the bundle, and move it into its place; nothing changes there where this fails.

        Whenever this is interrupted, the target is whole, old or new, and no file beside it is another artefact's: what
        an older artefact had beside it goes first, its record before all else; then the artefact comes; then what
        belongs to it, the record last.

        Args:
            about: the record; its digests are filled in here.
            check: looks at the staged artefact and gives the record's entry `parity`; may raise.

        Returns:
            The record as it was written.

        Raises:
            TrmDeployError: a file cannot be written; and what `check` raises.
        """
        about = replace(about, artefact_sha256=sha256(self.artefact), **self._descriptions())
        self.add(record.FILE, about)
        if check is not None:
            about = replace(about, parity=dict(check(self.artefact)))
            self.add(record.FILE, about)
        staged = [side for side in SIDE_FILES if side.path_of(self.artefact).is_file()]
        for path in present(self.artefact):
            with path.open("r+b") as file:  # Windows syncs only what could be written
                os.fsync(file.fileno())
        for side in reversed(SIDE_FILES):
            side.path_of(self.target).unlink(missing_ok=True)
        self.artefact.replace(self.target)
        for side in staged:
            side.path_of(self.artefact).replace(side.path_of(self.target))
        return about

    def _descriptions(self) -> dict[str, Any]:
        """The entries of the record that describe side files."""
        fields = {field.name for field in dataclasses.fields(BuildRecord)}
        found: dict[str, Any] = {}
        for side in SIDE_FILES:
            path = side.path_of(self.artefact)
            if side.describe is not None and path.is_file():
                assert side.entry in fields, side.entry
                found[side.entry] = side.describe(path)
        return found

    @contextlib.contextmanager
    def _naming(self, side: SideFile[Any, Any]) -> Iterator[None]:
        """What cannot be written is called by the name that it was to have."""
        try:
            yield
        except OSError as error:
            raise TrmDeployError(f"{side.path_of(self.target)}: cannot be written ({error.strerror})") from error


@contextlib.contextmanager
def staged(target: Path) -> Iterator[Staging]:
    """A place to make a bundle in; what is not published by the block's end vanishes.

    Raises:
        TrmDeployError: the target's folder cannot be written, or the disk is full.
    """
    # Its name is known before the folder exists: an interruption at any moment from here on finds what to remove.
    folder = target.parent / f".{target.name}.{secrets.token_hex(4)}.partial"
    try:
        folder.mkdir(parents=True)
        yield Staging(folder / target.name, target)
    except OSError as error:
        raise TrmDeployError(
            f"{target}: cannot be written ({error.strerror or error})", hint="name another place with -o"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
