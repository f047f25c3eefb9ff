"""Datasets of mazes: generated, or from the published Maze-Hard."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from trm_deploy import puzzles
from trm_deploy.errors import InputError, require
from trm_deploy.puzzles.base import Symmetries
from trm_deploy.puzzles.maze import Maze
from trm_deploy.train.data.builders.common import Bytes, DatasetOptions, DatasetTask, Examples, build


def build_maze(size: str, options: DatasetOptions, *, min_path: int | None) -> str:
    """Build a dataset of mazes, see `build`.

    Args:
        size: rows x columns, as in the task's name: 30x30.
        options: as for any task.
        min_path: fewest steps of the shortest path of a generated maze; None: the generator's default.

    Raises:
        InputError: also, more forms than a maze has symmetries.
    """
    maze = puzzles.get(f"maze-{size}")
    assert isinstance(maze, Maze)
    if options.csv is not None and min_path is not None:
        raise InputError("--min-path is for generated mazes", hint="leave it out with --csv")
    every = maze.every_symmetry
    further = len(every.cells) - 1
    if options.augment > further:
        raise InputError(
            f"--augment {options.augment}: a maze of {maze.rows} x {maze.columns} cells has {further} further forms"
        )

    def make(count: int, seed: int) -> Iterator[Bytes]:
        require("numba", extra="train", purpose="to make mazes")
        from trm_deploy.train.data.generators.maze import default_min_path, generate

        steps = default_min_path(maze) if min_path is None else min_path
        return generate(maze, count, min_path=steps, seed=seed)

    def augmentations(count: int, rng: np.random.Generator) -> Symmetries:
        return every.take(1 + rng.permutation(further)[:count])

    def surely_right(examples: Examples) -> NDArray[np.bool_]:
        # Published sets have a few thousand mazes: time enough to look at each.
        return np.zeros(len(examples.questions), np.bool_)

    return build(DatasetTask(puzzle=maze, make=make, augmentations=augmentations, surely_right=surely_right), options)
