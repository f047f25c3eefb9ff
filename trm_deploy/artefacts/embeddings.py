"""A puzzle-embedding table too large for the graph: `<artefact>.embeddings.npy`, float32 [puzzles, E].

A plain NumPy file. Runtimes map it into memory and read a batch's rows by puzzle id: of a table of 2 GB, a batch
touches kilobytes. Which tables are too large, `ModelSpec.puzzle_table_outside` says.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trm_deploy.artefacts import record
from trm_deploy.artefacts.side_file import SideFile
from trm_deploy.errors import ArtefactError
from trm_deploy.spec import ModelSpec
from trm_deploy.support import npy
from trm_deploy.support.files import sha256

Float32 = NDArray[np.float32]


def shape_of(spec: ModelSpec) -> tuple[int, int]:
    """The table's shape [puzzles, E]."""
    return spec.task.puzzle_identifiers, spec.architecture.puzzle_embedding_size


def write(path: Path, blocks: Iterable[Float32], spec: ModelSpec) -> str:
    """Write a table block by block, so that it never is in memory as a whole.

    Args:
        path: the file, usually a temporary one.
        blocks: float32 [any number, E], all rows in order.
        spec: of the model.

    Returns:
        SHA-256 of the file, in hexadecimal.
    """
    header = io.BytesIO()
    layout = {"descr": "<f4", "fortran_order": False, "shape": shape_of(spec)}
    np.lib.format.write_array_header_1_0(header, layout)
    digest = hashlib.sha256(header.getvalue())
    with path.open("wb") as file:
        file.write(header.getvalue())
        for block in blocks:
            data = np.ascontiguousarray(block, "<f4").data
            digest.update(data)
            file.write(data)
    return digest.hexdigest()


def describe(path: Path) -> dict[str, Any]:
    """The table's entry in a build record."""
    return {"shape": list(npy.open_array(path).shape), "dtype": "float32", "sha256": sha256(path)}


def _write_file(path: Path, table: tuple[Iterable[Float32], ModelSpec]) -> None:
    write(path, *table)


FILE = SideFile(".embeddings.npy", npy.open_array, _write_file, entry="puzzle_embeddings", describe=describe)
path_of = FILE.path_of


def open_table(artefact: Path, spec: ModelSpec) -> Float32 | None:
    """The table beside an artefact, mapped into memory; None where it is part of the graph.

    Raises:
        ArtefactError: it is missing, not a NumPy file, of another shape than the spec says, or not the one that the
            build record describes.
    """
    if not spec.puzzle_table_outside:
        return None
    path, shape = path_of(artefact), shape_of(spec)
    expected = f"expected the puzzle embeddings of {artefact.name}, float32 {list(shape)}"
    hint = "copy it along with the artefact, or export again"
    if not path.is_file():
        raise ArtefactError(f"{path}: there is no such file, {expected}", hint=hint)
    try:
        table = npy.open_array(path)
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path}: is not a NumPy file, or is truncated ({error}), {expected}", hint=hint) from error
    if table.shape != shape or table.dtype != np.dtype("<f4") or not table.flags.c_contiguous:
        raise ArtefactError(f"{path}: is {table.dtype} {list(table.shape)}, {expected}", hint=hint)
    built = record.read(artefact)
    if built is not None and built.puzzle_embeddings.get("sha256", "") not in ("", sha256(path)):
        raise ArtefactError(
            f"{path}: is altered, or of another export: its SHA-256 is not the one in {record.path_of(artefact).name},"
            f" {expected}",
            hint=hint,
        )
    return np.asarray(table)


def rows(table: Float32, puzzle_ids: NDArray[np.int32] | None, batch: int) -> Float32:
    """The rows of a batch, float32 [B, E]; without ids they are those of puzzle 0."""
    return table[np.zeros(batch, np.int32) if puzzle_ids is None else puzzle_ids]


@contextlib.contextmanager
def linked_beside(artefact: Path, table: Path) -> Iterator[None]:
    """A table beside an artefact for as long as the block lasts: a link, or a copy where there are none (Windows)."""
    place = path_of(artefact)
    try:
        os.symlink(table.resolve(), place)
    except OSError:
        shutil.copyfile(table, place)
    try:
        yield
    finally:
        place.unlink()
