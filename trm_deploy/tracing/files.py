"""Which kind of file shows a trace how; a further one is a row of `WRITERS`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trm_deploy.errors import InputError
from trm_deploy.support.figures import require_matplotlib
from trm_deploy.support.files import check_output, write_atomic
from trm_deploy.support.jsontext import dumps
from trm_deploy.tracing import page, pictures
from trm_deploy.tracing.recording import Recording

SCHEMA = 1


@dataclass(frozen=True)
class Writer:
    """A kind of file.

    Attributes:
        write: the recordings, at least one.
        most: puzzles that it shows.
        draws: whether it needs matplotlib.
    """

    write: Callable[[Path, Sequence[Recording]], None]
    most: int
    draws: bool = False


def _write_json(path: Path, recordings: Sequence[Recording]) -> None:
    traces = [recording.to_plain() for recording in recordings]
    write_atomic(path, dumps({"schema": SCHEMA, "traces": traces}) + "\n")


WRITERS = {
    ".html": Writer(page.write, 20),
    ".json": Writer(_write_json, 20),
    ".gif": Writer(pictures.write_gif, 1, draws=True),
    ".png": Writer(pictures.write_png, 1, draws=True),
}


def writer_of(path: Path, *, inputs: Sequence[Path] = (), force: bool = False) -> Writer:
    """What writes a file, by the end of its name; checked before anything is computed.

    Args:
        path: the file to write.
        inputs: files that are read.
        force: write over one that exists.

    Raises:
        InputError: nothing writes such a file, it exists already, or it cannot be written.
        MissingPackage: matplotlib is not installed, and the file is a picture.
    """
    writer = WRITERS.get(path.suffix.lower())
    if writer is None:
        raise InputError(
            f"--trace {path}: the name ends in {path.suffix or 'nothing'}, expected one of {', '.join(WRITERS)}",
            hint="name a page, FILE.html, where you are not sure",
        )
    if writer.draws:
        require_matplotlib()
    check_output(path, inputs=inputs, force=force, flag="--trace")
    return writer
