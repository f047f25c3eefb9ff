"""Makes mazes whose shortest path is long and the only one of its length, compiled by numba.

A maze begins as one open cell and grows: a cell beside the open ones is opened if that joins no two of them, so that
one path leads from any cell to any other, on a grid of any size. Then some walls are taken away, which makes detours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from trm_deploy.errors import InputError
from trm_deploy.puzzles.maze import GOAL, OPEN, PATH, START, WALL, Maze

Grids = NDArray[np.uint8]

# Mazes between two reports of progress.
CHUNK = 200
# Grown in vain before a demand for long paths is given up: growing one takes a fraction of a millisecond.
PATIENCE = 2000

_WALL, _OPEN, _START, _GOAL, _PATH = WALL, OPEN, START, GOAL, PATH


@dataclass(frozen=True, kw_only=True)
class MazeSettings:
    """What to generate.

    Attributes:
        maze: the size.
        mazes: how many.
        min_path: steps of the shortest path from start to goal at the least.
        winding: share of the steps of growth that go on from the newest cell, 0 to 1; the others go on from any.
            More of them make longer corridors with fewer forks.
        removed: share of the walls between two open cells that are taken away.
        seed: of the random generator; the same settings give the same mazes.
    """

    maze: Maze
    mazes: int
    min_path: int
    winding: float = 0.9
    removed: float = 0.05
    seed: int = 0


def default_min_path(maze: Maze) -> int:
    """A step for eight cells: 112 for 30 x 30, as the published Maze-Hard has paths of more than 110."""
    return max(1, maze.cells // 8)


@njit(cache=True)
def _grow(rows: int, columns: int, winding: float, removed: float) -> Grids:
    """A maze uint8 [rows * columns] of walls and open cells."""
    cells = rows * columns
    grid = np.full(cells, _WALL, np.uint8)
    steps = np.array([-1, 1, 0, 0, 0, 0, -1, 1]).reshape(2, 4)  # of row and column
    active = np.empty(cells, np.int32)  # open cells that may have room beside them
    active[0] = np.random.randint(cells)
    grid[active[0]] = _OPEN
    count = 1
    while count:
        chosen = count - 1 if np.random.random() < winding else np.random.randint(count)
        cell = active[chosen]
        found = -1
        candidates = 0
        for side in range(4):
            row, column = cell // columns + steps[0, side], cell % columns + steps[1, side]
            if 0 <= row < rows and 0 <= column < columns and _open_around(grid, rows, columns, row, column) == 1:
                beside = row * columns + column
                if grid[beside] == _WALL:
                    candidates += 1
                    if np.random.randint(candidates) == 0:
                        found = beside
        if found < 0:
            count -= 1
            active[chosen] = active[count]
        else:
            grid[found] = _OPEN
            active[count] = found
            count += 1
    for cell in range(cells):
        if (
            grid[cell] == _WALL
            and _open_around(grid, rows, columns, cell // columns, cell % columns) >= 2
            and np.random.random() < removed
        ):
            grid[cell] = _OPEN
    return grid


@njit(cache=True)
def _open_around(grid: Grids, rows: int, columns: int, row: int, column: int) -> int:
    count = 0
    if row > 0 and grid[(row - 1) * columns + column] != _WALL:
        count += 1
    if row + 1 < rows and grid[(row + 1) * columns + column] != _WALL:
        count += 1
    if column > 0 and grid[row * columns + column - 1] != _WALL:
        count += 1
    if column + 1 < columns and grid[row * columns + column + 1] != _WALL:
        count += 1
    return count


@njit(cache=True)
def _search(
    grid: Grids, rows: int, columns: int, start: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Breadth-first from `start`, each int32 [cells].

    Returns:
        Steps to each cell (-1: none lead there), how many shortest ways there are (1, or 2 for more), and the cell
        before it on one of them.
    """
    cells = rows * columns
    distance = np.full(cells, -1, np.int32)
    ways = np.zeros(cells, np.int32)
    before = np.full(cells, -1, np.int32)
    queue = np.empty(cells, np.int32)
    distance[start], ways[start], queue[0] = 0, 1, start
    first, last = 0, 1
    while first < last:
        cell = queue[first]
        first += 1
        row, column = cell // columns, cell % columns
        for side in range(4):
            beside = cell
            if side == 0 and row > 0:
                beside = cell - columns
            elif side == 1 and row + 1 < rows:
                beside = cell + columns
            elif side == 2 and column > 0:
                beside = cell - 1
            elif side == 3 and column + 1 < columns:
                beside = cell + 1
            if beside == cell or grid[beside] == _WALL:
                continue
            if distance[beside] < 0:
                distance[beside] = distance[cell] + 1
                before[beside] = cell
                queue[last] = beside
                last += 1
            if distance[beside] == distance[cell] + 1:
                ways[beside] = min(ways[beside] + ways[cell], 2)
    return distance, ways, before


@njit(cache=True)
def _make(
    seed: int, mazes: int, rows: int, columns: int, min_path: int, winding: float, removed: float, patience: int
) -> tuple[Grids, int]:
    """Mazes uint8 [mazes, 2, cells], questions and answers, and how many were found before patience ran out."""
    np.random.seed(seed)
    cells = rows * columns
    made = np.zeros((mazes, 2, cells), np.uint8)
    found = 0
    vain = 0
    while found < mazes and vain < patience:
        vain += 1
        grid = _grow(rows, columns, winding, removed)
        open_cells = np.flatnonzero(grid == _OPEN)
        start = open_cells[np.random.randint(len(open_cells))]
        distance, ways, before = _search(grid, rows, columns, start)
        goals = np.flatnonzero((distance >= min_path) & (ways == 1))
        if len(goals) == 0:
            continue
        goal = goals[np.random.randint(len(goals))]
        grid[start], grid[goal] = _START, _GOAL
        made[found] = grid
        cell = before[goal]
        while cell != start:
            made[found, 1, cell] = _PATH
            cell = before[cell]
        found += 1
        vain = 0
    return made, found


def generate(settings: MazeSettings) -> Iterator[Grids]:
    """Make mazes.

    Yields:
        uint8 [n, 2, L] in order: question and answer in tokens, `settings.mazes` in all.

    Raises:
        InputError: hardly any maze of that size has a path of that length.
    """
    maze = settings.maze
    for number in range(-(-settings.mazes // CHUNK)):
        # One stream a chunk: the mazes do not depend on how many follow.
        seed = int(np.random.SeedSequence((settings.seed, number)).generate_state(1)[0])
        count = min(CHUNK, settings.mazes - number * CHUNK)
        made, found = _make(
            seed, count, maze.rows, maze.columns, settings.min_path, settings.winding, settings.removed, PATIENCE
        )
        if found < count:
            raise InputError(
                f"--min-path {settings.min_path}: of {PATIENCE:,} mazes of {maze.rows} x {maze.columns} cells, none has"
                " a shortest path of so many steps",
                hint=f"the default is {default_min_path(maze)}",
            )
        yield made
