"""Files that `torch.save` wrote, read so that none of them can run code or take more memory than it has bytes.

Read with `weights_only=True` and nothing else: a pickle may carry code, and this never runs it.
"""

from __future__ import annotations

import pickle
import re
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trm_deploy.artefacts import foreign, shipped
from trm_deploy.artefacts.kind import is_checkpoint
from trm_deploy.checkpoints import plain_values
from trm_deploy.errors import CheckpointError

MAX_VALUES = 1_000_000  # in all dictionaries and lists of a file


def read_pickle(path: Path, *, mapped: bool = False) -> Any:
    """What `torch.save` wrote, restricted to tensors and plain values, see `plain_values`.

    Args:
        path: the file.
        mapped: leave the tensors in the file, mapped into memory, instead of reading them.

    Raises:
        CheckpointError: missing, a folder, truncated, not from `torch.save`, or a pickle that asks for code.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such file", hint=shipped.hint_for(path))
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder, expected a checkpoint file")
    if not is_checkpoint(path):
        known = foreign.recognize(path)
        if known is not None:
            raise CheckpointError(f"{path}: is {known.what}", hint=known.cure)
        raise CheckpointError(
            f"{path}: is not a checkpoint, or is truncated ({path.stat().st_size:,} bytes, no end record),"
            " expected a file that torch.save wrote"
        )
    known = foreign.recognize_archive(path)
    if known is not None:
        raise CheckpointError(f"{path}: is {known.what}", hint=known.cure)
    _check_archive(path)
    try:
        # Mapped, a tensor that claims more than the file has is refused; read, it would reach beyond the memory.
        with torch.serialization.safe_globals(plain_values.STAND_INS):
            document = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error):
            named = re.search(r"GLOBAL ([\w.]{1,200})", str(error))
            raise CheckpointError(
                f"{path}: refused: the pickle asks for code or types beyond tensors"
                f"{f' ({named[1]})' if named else ''}, which could run anything",
                hint="ask for a file with a plain state dict, or save one where you trust it: torch.save(STATE_DICT,"
                " 'step_0')",
            ) from error
        raise CheckpointError(f"{path}: is not a checkpoint (its pickle is damaged)") from error
    except Exception as error:  # torch.load raises nearly anything on damaged bytes
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(f"{path}: is a damaged checkpoint ({reason[0]})") from error
    _check_claims(document, path)
    return document if mapped else _copied(document)


def _check_archive(path: Path) -> None:
    """Compare each entry with its CRC-32, which PyTorch does not; refuse what unpacks to more than the file."""
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED or entry.file_size > size for entry in entries):
                raise CheckpointError(
                    f"{path}: is an archive with packed entries, expected a file that torch.save wrote"
                )
            claimed = sum(entry.file_size for entry in entries)
            if claimed > size:
                raise CheckpointError(f"{path}: its entries claim {claimed:,} bytes, the file has {size:,}")
            damaged = archive.testzip()
    # zipfile raises nearly anything on damaged bytes
    except (
        OSError,
        ValueError,
        zipfile.BadZipFile,
        RuntimeError,
        EOFError,
        struct.error,
    ) as error:
        raise CheckpointError(f"{path}: is a damaged or truncated checkpoint ({error})") from error
    if damaged is not None:
        raise CheckpointError(
            f"{path}: is a damaged checkpoint: its entry {damaged} does not have the CRC-32 that was written with it",
            hint="copy it again",
        )


def _check_claims(document: Any, path: Path) -> None:
    """Refuse tensors that claim more than the file holds: one number can be repeated to a billion at no cost."""
    size = path.stat().st_size
    claimed = 0
    for tensor in _tensors(document, path):
        plain = type(tensor) in (Tensor, torch.nn.Parameter) and tensor.layout == torch.strided
        if not plain or tensor.device.type != "cpu" or tensor.is_quantized:
            raise CheckpointError(f"{path}: has a tensor of another kind than plain numbers ({type(tensor).__name__})")
        claimed += tensor.numel() * tensor.element_size()
        # Twice: weights may be tied.
        if claimed > 2 * size:
            raise CheckpointError(
                f"{path}: its tensors claim {claimed:,} bytes (one is {list(tensor.shape)}), the file has {size:,}"
            )


def _tensors(document: Any, path: Path) -> Iterator[Tensor]:
    """The tensors in a document of dictionaries, lists and tuples."""
    waiting, seen = [document], 0
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (dict, list, tuple)):
            waiting.extend(value.values() if isinstance(value, dict) else value)
            seen += len(value)
            if seen > MAX_VALUES:
                raise CheckpointError(f"{path}: holds more than {MAX_VALUES:,} values")


def _copied(value: Any) -> Any:
    """The document with its tensors in memory, no longer mapped from a file that may be replaced."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _copied(entry) for key, entry in value.items()}
    return type(value)(map(_copied, value)) if type(value) in (list, tuple) else value
