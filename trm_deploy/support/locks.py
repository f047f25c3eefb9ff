"""A file that one process writes at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from trm_deploy.errors import InputError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]


def take(path: Path, file: int) -> Callable[[], None]:
    """Take an open file for this process alone.

    Where the system has locks for files the lock ends with the process, however that ends; elsewhere a file with
    ``.lock`` behind the name is the lock.

    Args:
        path: its name.
        file: its descriptor.

    Returns:
        What gives it free.

    Raises:
        InputError: another process has it.
    """
    refused = InputError(
        f"{path}: another run is writing it", hint="wait until that has ended, or name another file with -o"
    )
    if fcntl is None:
        return _take_by_name(path, refused)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise refused from error
    except OSError:  # a file system without locks
        return _take_by_name(path, refused)
    if not path.exists() or path.stat().st_ino != os.fstat(file).st_ino:
        raise refused  # the other run took its empty file away in between
    return lambda: fcntl.flock(file, fcntl.LOCK_UN)


def _take_by_name(path: Path, refused: InputError) -> Callable[[], None]:
    lock = path.with_name(f"{path.name}.lock")
    try:
        os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError as error:
        refused.hint = f"{refused.hint}; where no run is left, remove {lock}"
        raise refused from error

    def release() -> None:
        with contextlib.suppress(OSError):
            lock.unlink()

    return release
