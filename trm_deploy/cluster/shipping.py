"""An artefact and its side files on their way to other machines: through the object store, checked on arrival."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trm_deploy.artefacts import bundle, kind
from trm_deploy.errors import TrmDeployError, require

# Bytes that are hashed or written at a time.
BLOCK = 16 << 20


@dataclass(frozen=True)
class ShippedFile:
    """A file in the object store.

    Attributes:
        name: its path from the artefact's folder.
        data: reference to its bytes, uint8 [N].
        sha256: its digest when it was read.
    """

    name: str
    data: Any
    sha256: str


@dataclass(frozen=True)
class Shipment:
    """A bundle in the object store; the artefact is its first file."""

    files: tuple[ShippedFile, ...]


def files_of(artefact: Path) -> tuple[Path, list[Path]]:
    """The artefact's own file and all files that belong to it, the artefact first.

    A published checkpoint has its settings in files beside it; of a folder the checkpoint that is meant is taken.

    Raises:
        InputError: there is no such file, or it is no artefact.
        MissingPackage: it is a checkpoint, and PyTorch is not installed.
    """
    if kind.of(artefact) is not kind.Kind.checkpoint:
        return artefact, bundle.present(artefact)
    require("torch", extra="export", purpose="to read a checkpoint")
    from trm_deploy.checkpoints import locate
    from trm_deploy.checkpoints.published import config_files

    file = locate(artefact)
    pieces = {file.with_name(str(name)) for name in kind.pieces(file).values()}
    return file, [*bundle.present(file), *sorted(pieces), *config_files.present(file)]


def ship(ray: Any, files: list[Path]) -> Shipment:
    """Put files, the artefact first, into the object store."""
    folder = files[0].parent
    shipped = []
    for path in files:
        data = np.fromfile(path, np.uint8)
        shipped.append(ShippedFile(path.relative_to(folder).as_posix(), ray.put(data), _digest(data)))
    return Shipment(tuple(shipped))


@contextlib.contextmanager
def unpacked(ray: Any, shipment: Shipment) -> Iterator[Path]:
    """The artefact with its side files in a folder of their own, for as long as the block lasts.

    What has opened an artefact by the block's end keeps it: its weights are in memory, and what is mapped stays so.

    Raises:
        TrmDeployError: a file is not what was sent, or the disk is full.
    """
    with tempfile.TemporaryDirectory(prefix="trm-deploy-", ignore_cleanup_errors=True) as folder:
        for file in shipment.files:
            data = ray.get(file.data)
            if (found := _digest(data)) != file.sha256:
                raise TrmDeployError(
                    f"{file.name}: arrived damaged on this node (SHA-256 {found[:12]}, expected {file.sha256[:12]})",
                    hint="run it again",
                )
            path = Path(folder, file.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            data.tofile(path)
        yield Path(folder, shipment.files[0].name)


def _digest(data: Any) -> str:
    """SHA-256 of bytes, uint8 [N]."""
    digest = hashlib.sha256()
    for start in range(0, len(data), BLOCK):
        digest.update(memoryview(data[start : start + BLOCK]))
    return digest.hexdigest()
