"""Builds datasets of puzzles that have one question and one answer each, from a generator or from published CSV files.

What Sudoku and mazes have in common; `builders.sudoku` and `builders.maze` say what differs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trm_deploy.errors import InputError, PuzzleError
from trm_deploy.puzzles import reading
from trm_deploy.puzzles.base import Symmetries, TextPuzzle, Tokens
from trm_deploy.puzzles.reading import Answered
from trm_deploy.support.progress import progress
from trm_deploy.train.data import defaults
from trm_deploy.train.data import layout as dataset

# Lines of a CSV file that are parsed together.
LINES = 10_000
# How often puzzles are made again in place of those that were made twice.
ROUNDS = 20

Bytes = NDArray[np.uint8]


class Examples(NamedTuple):
    """Questions and their answers in tokens."""

    questions: Bytes  # uint8 [N, L]
    answers: Bytes  # uint8 [N, L]


@dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """What to build.

    Attributes:
        output: the folder; None: data/ and the task's name.
        csv, test_csv: files with puzzles and their answers; None: puzzles are generated.
        column: of these files, the column with the puzzles; None: found by its name or by what it holds.
        train, test: how many puzzles to generate; None: `defaults.PUZZLES`.
        subsample: number of puzzles to take from the training file, chosen at random; None: all.
        augment: further forms of each training puzzle, under its symmetries.
        seed: of all that is random.
        force: replace a dataset that is there already.
    """

    output: Path | None = None
    csv: Path | None = None
    test_csv: Path | None = None
    column: str | None = None
    train: int | None = None
    test: int | None = None
    subsample: int | None = None
    augment: int = 0
    seed: int = 0
    force: bool = False

    def __post_init__(self) -> None:
        if (self.csv is None) != (self.test_csv is None):
            raise InputError("one of --csv and --test-csv is missing: a dataset has a training and a test part")
        for flag, value in (("--train", self.train), ("--test", self.test)):
            if self.csv is not None and value is not None:
                raise InputError(f"{flag} is for generated puzzles", hint="with --csv, type --subsample N")
        if self.csv is None and self.subsample is not None:
            raise InputError("--subsample is for --csv", hint="for N generated puzzles, type --train N")


@dataclass(frozen=True, kw_only=True)
class DatasetTask:
    """A task that datasets are built of: what differs between Sudoku and mazes.

    Attributes:
        puzzle: the task.
        make: from a count and a seed, that many puzzles: uint8 [n, 2, L], questions and answers in tokens, by chunks.
        augmentations: from a count, that many symmetries other than the identity.
        surely_right: bool [n], which questions and answers [n, L] are known to be right; the others are checked singly.
        describe: what there is to say of training puzzles, for the user; empty for nothing.
    """

    puzzle: TextPuzzle
    make: Callable[[int, int], Iterator[Bytes]]
    augmentations: Callable[[int, np.random.Generator], Symmetries]
    surely_right: Callable[[Examples], NDArray[np.bool_]]
    describe: Callable[[Examples], str] = lambda examples: ""


def build(task: DatasetTask, options: DatasetOptions) -> str:
    """Build a dataset's folder.

    Returns:
        What was written, for the user.

    Raises:
        InputError: the folder holds a dataset already; a CSV file cannot be read or has a wrong answer; there are
            fewer distinct puzzles than wanted.
    """
    output = options.output or Path("data") / task.puzzle.name
    dataset.check_output(output, force=options.force)
    if options.csv is not None and options.test_csv is not None:
        train, test = (_from_csv(path, task, options.column) for path in (options.csv, options.test_csv))
        train = _subsample(train, options)
    else:
        train_count, test_count = (
            defaults.PUZZLES if count is None else count for count in (options.train, options.test)
        )
        both = _generated(task, train_count + test_count, options.seed)
        train, test = (Examples(part[:, 0], part[:, 1]) for part in (both[:train_count], both[train_count:]))
    symbols = len(task.puzzle.vocabulary)
    augmented = _augmented(task, train, options)
    splits = {
        "train": dataset.of_single_examples(*augmented, vocabulary=symbols, forms=1 + options.augment),
        "test": dataset.of_single_examples(*test, vocabulary=symbols),
    }
    dataset.write_dataset(output, splits)
    forms = f" in {1 + options.augment:,} forms each" if options.augment else ""
    return (
        f"wrote {output}: {task.puzzle.name}, {len(train.questions):,} training puzzles{forms},"
        f" {len(test.questions):,} test puzzles{task.describe(train)}"
    )


def _generated(task: DatasetTask, count: int, seed: int) -> Bytes:
    """Distinct puzzles uint8 [count, 2, L]: one that was made twice could come to be trained on and tested with."""
    found = np.empty((0, 2, task.puzzle.cells), np.uint8)
    with progress(f"making {task.puzzle.name}", count, unit="puzzles") as advance:
        for attempt in range(ROUNDS):
            fresh = int(np.random.SeedSequence((seed, attempt)).generate_state(1)[0])
            made = [found]
            for chunk in task.make(count - len(found), fresh):
                made.append(chunk)
                advance(len(chunk))
            every = np.concatenate(made)
            found = _distinct(every)
            advance(len(found) - len(every))
            if len(found) == count:
                return found
    raise InputError(
        f"only {len(found):,} distinct puzzles of {task.puzzle.name} were found, {count:,} are wanted",
        hint="ask for fewer with --train and --test",
    )


def _distinct(pairs: Bytes) -> Bytes:
    _, first = np.unique(pairs[:, 0], axis=0, return_index=True)
    return pairs[np.sort(first)]


def _from_csv(path: Path, task: DatasetTask, column: str | None) -> Examples:
    puzzle = task.puzzle
    tokens = _token_of_character(puzzle)
    parts = []
    rows = reading.read_answered(str(path), puzzle, column=column)
    with progress(f"reading {path.name}", reading.estimate_lines(str(path)) - 1, unit="lines") as advance:
        while chunk := list(itertools.islice(rows, LINES)):
            texts = ((row.question for row in chunk), (row.answer for row in chunk))
            examples = Examples(*(_parsed(part, tokens, puzzle.cells) for part in texts))
            surely = task.surely_right(examples) & [_has_one_blank(row.question, puzzle) for row in chunk]
            for number in np.flatnonzero(~surely):
                examples.questions[number], examples.answers[number] = _check_row(chunk[number], puzzle)
            parts.append(examples)
            advance(len(chunk))
    if not parts:
        raise InputError(f"{path}: holds no puzzle")
    return Examples(*(np.concatenate(column) for column in zip(*parts)))


def _token_of_character(puzzle: TextPuzzle) -> Bytes:
    """The token of each character code below 256; 0 for those that no puzzle has."""
    table = np.zeros(256, np.uint8)
    for code in range(32, 127):
        try:
            table[code] = puzzle.parse_line(chr(code) * puzzle.cells)[0]
        except PuzzleError:
            continue
    return table


def _parsed(texts: Iterable[str], tokens: Bytes, cells: int) -> Bytes:
    """uint8 [n, cells]; 0 for a character that no puzzle has, and throughout a text of another length, or not ASCII."""
    lines = [text if len(text) == cells and text.isascii() else "\x7f" * cells for text in texts]
    codes = np.frombuffer("".join(lines).encode(), np.uint8)
    return tokens[codes].reshape(len(lines), cells)


def _has_one_blank(text: str, puzzle: TextPuzzle) -> bool:
    """Whether no two characters of a text stand for a blank, where a task has several that may."""
    return not puzzle.form.blanks or len(set(text).difference(puzzle.vocabulary[2:])) <= 1


def _check_row(row: Answered, puzzle: TextPuzzle) -> tuple[Tokens, Tokens]:
    """A puzzle and its answer in tokens; raises `InputError` with what is wrong with them, if anything is."""
    parsed = []
    for name, text in (("question", row.question), ("answer", row.answer)):
        try:
            parsed.append(puzzle.parse_line(text))
        except PuzzleError as error:
            where = "" if error.position is None else f" character {error.position + 1}"
            raise InputError(f"{row.place}: {name}{where}: {error}") from error
    question, answer = parsed
    if faults := puzzle.question_faults(question):
        raise InputError(f"{row.place}: the givens break the rules: {'; '.join(faults)}")
    if faults := puzzle.answer_faults(question, answer):
        raise InputError(f"{row.place}: the answer is wrong: {'; '.join(faults[:4])}")
    return question, answer


def _subsample(train: Examples, options: DatasetOptions) -> Examples:
    count = options.subsample
    if count is None:
        return train
    if count > len(train.questions):
        raise InputError(f"--subsample {count:,}: {options.csv} has {len(train.questions):,} puzzles")
    chosen = np.sort(np.random.default_rng((options.seed, 0)).choice(len(train.questions), count, replace=False))
    return Examples(train.questions[chosen], train.answers[chosen])


def _augmented(task: DatasetTask, train: Examples, options: DatasetOptions) -> Examples:
    """Each puzzle followed by its further forms, as the published code orders them."""
    if not options.augment:
        return train
    forms = 1 + options.augment
    count, cells = train.questions.shape
    both = tuple(np.empty((count, forms, cells), np.uint8) for _ in train)
    with progress("augmenting", count, unit="puzzles") as advance:
        for number in range(count):
            symmetries = task.augmentations(options.augment, np.random.default_rng((options.seed, 1, number)))
            for made, given in zip(both, train):
                made[number, 0] = given[number]
                made[number, 1:] = symmetries.apply(given[number : number + 1].astype(np.int32))
            advance(1)
    return Examples(*(made.reshape(count * forms, cells) for made in both))
