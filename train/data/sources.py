"""Where training samples come from: puzzles of the project's own making, or a folder in the published layout.

`build` is the one place that chooses; all other code knows only `Source`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from trm_deploy.artefacts import identifiers
from trm_deploy.errors import CheckpointError, InputError, RecipeError
from trm_deploy.puzzles.base import Puzzle
from trm_deploy.train.data import sampling
from trm_deploy.train.data.layout import Integers, Split, read_split
from trm_deploy.train.data.sampling import Samples, Shuffled, Stream
from trm_deploy.train.data.settings import DataSection, DatasetFolder, GeneratedPuzzles
from trm_deploy.train.labels import IGNORED


class Source(Protocol):
    """An endless supply of training samples, and a fixed set kept out of it. The same seed gives the same samples."""

    @property
    def puzzle_identifiers(self) -> int:
        """Rows of the puzzle-embedding table; 1 where puzzles are not told apart."""

    @property
    def identifiers_file(self) -> Path | None:
        """The names of the puzzle identifiers, a file that travels with the model; None where there is none."""

    def take(self, count: int) -> Samples:
        """The next `count` training samples."""

    def held_out(self) -> Samples:
        """The samples for evaluation, the same ones each time."""

    def state_dict(self) -> dict[str, Any]:
        """The position in the training samples: plain values."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken; raises `CheckpointError` where it was of other data."""


def build(data: DataSection, *, seed: int, held_out: int) -> Source:
    """The source that a recipe names.

    Args:
        data: the recipe's section [data].
        seed: of order, choice and symmetries.
        held_out: most samples for evaluation.

    Raises:
        InputError: a dataset's folder cannot be read, or is of another task.
        RecipeError: no folder is named.
    """
    if isinstance(data, GeneratedPuzzles):
        return GeneratedSource(data, seed=seed, held_out=held_out)
    return FolderSource(data, seed=seed, held_out=held_out)


class GeneratedSource:
    """Puzzles of the project's own making (Sudoku), made once and cached; those held out come from another seed."""

    puzzle_identifiers = 1
    identifiers_file = None

    def __init__(self, wanted: GeneratedPuzzles, *, seed: int, held_out: int) -> None:
        self._puzzle = wanted.puzzle
        self._seed = seed
        self._stream = Stream(sampling.puzzles(wanted), self._puzzle, seed)
        kept_out = dataclasses.replace(wanted, puzzles=held_out, seed=wanted.seed + 1)
        self._kept_out = sampling.puzzles(kept_out)

    def take(self, count: int) -> Samples:
        """See `Source`."""
        return self._stream.take(count)

    def held_out(self) -> Samples:
        """See `Source`."""
        return Stream(self._kept_out, self._puzzle, self._seed).take(len(self._kept_out))

    def state_dict(self) -> dict[str, Any]:
        """See `Source`."""
        return self._stream.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Source`."""
        self._stream.load_state_dict(state)


class FolderSource:
    """A dataset's folder, sampled as the published code does: an epoch is one puzzle of each group, in random order.

    All examples of that puzzle follow each other, in random order. Unlike the published code, those that no longer fit
    into a batch come with the next one, and the last batch of an epoch is not dropped.
    """

    def __init__(self, data: DatasetFolder, *, seed: int, held_out: int) -> None:
        if not data.folder:
            raise RecipeError(
                "the recipe trains on a dataset, and nothing names its folder",
                hint="add --data FOLDER; 'trm-deploy data build' makes one",
            )
        folder = Path(data.folder)
        self._train, self._test = (_read(folder, split, data.puzzle) for split in ("train", "test"))
        self.puzzle_identifiers = self._train.metadata.num_puzzle_identifiers
        if self._test.metadata.num_puzzle_identifiers != self.puzzle_identifiers:
            raise InputError(
                f"{folder / 'test' / 'dataset.json'}: num_puzzle_identifiers is"
                f" {self._test.metadata.num_puzzle_identifiers}, the training split says {self.puzzle_identifiers}",
                hint="build the dataset again",
            )
        names = folder / "identifiers.json"
        self.identifiers_file = names if names.is_file() else None
        self._check_identifiers(folder)
        self._folder = folder
        self._rng = np.random.default_rng((seed, 0))
        self._groups = Shuffled(len(self._train.group_indices) - 1, seed)
        self._waiting: list[int] = []  # examples of the puzzle that was begun
        examples = len(self._test.inputs)
        if examples <= held_out:
            self._kept_out = np.arange(examples)
        else:
            self._kept_out = np.sort(np.random.default_rng(seed).choice(examples, held_out, replace=False))

    def _check_identifiers(self, folder: Path) -> None:
        """Each claimed identifier costs a row of the embedding table: the folder must show that they exist."""
        claimed, puzzles_ = self.puzzle_identifiers, len(self._train.puzzle_identifiers)
        if self.identifiers_file is not None and claimed > 1:
            identifiers.check_count(identifiers.read_file(self.identifiers_file), claimed, self.identifiers_file)
        elif claimed > puzzles_ + len(self._test.puzzle_identifiers) + 1:
            raise InputError(
                f"{folder / 'train' / 'dataset.json'}: num_puzzle_identifiers is {claimed}, more than the folder has"
                " puzzles",
                hint="put the dataset's identifiers.json into the folder",
            )

    def take(self, count: int) -> Samples:
        """See `Source`."""
        while len(self._waiting) < count:
            group = int(self._groups.take(1)[0])
            puzzle = int(self._rng.integers(*self._train.group_indices[group : group + 2]))
            first, end = map(int, self._train.puzzle_indices[puzzle : puzzle + 2])
            self._waiting += (first + self._rng.permutation(end - first)).tolist()
        rows, self._waiting = self._waiting[:count], self._waiting[count:]
        return _samples(self._train, np.array(rows, np.intp))

    def held_out(self) -> Samples:
        """See `Source`."""
        return _samples(self._test, self._kept_out)

    def state_dict(self) -> dict[str, Any]:
        """See `Source`."""
        return {
            "rng": self._rng.bit_generator.state,
            "waiting": self._waiting,
            "examples": len(self._train.inputs),
            **self._groups.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Source`."""
        if state["examples"] != len(self._train.inputs):
            raise CheckpointError(
                f"{self._folder}: has {len(self._train.inputs)} training examples, the run was begun with"
                f" {state['examples']}",
                hint="name the folder that the run was begun with: --data FOLDER",
            )
        self._groups.load_state_dict(state)
        self._rng.bit_generator.state = state["rng"]
        self._waiting = list(state["waiting"])


def _read(folder: Path, split: str, puzzle: Puzzle) -> Split:
    """A split whose metadata agree with the task."""
    found = read_split(folder, split)
    for key, what, value, expected in (
        ("seq_len", "tokens", found.metadata.seq_len, puzzle.cells),
        ("vocab_size", "token ids", found.metadata.vocab_size, len(puzzle.vocabulary)),
    ):
        if value != expected:
            raise InputError(
                f"{folder / split / 'dataset.json'}: {key} is {value}, the task {puzzle.name} has {expected} {what}",
                hint="name the task of the data as data.task in the recipe, or another folder with --data",
            )
    return found


def _samples(split: Split, rows: Integers) -> Samples:
    labels = split.labels[rows].astype(np.int32)
    if split.metadata.ignore_label_id is not None:
        labels[labels == split.metadata.ignore_label_id] = IGNORED
    puzzle = np.searchsorted(split.puzzle_indices, rows, side="right") - 1
    return Samples(split.inputs[rows].astype(np.int32), labels, split.puzzle_identifiers[puzzle].astype(np.int32))
