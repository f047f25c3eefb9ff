"""Reads NumPy files that may be anything: what a header claims is compared with the file before memory is taken.

`numpy.load` also takes archives and pickles, and makes room for as many values as a header names.
"""

from __future__ import annotations

import io
import math
import tokenize
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from trm_deploy.errors import shown

# NumPy itself refuses longer ones.
MAX_HEADER = 10_000

MAGIC = b"\x93NUMPY"


def is_npy(path: Path) -> bool:
    """Whether a file begins as an array does, whatever follows."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def open_array(path: Path) -> NDArray[Any]:
    """The array in a `.npy` file, mapped into memory for reading.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no NumPy file of plain numbers, or its size is not the one that its header tells.
    """
    with path.open("rb") as file:
        shape, fortran, dtype, start = _header(file)
        size = file.seek(0, io.SEEK_END)
    values = math.prod(shape)
    if values > size:
        raise ValueError(f"its header tells of {shown(values)} values {shown(shape)}, the file has {size:,} bytes")
    if start + values * dtype.itemsize != size:
        raise ValueError(
            f"its header tells of {values:,} values of {dtype.itemsize} bytes {list(shape)}, behind it are"
            f" {size - start:,} bytes"
        )
    if not values:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")


def from_bytes(data: bytes) -> NDArray[Any]:
    """The array in the bytes of a `.npy` file.

    Raises:
        ValueError: as for `open_array`.
    """
    shape, fortran, dtype, start = _header(io.BytesIO(data))
    if start + math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(
            f"a header tells of {shown(shape)} values of {dtype.itemsize} bytes, behind it are {len(data) - start:,}"
        )
    return np.frombuffer(bytearray(data), dtype, offset=start).reshape(shape, order="F" if fortran else "C")


def _header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, whether it is in Fortran's order, type, and where the data begin."""
    magic = file.read(8)
    if magic[:6] != MAGIC or magic[6:] not in (b"\x01\x00", b"\x02\x00"):
        raise ValueError(f"it begins with {magic!r}")
    read = np.lib.format.read_array_header_1_0 if magic[6] == 1 else np.lib.format.read_array_header_2_0
    width = 2 if magic[6] == 1 else 4
    raw = file.read(width)
    length = int.from_bytes(raw, "little")
    if length > MAX_HEADER:
        raise ValueError(f"its header tells of {length:,} bytes of its own, expected at most {MAX_HEADER:,}")
    try:
        shape, fortran, dtype = read(io.BytesIO(raw + file.read(length)))
    # NumPy's reader hands on what Python's own parsers raise on odd text.
    except (
        ValueError,
        SyntaxError,
        TypeError,
        OverflowError,
        RecursionError,
        MemoryError,
        tokenize.TokenError,
    ) as error:
        raise ValueError(f"its header makes no sense ({str(error)[:80] or type(error).__name__})") from error
    if dtype.kind not in "biuf" or dtype.itemsize == 0 or len(shape) > 8 or any(size < 0 for size in shape):
        raise ValueError(f"its header tells of {dtype} {shown(shape)}")
    return shape, fortran, dtype, 8 + width + length
