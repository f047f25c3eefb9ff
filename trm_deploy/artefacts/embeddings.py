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
from trm_deploy.errors import ArtefactError
from trm_deploy.spec import ModelSpec
from trm_deploy.support import npy
from trm_deploy.support.files import atomic_path, sha256

Float32 = NDArray[np.float32]


def path_of(artefact: Path) -> Path:
    """The table's place: the artefact's name with ``.embeddings.npy`` behind it."""
    return artefact.with_name(artefact.name + ".embeddings.npy")


def shape_of(spec: ModelSpec) -> tuple[int, int]:
    """The table's shape [puzzles, E]."""
    return spec.task.puzzle_identifiers, spec.architecture.puzzle_embedding_size


def described(spec: ModelSpec, sha256: str) -> dict[str, Any]:
    """The table's entry in a build record."""
    return {"shape": list(shape_of(spec)), "dtype": "float32", "sha256": sha256}


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


def open_table(artefact: Path, spec: ModelSpec) -> Float32 | None:
    """The table beside an artefact, mapped into memory; None where it is part of the graph.

    Raises:
        ArtefactError: it is missing, no NumPy file, of another shape than the spec says, or not the one that the build
            record tells of.
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
        raise ArtefactError(f"{path}: is no NumPy file, or a truncated one ({error}), {expected}", hint=hint) from error
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
def lent(artefact: Path, table: Path) -> Iterator[None]:
    """A table at a staged artefact's side for as long as the block lasts, by a symbolic link."""
    place = path_of(artefact)
    os.symlink(table.resolve(), place)
    try:
        yield
    finally:
        place.unlink()


def carry(source: Path, target: Path, spec: ModelSpec) -> dict[str, Any]:
    """Put the table of one artefact at the side of another: as a hard link where the disk has them, else as a copy.

    Where the table is part of the graph, one that an older artefact left there is taken away.

    Returns:
        The table's entry in the build record; empty where the table is part of the graph.

    Raises:
        ArtefactError: see `open_table`.
    """
    if open_table(source, spec) is None:
        path_of(target).unlink(missing_ok=True)
        return {}
    table = path_of(source)
    with atomic_path(path_of(target)) as temporary:
        temporary.unlink()
        try:
            os.link(table, temporary)
        except OSError:
            shutil.copyfile(table, temporary)
    return described(spec, sha256(table))
