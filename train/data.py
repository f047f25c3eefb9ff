"""Training puzzles: from the generator or its cache, in random order, under random symmetries."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trm_deploy.files import atomic_path
from trm_deploy.progress import progress
from trm_deploy.puzzles.base import Tokens
from trm_deploy.puzzles.sudoku import Sudoku
from trm_deploy.train.generate import GeneratorSettings, Grids, cache_path, generate


class Samples(NamedTuple):
    """Questions with their answers."""

    questions: Tokens  # int32 [n, L]
    answers: Tokens  # int32 [n, L]


def cache_folder() -> Path:
    """Where generated puzzles are kept: TRM_DEPLOY_CACHE, else the user's cache folder."""
    if named := os.environ.get("TRM_DEPLOY_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trm-deploy"


def puzzles(settings: GeneratorSettings) -> Grids:
    """The puzzles int8 [n, 2, cells] (question, answer; 0 = blank), made once and cached."""
    path = cache_path(settings, cache_folder())
    if path.exists():
        return np.load(path)  # type: ignore[no-any-return]
    made = []
    with progress("making puzzles", settings.puzzles) as advance:
        for chunk in generate(settings):
            made.append(chunk)
            advance(len(chunk))
    grids = np.concatenate(made)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, grids)
    return grids


class Stream:
    """An endless stream of training samples: epochs in random order, each sample under a random symmetry.

    Orders follow from the seed and the epoch, symmetries from a generator whose state is part of `state_dict`.
    """

    def __init__(self, grids: Grids, puzzle: Sudoku, seed: int) -> None:
        self._grids = grids
        self._puzzle = puzzle
        self._seed = seed
        self._rng = np.random.default_rng((seed, 0))
        self._start_epoch(0)

    def _start_epoch(self, epoch: int) -> None:
        self._epoch = epoch
        self._next = 0
        self._order = np.random.default_rng((self._seed, 1 + epoch)).permutation(len(self._grids))

    def take(self, count: int) -> Samples:
        """The next `count` samples."""
        rows = []
        while count > 0:
            if self._next == len(self._order):
                self._start_epoch(self._epoch + 1)
            rows.append(self._order[self._next : self._next + count])
            self._next += len(rows[-1])
            count -= len(rows[-1])
        grids = self._puzzle.from_digits(self._grids[np.concatenate(rows)])  # [n, 2, L]
        symmetries = self._puzzle.symmetries(len(grids), self._rng)
        return Samples(symmetries.apply(grids[:, 0]), symmetries.apply(grids[:, 1]))

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands."""
        return {"rng": self._rng.bit_generator.state, "epoch": self._epoch, "next": self._next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self._start_epoch(state["epoch"])
        self._next = state["next"]
        self._rng.bit_generator.state = state["rng"]
