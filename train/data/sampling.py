"""Training puzzles of the project's own making: from the generator or its cache, in random order, under symmetries."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trm_deploy.errors import InputError, require
from trm_deploy.puzzles.base import Tokens
from trm_deploy.puzzles.sudoku import Sudoku
from trm_deploy.support import npy
from trm_deploy.support.files import atomic_path
from trm_deploy.support.progress import progress
from trm_deploy.train.data.settings import GeneratedPuzzles

Grids = NDArray[np.int8]


class Samples(NamedTuple):
    """Questions with their answers."""

    questions: Tokens  # int32 [n, L]
    labels: Tokens  # int32 [n, L]; `trm_deploy.train.labels.IGNORED` where the loss passes over
    identifiers: Tokens  # int32 [n], of the puzzles; 0 where they are not told apart


class Shuffled:
    """The numbers below `count` without end, each once an epoch; the order follows from the seed and the epoch."""

    def __init__(self, count: int, seed: int) -> None:
        self._count = count
        self._seed = seed
        self._start_epoch(0)

    def _start_epoch(self, epoch: int) -> None:
        self._epoch = epoch
        self._next = 0
        self._order = np.random.default_rng((self._seed, 1 + epoch)).permutation(self._count)

    def take(self, count: int) -> NDArray[np.intp]:
        """The next `count` numbers."""
        taken = []
        while count > 0:
            if self._next == len(self._order):
                self._start_epoch(self._epoch + 1)
            taken.append(self._order[self._next : self._next + count])
            self._next += len(taken[-1])
            count -= len(taken[-1])
        return np.concatenate(taken)

    def state_dict(self) -> dict[str, Any]:
        """The position in the order: plain values."""
        return {"epoch": self._epoch, "next": self._next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self._start_epoch(state["epoch"])
        self._next = state["next"]


def cache_folder() -> Path:
    """The folder for generated puzzles: TRM_DEPLOY_CACHE, else the user's cache folder."""
    if named := os.environ.get("TRM_DEPLOY_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trm-deploy"


def cache_path(wanted: GeneratedPuzzles, folder: Path) -> Path:
    """The file in `folder` that holds, or will hold, these puzzles."""
    side = wanted.puzzle.side
    return folder / f"sudoku-{side}x{side}-{wanted.digest}.npy"


def puzzles(wanted: GeneratedPuzzles) -> Grids:
    """The puzzles int8 [n, 2, cells] (question, answer; 0 = blank), made once and cached.

    Raises:
        MissingPackage: they are not in the cache, and numba, which makes them, is not installed.
        InputError: the cached file is damaged.
    """
    path = cache_path(wanted, cache_folder())
    if path.exists():
        return _cached(path, wanted)
    require("numba", extra="train", purpose="to make training puzzles")
    from trm_deploy.train.data.generators.sudoku import generate

    made = []
    with progress("making puzzles", wanted.puzzles) as advance:
        for chunk in generate(wanted):
            made.append(chunk)
            advance(len(chunk))
    grids = np.concatenate(made)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, grids)
    return grids


def _cached(path: Path, wanted: GeneratedPuzzles) -> Grids:
    """Puzzles that were made before."""
    side = wanted.puzzle.side
    shape = (wanted.puzzles, 2, side * side)
    try:
        grids = np.array(npy.open_array(path))
        if grids.shape != shape or grids.dtype != np.int8 or grids.min() < 0 or grids.max() > side:
            raise ValueError(
                f"it holds {grids.dtype} {list(grids.shape)}, expected int8 {list(shape)} from 0 to {side}"
            )
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: the puzzles in this cache file are damaged ({error})", hint="remove it; they are made again"
        ) from error
    return grids


class Stream:
    """An endless stream of training samples: epochs in random order, each sample under a random symmetry.

    The symmetries come from a generator whose state is part of `state_dict`.
    """

    def __init__(self, grids: Grids, puzzle: Sudoku, seed: int) -> None:
        self._grids = grids
        self._puzzle = puzzle
        self._order = Shuffled(len(grids), seed)
        self._rng = np.random.default_rng((seed, 0))

    def take(self, count: int) -> Samples:
        """The next `count` samples."""
        grids = self._puzzle.from_digits(self._grids[self._order.take(count)])  # [n, 2, L]
        symmetries = self._puzzle.symmetries(len(grids), self._rng)
        return Samples(symmetries.apply(grids[:, 0]), symmetries.apply(grids[:, 1]), np.zeros(len(grids), np.int32))

    def state_dict(self) -> dict[str, Any]:
        """The position in the stream: plain values."""
        return {"rng": self._rng.bit_generator.state, **self._order.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self._order.load_state_dict(state)
        self._rng.bit_generator.state = state["rng"]
