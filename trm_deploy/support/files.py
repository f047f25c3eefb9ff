"""Files that are either whole or absent: written beside their place and moved into it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from trm_deploy.errors import InputError, TrmDeployError


def refuse_folder(path: Path | None, flag: str = "-o") -> None:
    """Before the work: raises `InputError` where a folder stands in the place of a file to write."""
    if path is not None and path.is_dir():
        raise InputError(f"{path}: is a folder, expected a file to write", hint=f"name a file with {flag}")


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path in `path`'s folder that replaces `path` when the block ends, and vanishes when it fails.

    The data reach the disk before the name changes, so a reader finds the old file or the new one, whole.

    Raises:
        TrmDeployError: the folder cannot be written, or the disk is full.
    """
    # Its name is known before the file exists: an interruption at any moment from here on finds what to take away.
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.partial"
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.touch(exist_ok=False)
        except OSError as error:
            raise TrmDeployError(
                f"{path}: cannot be written ({error.strerror})", hint="name another place with -o"
            ) from error
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise TrmDeployError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        with contextlib.suppress(OSError):  # where the folder is none, there is nothing to take away
            temporary.unlink()


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write a whole file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
