"""Reads a checkpoint of any family: the table of readers, and the one place that chooses among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trm_deploy.checkpoints import native, published
from trm_deploy.checkpoints.base import Checkpoint
from trm_deploy.checkpoints.documents import locate, read_document
from trm_deploy.errors import CheckpointError, shown


@dataclass(frozen=True)
class Reader:
    """A family of checkpoints.

    Attributes:
        recognizes: whether what a file holds is of this family.
        read: the checkpoint from the file's path, what it holds, and overrides (KEY=VALUE).
    """

    recognizes: Callable[[object], bool]
    read: Callable[[Path, Any, Sequence[str]], Checkpoint]


READERS = (
    Reader(native.is_native, native.from_document),
    Reader(published.is_published, published.from_document),
)


def load(path: Path, overrides: Sequence[str] = ()) -> Checkpoint:
    """Read a checkpoint, ours or one of the published code.

    Args:
        path: the file, or the folder of a published one, see `locate`.
        overrides: KEY=VALUE, what a published checkpoint does not say of itself; see
            `trm_deploy.checkpoints.published.parse_overrides`.

    Raises:
        CheckpointError: see `read_pickle`; or it is of no family, or its weights do not fit its spec.
        InputError: overrides for a checkpoint of ours.
    """
    path = locate(path)
    document = read_document(path)
    for reader in READERS:
        if reader.recognizes(document):
            return reader.read(path, document, overrides)
    raise CheckpointError(
        f"{path}: is not a trm-deploy checkpoint (no 'format' entry that says {native.FORMAT!r}),"
        f" nor one of the published code{_held(document)}",
        hint="expected the ema.pt that 'trm-deploy train' writes, or a published step_N",
    )


def _held(document: object) -> str:
    """What a file holds instead, for a message."""
    if not isinstance(document, dict) or not document:
        return ""
    return f": it holds {', '.join(shown(key) for key in list(document)[:3])}{' ...' * (len(document) > 3)}"
