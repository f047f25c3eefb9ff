"""Builds datasets of ARC from the ARC Prize's files, with the published augmentation.

A task and each of its augmentations is a puzzle with an identifier of its own; a task with them all is a group. The
demonstrations of every task are trained on, and so are the test inputs of those tasks that are not for testing. The
test split holds the test inputs of the others, under each augmentation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trm_deploy.errors import InputError
from trm_deploy.puzzles import arc
from trm_deploy.puzzles.arc import IDENTITY, SIDE, Arc, Augmentation, Grid
from trm_deploy.puzzles.arc_tasks import Pair, Task, read_solutions, read_tasks, with_solutions
from trm_deploy.support.files import write_atomic
from trm_deploy.support.progress import progress
from trm_deploy.train.data import defaults
from trm_deploy.train.data import layout as dataset
from trm_deploy.train.data.layout import Metadata

# Draws for each wanted augmentation before fewer are accepted.
RETRIES = 5
# In place of the answer of a test input without a solution, as in the published datasets.
UNKNOWN = np.zeros((1, 1), np.uint8)


@dataclass(frozen=True, kw_only=True)
class ArcDatasetOptions:
    """What dataset to build of which files.

    Attributes:
        challenges: files whose tasks are trained on with their test inputs.
        test_challenges: files whose tasks are trained on without, and tested.
        solutions: files with the outputs of test inputs, of either.
        augment: most augmentations of a task; one with many symmetries has fewer distinct ones.
        seed: of augmentations and places on the canvas.
        canvas: side of the canvas; tasks with a larger grid are left out.
        output: the folder; None: data/ and the task's name.
        force: replace a dataset that is there already.
    """

    challenges: tuple[str, ...]
    test_challenges: tuple[str, ...]
    solutions: tuple[str, ...]
    augment: int = defaults.AUGMENTATIONS
    seed: int = 0
    canvas: int = SIDE
    output: Path | None = None
    force: bool = False


@dataclass(frozen=True)
class _Group:
    """A task as it is trained and tested, under each of its augmentations."""

    task: Task
    train: tuple[Pair, ...]
    test: tuple[Pair, ...]  # empty where the task is not for testing
    augmentations: list[Augmentation]  # the identity first

    def of(self, split: str) -> tuple[Pair, ...]:
        return self.train if split == "train" else self.test


def build_arc(options: ArcDatasetOptions) -> str:
    """Build a dataset's folder, `test_puzzles.json` with the tasks that are tested included.

    Returns:
        What was written, for the user.

    Raises:
        InputError: the folder holds a dataset already; a file cannot be read; there is nothing to train on or to test.
    """
    puzzle = Arc(options.canvas)
    output = options.output or Path("data") / puzzle.name
    dataset.check_output(output, force=options.force)
    solutions = read_solutions(options.solutions)
    trained, tested = read_tasks(options.challenges), read_tasks(options.test_challenges)
    both = {task.name for task in trained} & {task.name for task in tested}
    if both:
        raise InputError(
            f"the task {min(both)} is in --challenges and in --test-challenges, so its answers would be trained on",
            hint="leave one of the files out",
        )
    trained, tested = ([with_solutions(task, solutions) for task in tasks] for tasks in (trained, tested))
    found = len(trained) + len(tested)
    trained, tested = ([task for task in tasks if task.side() <= puzzle.side] for tasks in (trained, tested))
    tasks = [*trained, *tested]
    if not tested:
        raise InputError(
            f"--canvas {puzzle.side}: no task of --test-challenges has grids of {puzzle.side} x {puzzle.side} or less",
            hint="name a larger canvas",
        )

    groups = []
    with progress("augmenting", len(tasks), unit="tasks") as advance:
        for number, task in enumerate(tasks):
            rng = np.random.default_rng((options.seed, 0, number))
            groups.append(_group(task, options.augment, rng, tested=number >= len(trained)))
            advance(1)
    identifiers = [
        arc.identifier_name(group.task.name, augmentation) for group in groups for augmentation in group.augmentations
    ]
    dataset.remove_metadata(output)
    dataset.write_identifiers(output, [dataset.BLANK_IDENTIFIER, *identifiers])
    puzzles = {group.task.name: _plain(group) for group in groups if group.test}
    write_atomic(output / "test_puzzles.json", json.dumps(puzzles))
    for split in dataset.SPLITS:
        _write_split(output, split, groups, len(identifiers) + 1, puzzle, options.seed)
    return _summary(output, groups, options.augment, left_out=found - len(tasks), puzzle=puzzle)


def _group(task: Task, augment: int, rng: np.random.Generator, *, tested: bool) -> _Group:
    if tested:
        train = task.train
        test = tuple(Pair(pair.input, UNKNOWN if pair.output is None else pair.output) for pair in task.test)
    else:
        train = (*task.train, *(pair for pair in task.test if pair.output is not None))
        test = ()
    if not train:
        raise InputError(f"{task.place}: has no example with an output, so there is nothing to train on")
    return _Group(task, train, test, _augmentations((*train, *test), augment, rng))


def _augmentations(pairs: Sequence[Pair], count: int, rng: np.random.Generator) -> list[Augmentation]:
    """The identity and up to `count` others under which the examples, in whatever order, differ from one another."""
    found = [IDENTITY]
    seen = {_digest(pairs, IDENTITY)}
    for _ in range(RETRIES * count):
        if len(found) > count:
            break
        augmentation = Augmentation.random(rng)
        digest = _digest(pairs, augmentation)
        if digest not in seen:
            seen.add(digest)
            found.append(augmentation)
    return found


def _digest(pairs: Sequence[Pair], augmentation: Augmentation) -> bytes:
    def key(grid: Grid | None) -> bytes:
        mapped = augmentation.apply(_known(grid))
        return bytes(mapped.shape) + mapped.tobytes()

    return hashlib.blake2b(b"".join(sorted(key(p.input) + key(p.output) for p in pairs)), digest_size=16).digest()


def _known(grid: Grid | None) -> Grid:
    assert grid is not None, "only answered examples are in a group"
    return grid


def _write_split(output: Path, split: str, groups: Sequence[_Group], identifiers: int, puzzle: Arc, seed: int) -> None:
    """Write one split, a group at a time: at full size it does not fit in memory."""
    numbers, counts, sizes = [], [], []  # identifiers and examples by puzzle; puzzles by group
    first = 1
    for group in groups:
        if group.of(split):
            numbers.append(np.arange(first, first + len(group.augmentations), dtype=np.int32))
            counts.append(np.full(len(group.augmentations), len(group.of(split))))
            sizes.append(len(group.augmentations))
        first += len(group.augmentations)
    examples = np.concatenate(counts)
    dataset.write_streamed(
        output,
        split,
        Metadata(
            seq_len=puzzle.cells,
            vocab_size=len(puzzle.vocabulary),
            num_puzzle_identifiers=identifiers,
            total_groups=len(sizes),
            total_puzzles=len(examples),
            mean_puzzle_examples=float(examples.mean()),
        ),
        _examples(split, groups, puzzle.side, seed),
        puzzle_identifiers=np.concatenate(numbers),
        puzzle_indices=np.concatenate([[0], np.cumsum(examples)]).astype(np.int32),
        group_indices=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32),
    )


def _examples(
    split: str, groups: Sequence[_Group], side: int, seed: int
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Inputs and labels uint8 [n, L] of each group, in the order of its puzzles."""
    with progress(f"writing {split}", len(groups), unit="tasks") as advance:
        for number, group in enumerate(groups):
            rng = np.random.default_rng((seed, 1, number))
            rows = []
            for augmentation in group.augmentations:
                pairs = group.of(split)
                # In training all but one example of a puzzle are placed anywhere on the canvas.
                untranslated = int(rng.integers(len(pairs))) if pairs else 0
                for place, pair in enumerate(pairs):
                    grids = augmentation.apply(pair.input), augmentation.apply(_known(pair.output))
                    row, column = 0, 0
                    if split == "train" and place != untranslated:
                        row, column = (
                            int(rng.integers(side - max(g.shape[axis] for g in grids) + 1)) for axis in (0, 1)
                        )
                    rows.append([arc.canvas(grid, row=row, column=column, side=side).reshape(-1) for grid in grids])
            if rows:
                stacked = np.array(rows, np.uint8)  # [n, 2, L]
                yield stacked[:, 0], stacked[:, 1]
            advance(1)


def _plain(group: _Group) -> dict[str, Any]:
    """The task as JSON has it, with its answers."""
    return {
        key: [{"input": pair.input.tolist(), "output": _known(pair.output).tolist()} for pair in pairs]
        for key, pairs in (("train", group.train), ("test", group.test))
    }


def _summary(output: Path, groups: Sequence[_Group], augment: int, *, left_out: int, puzzle: Arc) -> str:
    lines = [
        f"wrote {output}: {puzzle.name}, {len(groups):,} tasks,"
        f" {sum(bool(group.test) for group in groups):,} of them tested,"
        f" {sum(len(group.augmentations) for group in groups):,} puzzles"
    ]
    if left_out:
        lines.append(f"{left_out:,} tasks with grids of more than {puzzle.side} x {puzzle.side} cells are left out")
    fewer = sum(len(group.augmentations) <= augment for group in groups)
    if fewer:
        lines.append(f"{fewer:,} tasks have fewer than {augment:,} distinct augmentations")
    unknown = {group.task.name: sum(p.output is None for p in group.task.test) for group in groups}
    skipped = sum(unknown[group.task.name] for group in groups if not group.test)
    unanswered = sum(unknown[group.task.name] for group in groups if group.test)
    if skipped:
        lines.append(f"{skipped:,} test inputs without a solution are left out of training; name it with --solutions")
    if unanswered:
        lines.append(f"{unanswered:,} tested inputs without a solution have the answer 0; name it with --solutions")
    return "\n".join(lines)
