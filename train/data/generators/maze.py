"""Makes mazes, compiled by numba.

The shortest path of a maze is long and the only one of its length, so that there is one right answer. A maze begins as
one open cell and grows: a cell beside the open ones is opened if that joins no two of them, so that one path leads from
any cell to any other, on a grid of any size. Then some walls are taken away, which makes detours.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numba import njit
from numpy.typing import NDArray

from trm_deploy.errors import InputError
from trm_deploy.puzzles.maze import GOAL, OPEN, PATH, START, WALL, Maze

Grids = NDArray[np.uint8]

# Mazes between two reports of progress.
CHUNK = 200
# Mazes grown in a row without a path of that length before giving up; each takes a fraction of a millisecond.
PATIENCE = 2000
# Most steps of the shortest paths that `default_min_path` asks for.
HARD = 112
# Around a maze while it is made: neither wall nor open.
EDGE = 0
# Share of the steps of growth that go on from the newest cell; the others go on from any, which makes forks.
WINDING = 0.95
# Share of the walls between open cells that are taken away.
REMOVED = 0.02


def default_min_path(maze: Maze) -> int:
    """A step for eight cells, up to the 112 of 30 x 30: the published Maze-Hard has paths of more than 110."""
    return min(max(1, maze.cells // 8), HARD)


@njit(cache=True)
def _open_around(grid: Grids, width: int, cell: int) -> int:
    count = 0
    for step in (-width, -1, 1, width):
        if grid[cell + step] == OPEN:
            count += 1
    return count


@njit(cache=True)
def _grow(rows: int, columns: int) -> Grids:
    """A maze of walls and open cells with an edge around it, uint8 [(rows + 2) * (columns + 2)]."""
    width = columns + 2
    grid = np.full((rows + 2) * width, EDGE, np.uint8)
    for row in range(1, rows + 1):
        grid[row * width + 1 : row * width + 1 + columns] = WALL
    first = (1 + np.random.randint(rows)) * width + 1 + np.random.randint(columns)
    grid[first] = OPEN
    active = np.empty(rows * columns, np.int32)  # open cells that may have room beside them, the newest last
    active[0] = first
    count = 1
    while count:
        chosen = count - 1 if np.random.random() < WINDING else np.random.randint(count)
        found = -1
        candidates = 0
        for step in (-width, -1, 1, width):
            beside = active[chosen] + step
            if grid[beside] == WALL and _open_around(grid, width, beside) == 1:
                candidates += 1
                if np.random.randint(candidates) == 0:
                    found = beside
        if found < 0:
            count -= 1
            active[chosen] = active[count]
        else:
            grid[found] = OPEN
            active[count] = found
            count += 1
    for cell in range(len(grid)):
        if grid[cell] == WALL and _open_around(grid, width, cell) > 1 and np.random.random() < REMOVED:
            grid[cell] = OPEN
    return grid


@njit(cache=True)
def _make(seed: int, mazes: int, rows: int, columns: int, min_path: int, patience: int) -> tuple[Grids, int]:
    """Questions and answers uint8 [mazes, 2, rows, columns], and how many were found before patience ran out."""
    np.random.seed(seed)
    width = columns + 2
    made = np.zeros((mazes, 2, rows, columns), np.uint8)
    found = 0
    vain = 0
    while found < mazes and vain < patience:
        vain += 1
        grid = _grow(rows, columns)
        start = width
        while grid[start] != OPEN:
            start = np.random.randint(len(grid))
        # Breadth-first: steps from the start, the number of shortest ways (2: or more), the cell before on one of them.
        distance = np.full(len(grid), -1, np.int32)
        ways = np.zeros(len(grid), np.int32)
        before = np.zeros(len(grid), np.int32)
        queue = np.empty(rows * columns, np.int32)
        distance[start], ways[start], queue[0] = 0, 1, start
        done, reached = 0, 1
        goal = -1
        goals = 0
        while done < reached:
            cell = queue[done]
            done += 1
            # A cell's ways are all counted when its turn comes.
            if distance[cell] >= min_path and ways[cell] == 1:
                goals += 1
                if np.random.randint(goals) == 0:
                    goal = cell
            for step in (-width, -1, 1, width):
                beside = cell + step
                if grid[beside] != OPEN:
                    continue
                if distance[beside] < 0:
                    distance[beside] = distance[cell] + 1
                    before[beside] = cell
                    queue[reached] = beside
                    reached += 1
                if distance[beside] == distance[cell] + 1:
                    ways[beside] = min(ways[beside] + ways[cell], 2)
        if goal < 0:
            continue
        grid[start], grid[goal] = START, GOAL
        made[found, 0] = grid.reshape(rows + 2, width)[1:-1, 1:-1]
        cell = before[goal]
        while cell != start:
            grid[cell] = PATH
            cell = before[cell]
        made[found, 1] = grid.reshape(rows + 2, width)[1:-1, 1:-1]
        found += 1
        vain = 0
    return made, found


def generate(maze: Maze, count: int, *, min_path: int, seed: int) -> Iterator[Grids]:
    """Make mazes; the same arguments give the same mazes.

    Args:
        maze: the size.
        count: how many.
        min_path: fewest steps of the shortest path from start to goal.
        seed: of all that is random.

    Yields:
        uint8 [n, 2, L] in order: question and answer in tokens, `count` in all.

    Raises:
        InputError: hardly any maze of that size has a path of that length.
    """
    for number, first in enumerate(range(0, count, CHUNK)):
        fresh = int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
        wanted = min(CHUNK, count - first)
        made, found = _make(fresh, wanted, maze.rows, maze.columns, min_path, PATIENCE)
        if found < wanted:
            raise InputError(
                f"--min-path {min_path}: of {PATIENCE:,} mazes of {maze.rows} x {maze.columns} cells, none has"
                f" a shortest path of {min_path} steps or more",
                hint=f"the default is {default_min_path(maze)}",
            )
        yield made.reshape(wanted, 2, maze.cells)
