"""How hard a Sudoku is: the wrong guesses that a solver must refute, compiled by numba.

The solver writes down what naked singles (a cell with one candidate) and hidden ones (a digit with one cell in a unit)
give, until they give no more. Then it takes the first cell with the fewest candidates and tries them all, each to a
contradiction or to the solution. A puzzle's rating is how many were wrong: 0 where singles alone solve it.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Grids = NDArray[np.int8]

STUCK, SOLVED, IMPOSSIBLE = 0, 1, -1

# Wrong guesses at which rating stops: the hardest published puzzles need a few hundred.
MOST = 10_000


@njit(cache=True)
def bits(mask: int) -> int:
    """How many are set."""
    count = 0
    while mask:
        mask &= mask - 1
        count += 1
    return count


@njit(cache=True)
def singles(grid: Grids, box_rows: int, box_columns: int, masks: NDArray[np.int32]) -> int:
    """Write naked and hidden singles into `grid` until there are none left.

    Args:
        grid: int8 [cells], 0 = blank; changed.
        box_rows, box_columns: shape of a box.
        masks: int32 [cells], filled with the candidates of the cells that are blank at the end, a bit each.

    Returns:
        SOLVED, STUCK, or IMPOSSIBLE where a cell has no candidate or a digit no cell in a unit.
    """
    side = box_rows * box_columns
    everything = (1 << side) - 1
    used = np.zeros((3, side), np.int32)  # digits placed in each row, column and box
    once = np.zeros((3, side), np.int32)  # digits with a candidate cell there
    again = np.zeros((3, side), np.int32)  # digits with more than one
    units = np.empty((grid.size, 3), np.int32)
    blank = 0
    for cell in range(grid.size):
        row, column = cell // side, cell % side
        units[cell] = (row, column, (row // box_rows) * box_rows + column // box_columns)
        if grid[cell]:
            for kind in range(3):
                used[kind, units[cell, kind]] |= 1 << (int(grid[cell]) - 1)
        else:
            blank += 1
    while blank:
        before = blank
        once[:] = 0
        again[:] = 0
        for cell in range(grid.size):
            if grid[cell] == 0:
                row, column, box = units[cell]
                mask = everything & ~(used[0, row] | used[1, column] | used[2, box])
                if mask == 0:
                    return IMPOSSIBLE
                masks[cell] = mask
                for kind in range(3):
                    unit = units[cell, kind]
                    again[kind, unit] |= once[kind, unit] & mask
                    once[kind, unit] |= mask
        for kind in range(3):
            for unit in range(side):
                if (used[kind, unit] | once[kind, unit]) != everything:
                    return IMPOSSIBLE
        for cell in range(grid.size):
            if grid[cell]:
                continue
            row, column, box = units[cell]
            mask = everything & ~(used[0, row] | used[1, column] | used[2, box])
            if mask & (mask - 1):
                mask &= ~(again[0, row] & again[1, column] & again[2, box])
            if mask == 0 or mask & (mask - 1):
                continue
            digit = 1
            while (1 << (digit - 1)) != mask:
                digit += 1
            grid[cell] = digit
            blank -= 1
            for kind in range(3):
                used[kind, units[cell, kind]] |= mask
        if blank == before:
            return STUCK
    return SOLVED


@njit(cache=True)
def wrong_guesses(question: Grids, box_rows: int, box_columns: int, most: int) -> int:
    """The rating of a puzzle int8 [cells] (0 = blank) with one solution; counted up to `most`."""
    cells = question.size
    grids = np.zeros((cells + 1, cells), np.int8)  # the grid at each depth
    branch = np.zeros(cells + 1, np.int32)  # the cell that is tried there
    untried = np.zeros(cells + 1, np.int32)  # its digits still to try
    masks = np.zeros(cells, np.int32)
    grids[0] = question
    depth = 0
    wrong = 0
    entering = True
    while depth >= 0 and wrong < most:
        if entering:
            state = singles(grids[depth], box_rows, box_columns, masks)
            if state == STUCK:
                fewest = 32
                for cell in range(cells):
                    if grids[depth, cell] == 0 and bits(masks[cell]) < fewest:
                        fewest = bits(masks[cell])
                        branch[depth] = cell
                untried[depth] = masks[branch[depth]]
            else:
                if state == IMPOSSIBLE:
                    wrong += 1
                untried[depth] = 0
        mask = untried[depth]
        if mask == 0:
            depth -= 1
            entering = False
            continue
        bit = mask & -mask
        untried[depth] &= ~bit
        digit = 1
        while (1 << (digit - 1)) != bit:
            digit += 1
        grids[depth + 1] = grids[depth]
        grids[depth + 1, branch[depth]] = digit
        depth += 1
        entering = True
    return wrong


def rating(grid: Grids, *, box_rows: int = 3, box_columns: int = 3) -> int:
    """Wrong guesses of a grid int8 [side * side] (0 = blank) with one solution, counted up to `MOST`."""
    return int(wrong_guesses(np.array(grid, np.int8), box_rows, box_columns, MOST))
