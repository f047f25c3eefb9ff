"""Reads a checkpoint of any family: the table of readers, and the one place that chooses among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trm_deploy.checkpoints import native, published
from trm_deploy.checkpoints.archive import locate, read_pickle
from trm_deploy.checkpoints.base import Checkpoint
from trm_deploy.errors import CheckpointError, shown


@dataclass(frozen=True)
class Reader:
    """A family of checkpoints.

    Attributes:
        recognizes: whether what `torch.save` wrote is of this family.
        read: the checkpoint from the file's path, what it holds, and overrides (KEY=VALUE).
    """

    recognizes: Callable[[object], bool]
    read: Callable[[Path, Any, Sequence[str]], Checkpoint]


READERS = (
    Reader(native.is_native, native.from_document),
    Reader(published.is_state_dict, published.from_document),
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
    document = read_pickle(path, mapped=True)
    for reader in READERS:
        if reader.recognizes(document):
            return reader.read(path, document, overrides)
    inside = (
        [key for key, value in document.items() if published.is_state_dict(value)] if type(document) is dict else []
    )
    if inside:
        raise CheckpointError(
            f"{path}: holds a state dict under {shown(inside[0])} among other things, expected the bare state dict",
            hint=f"save it by itself: torch.save(torch.load(FILE)[{shown(inside[0])}], 'step_N')",
        )
    raise CheckpointError(
        f"{path}: is not a trm-deploy checkpoint (no 'format' entry that says {native.FORMAT!r}),"
        " nor one of the published code",
        hint="expected the ema.pt that 'trm-deploy train' writes, or a published step_N",
    )
