"""Files that are either whole or absent: written beside their place and moved into it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from trm_deploy.errors import InputError, TrmDeployError


def is_regular_file(name: str | Path) -> bool:
    """Whether there is a regular file of that name; also answers for what is too long for a name."""
    try:
        return Path(name).is_file()
    except (OSError, ValueError):
        return False


def refuse_folder(path: Path | None, flag: str = "-o") -> None:
    """Before the work: raises `InputError` where a folder or a device is in the place of a file to write."""
    if path is None or not path.exists() or path.is_file():
        return
    what = "a folder" if path.is_dir() else "a device"
    raise InputError(f"{path}: is {what}, expected a file to write", hint=f"name a file with {flag}")


def check_output(
    path: Path,
    *,
    inputs: Sequence[Path] = (),
    replaceable: Callable[[Path], bool] | None = None,
    expected: str = "",
    force: bool = False,
    flag: str = "-o",
) -> None:
    """The rule for every command that writes a file, checked before the work.

    A file that the command reads is never replaced. Another file that exists is replaced only where the command would
    have written such a file itself (`replaceable`), where it is empty, or with --force.

    Args:
        path: the file to write.
        inputs: files and folders that are read; under whatever name, none of them may be the output.
        replaceable: whether a file is one that may be replaced without --force; none may where None.
        expected: what `replaceable` looks for, for the message: "an ONNX file that export made".
        force: --force is given.
        flag: that names the output.

    Raises:
        InputError: it may not be replaced, it is a folder or a device, or its place cannot be written.
    """
    refuse_folder(path, flag)
    if path.exists():
        for source in inputs:
            if source.exists() and path.samefile(source):
                raise InputError(
                    f"{path}: is the same file as the input {source}, which would be lost",
                    hint=f"name another file with {flag}",
                )
        if path.stat().st_size and not force and not (replaceable is not None and replaceable(path)):
            raise InputError(
                f"{path}: exists already" + (f" and is not {expected}" if expected else ""),
                hint=f"name another file with {flag}, or add --force to write over it",
            )
    _check_writable(path)


def check_output_folder(
    folder: Path, *, holds: str = "", force: bool = False, instead: str = "", flag: str = "-o"
) -> None:
    """The same rule for a command that writes a folder: what an earlier run left there is kept unless --force is given.

    Args:
        folder: the folder to write; made later where it is missing.
        holds: what is in it that may not be lost, "a dataset"; empty where nothing is.
        force: --force is given.
        instead: what else to type, "add --resume"; empty: name another folder.
        flag: that names the folder.

    Raises:
        InputError: it holds something, it is a file, or it cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file, expected a folder to write", hint=f"name a folder with {flag}")
    if holds and not force:
        raise InputError(
            f"{folder}: holds {holds} already",
            hint=f"{instead or f'name another folder with {flag}'}, or add --force to write over it",
        )
    _check_writable(folder / "file")


def _check_writable(path: Path) -> None:
    """Raises `InputError` where no file can be made at a path; missing folders above it can be made as a rule."""
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    probe = folder / f".{secrets.token_hex(8)}.partial"
    try:
        probe.touch(exist_ok=False)  # permissions alone do not tell: file systems are read-only, or take no files
        probe.unlink()
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})", hint="name another place with -o") from error


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
        with temporary.open("r+b") as file:  # Windows syncs only what could be written
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
