"""The puzzles of a dataset with their known answers: of a folder in the published layout, or of a file with text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trm_deploy.artefacts import identifiers
from trm_deploy.errors import InputError
from trm_deploy.puzzles import reading
from trm_deploy.puzzles.base import TextPuzzle, Tokens
from trm_deploy.puzzles.reading import Question
from trm_deploy.puzzles.text import columns
from trm_deploy.runtimes.solving.session import SolvingSession
from trm_deploy.train.data.layout import SPLITS, Split, read_split

# What a column that rates puzzles is usually called, in the order in which one is preferred.
RATINGS = ("difficulty", "rating", "level", "grade", "hardness", "backtrack", "star", "score")


@dataclass(frozen=True, eq=False)
class Example:
    """A puzzle as it is solved, and what is known of it.

    Attributes:
        tokens: the question, int32 [L].
        answer: int32 [L]; None where it is not known.
        counts: which cells of the answer count, bool [L]; None: all.
        puzzle_id: row of the model's embedding table.
        rating: what the file says of its difficulty; empty where it says nothing.
    """

    tokens: Tokens
    answer: Tokens | None = None
    counts: NDArray[np.bool_] | None = None
    puzzle_id: int = 0
    rating: str = ""

    def compared(self, answer: NDArray[Any]) -> tuple[bool | None, float | None]:
        """Whether an answer [L] is the known one, and the share of cells that are; None where it is not known."""
        if self.answer is None:
            return None, None
        same = answer == self.answer if self.counts is None else (answer == self.answer)[self.counts]
        return (bool(same.all()), float(same.mean())) if len(same) else (None, None)


def published_folder(folder: Path, split: str) -> tuple[Path, str] | None:
    """The dataset's folder and the split, where a folder is in the published layout; else None.

    Args:
        folder: the dataset's, or a split's own.
        split: the one that is wanted.
    """
    if any((folder / name / "dataset.json").is_file() for name in SPLITS) or _has_arrays(folder / split):
        return folder, split
    if (folder / "dataset.json").is_file() or _has_arrays(folder):
        return folder, ""
    return None


def _has_arrays(folder: Path) -> bool:
    return folder.is_dir() and any(folder.glob("*__inputs.npy"))


def folder_examples(session: SolvingSession, folder: Path, split: str) -> tuple[int, Iterator[Example]]:
    """How many examples a split has, and the examples.

    Raises:
        InputError: the folder cannot be read, or is of another task or of other puzzles than the model.
    """
    found = read_split(folder, split)
    metadata, task = found.metadata, session.runtime.spec.task
    place = folder / split / "dataset.json"
    for key, value, expected in (
        ("seq_len", metadata.seq_len, task.sequence_length),
        ("vocab_size", metadata.vocab_size, len(task.vocabulary)),
    ):
        if value != expected:
            raise InputError(
                f"{place}: {key} is {value}, the model {session.path} has {expected}",
                hint="name the dataset of the model's own task",
            )
    told_apart = task.puzzle_identifiers > 1
    if told_apart:
        _check_identifiers(session, folder, found)
    return len(found.inputs), _of_split(found, told_apart)


def _of_split(split: Split, told_apart: bool) -> Iterator[Example]:
    ignored = split.metadata.ignore_label_id
    ids = split.example_identifiers
    for row, (question, label) in enumerate(zip(split.inputs, split.labels)):
        answer = np.asarray(label, np.int32)
        yield Example(
            np.asarray(question, np.int32),
            answer,
            None if ignored is None else answer != ignored,
            int(ids[row]) if told_apart else 0,
        )


def _check_identifiers(session: SolvingSession, folder: Path, split: Split) -> None:
    """The puzzle ids of a split must be those that the model was trained with."""
    known = session.runtime.spec.task.puzzle_identifiers
    highest = int(split.puzzle_identifiers.max())
    if highest >= known:
        raise InputError(
            f"{folder}: has puzzle ids up to {highest}, the model {session.path} knows {known} of them",
            hint="name the dataset that the model was trained on",
        )
    names = next((place for place in (folder, folder.parent) if (place / "identifiers.json").is_file()), None)
    own = None if session.path.is_dir() else identifiers.read(session.path)
    if names is None or own is None:
        return
    theirs = identifiers.read_file(names / "identifiers.json")
    for puzzle_id in np.unique(split.puzzle_identifiers):
        if puzzle_id >= len(theirs) or theirs[puzzle_id] != own[puzzle_id]:
            said = theirs[puzzle_id] if puzzle_id < len(theirs) else "missing"
            raise InputError(
                f"{names / 'identifiers.json'}: puzzle id {puzzle_id} is {said}, in"
                f" {identifiers.path_of(session.path)} it is {own[puzzle_id]}: the model was trained on other puzzles",
                hint="name the dataset that it was trained on",
            )


def text_questions(
    session: SolvingSession, name: str, *, input_format: str | None, column: str | None
) -> Iterator[Question]:
    """The puzzles of a file, each with the answer beside it where there is one."""
    puzzle = session.puzzle
    assert isinstance(puzzle, TextPuzzle)
    return reading.read_with_answers(name, puzzle, input_format=input_format, column=column)


def rating_column(question: Question, wanted: str | None, name: str) -> str:
    """The column that rates the puzzles of a file; empty where none does.

    Args:
        question: one of its puzzles.
        wanted: the column that was named; None: found by its usual names.
        name: of the file.

    Raises:
        InputError: there is no column of the name that was given.
    """
    found = list(question.columns or {})
    if wanted is not None:
        for column in found:
            if column.strip().lower() == wanted.strip().lower():
                return column
        listed = f"found {', '.join(found)[:120]}" if found else "it has no named columns beside the puzzles"
        raise InputError(f"{name}: no column is named {wanted!r} ({listed})", hint="name one of its columns with --by")
    named = {column: set(columns.words(column)) for column in found if not columns.is_answer(column)}
    for word in RATINGS:
        for column, words in named.items():
            if word in words:
                return column
    return ""
