"""Files cut and flipped, and the outcomes counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from trm_deploy.support.files import write_atomic

from .kinds import KINDS
from .reader import Reader

EDGE = 2048
OUTCOMES = ("refused", "right", "silent", "failed")


def damages(size: int, cuts: int, flips: int, rng: np.random.Generator) -> Iterator[tuple[str, int, int]]:
    """What is done to a file of `size` bytes: ("cut", where, 0), or ("flip", where, which bits)."""
    for _ in range(cuts):
        yield "cut", int(rng.integers(size)), 0
    for number in range(flips):
        place = int(rng.integers(size))
        if number % 2:
            place = int(rng.integers(min(EDGE, size)))
            place = size - 1 - place if number % 4 == 1 else place
        yield "flip", place, int(rng.integers(1, 256))


def damage(path: Path, whole: bytes, what: tuple[str, int, int]) -> None:
    """Put a damaged copy in the file's place."""
    kind, place, bits = what
    changed = bytearray(whole[:place] if kind == "cut" else whole)
    if kind == "flip":
        changed[place] ^= bits
    # A new file, not the old one changed: a reader may have that mapped.
    write_atomic(path, bytes(changed))


def try_kind(name: str, folder: Path, reader: Reader, *, cuts: int, flips: int, seed: int = 0) -> dict[str, Any]:
    """Damage a kind of file, in a new folder, with that many cuts and flipped bytes.

    Returns:
        The counts by outcome, and what failed, each with the damage that did it.
    """
    kind = KINDS[name]
    files = kind.make(folder)
    contents = [path.read_bytes() for path in files]
    counts = dict.fromkeys(("tried", *OUTCOMES), 0)
    failed: list[str] = []
    rng = np.random.default_rng((seed, list(KINDS).index(name)))
    plans_ = [list(damages(len(whole), -(-cuts // len(files)), -(-flips // len(files)), rng)) for whole in contents]
    reader.begin(name, files[0])
    for path, whole, todo in zip(files, contents, plans_):
        for what in todo:
            damage(path, whole, what)
            outcome = reader.read(path)
            verdict = outcome.partition(":")[0]
            if verdict == "silent" and not kind.text:
                verdict, outcome = "failed", "failed: answers otherwise, and nobody noticed"
            counts["tried"] += 1
            counts[verdict] += 1
            if verdict == "failed":
                failed.append(f"{path.name} {what}: {outcome}")
        write_atomic(path, whole)
    reader.begin(name, files[0])  # and it still reads what is intact
    return {"kind": name, **counts, "failures": failed}
