"""Makes Sudoku puzzles with exactly one solution, compiled by numba.

A puzzle is made by filling a grid at random and taking givens away in random order, each only if the solution
stays the only one, until a number of givens drawn beforehand is left. The solver is a depth-first search over bit
masks of candidates that branches on the cell with the fewest. Puzzles that need more than singles can be favoured, and
a share can be hard: minimal, none of their givens could be spared, and rated by `generators.sudoku_rating`.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from numba import njit
from numpy.typing import NDArray

from trm_deploy.support import machine
from trm_deploy.train.data.generators.sudoku_rating import SOLVED, singles, wrong_guesses
from trm_deploy.train.data.settings import GeneratedPuzzles

Grids = NDArray[np.int8]

# Puzzles a process makes before it reports back: about a second of work for 9 x 9.
CHUNK = 2000


@njit(cache=True)
def _solve(
    grid: Grids, box_rows: int, box_columns: int, limit: int, shuffle: bool, cell_fixed: int, digit_not: int
) -> int:
    """Count solutions up to `limit`; the last one found is left in `grid`.

    `shuffle` tries digits in random order. Where `cell_fixed` >= 0 that cell may not take `digit_not`.
    """
    side = box_rows * box_columns
    cells = side * side
    everything = (1 << side) - 1
    rows = np.zeros(side, np.int32)
    columns = np.zeros(side, np.int32)
    boxes = np.zeros(side, np.int32)
    box_of = np.empty(cells, np.int32)
    empty = np.empty(cells, np.int32)
    empties = 0
    for cell in range(cells):
        row, column = cell // side, cell % side
        box_of[cell] = (row // box_rows) * box_rows + column // box_columns
        if grid[cell]:
            bit = 1 << (int(grid[cell]) - 1)
            if rows[row] & bit or columns[column] & bit or boxes[box_of[cell]] & bit:
                return 0
            rows[row] |= bit
            columns[column] |= bit
            boxes[box_of[cell]] |= bit
        else:
            empty[empties] = cell
            empties += 1

    untried = np.zeros(empties + 1, np.int32)  # digits still to try at each depth
    solution = grid.copy()
    found = 0
    depth = 0
    entering = True
    while depth >= 0:
        if depth == empties:
            found += 1
            solution[:] = grid
            if found >= limit:
                break
            depth -= 1
            entering = False
            continue
        if entering:
            # Bring the empty cell with the fewest candidates to this depth.
            best, best_count, best_mask = depth, side + 1, 0
            for index in range(depth, empties):
                cell = empty[index]
                mask = everything & ~(rows[cell // side] | columns[cell % side] | boxes[box_of[cell]])
                if cell == cell_fixed:
                    mask &= ~(1 << (int(digit_not) - 1))
                count = 0
                rest = mask
                while rest:
                    rest &= rest - 1
                    count += 1
                if count < best_count:
                    best, best_count, best_mask = index, count, mask
                    if count <= 1:
                        break
            empty[depth], empty[best] = empty[best], empty[depth]
            untried[depth] = best_mask
        cell = empty[depth]
        row, column, box = cell // side, cell % side, box_of[cell]
        if grid[cell]:
            bit = 1 << (int(grid[cell]) - 1)
            rows[row] &= ~bit
            columns[column] &= ~bit
            boxes[box] &= ~bit
            grid[cell] = 0
        mask = untried[depth]
        if mask == 0:
            depth -= 1
            entering = False
            continue
        if shuffle:
            count = 0
            rest = mask
            while rest:
                rest &= rest - 1
                count += 1
            for _ in range(np.random.randint(count)):
                mask &= mask - 1
        bit = mask & -mask
        untried[depth] &= ~bit
        digit = 1
        while (1 << (digit - 1)) != bit:
            digit += 1
        grid[cell] = digit
        rows[row] |= bit
        columns[column] |= bit
        boxes[box] |= bit
        depth += 1
        entering = True
    grid[:] = solution
    return found


@njit(cache=True)
def _make(
    seed: int,
    puzzles: int,
    box_rows: int,
    box_columns: int,
    min_clues: int,
    max_clues: int,
    hardness: float,
    singles_kept: float,
    hard_share: float,
    hard_guesses: int,
) -> Grids:
    np.random.seed(seed)
    side = box_rows * box_columns
    cells = side * side
    masks = np.zeros(cells, np.int32)
    made = np.zeros((puzzles, 2, cells), np.int8)
    index = 0
    hard = hard_share > 0 and np.random.random() < hard_share
    while index < puzzles:
        answer = np.zeros(cells, np.int8)
        # A random first row spreads the search; the solver's random digit order does the rest.
        answer[:side] = np.random.permutation(side).astype(np.int8) + np.int8(1)
        _solve(answer, box_rows, box_columns, 1, True, -1, 0)
        question = answer.copy()
        aim = min_clues + int((max_clues - min_clues + 1) * np.random.random() ** hardness)
        aim = 0 if hard else min(aim, max_clues)
        clues = cells
        for cell in np.random.permutation(cells):
            if clues <= aim:
                break
            # Still unique if no solution has another digit in this cell.
            trial = question.copy()
            trial[cell] = 0
            if _solve(trial, box_rows, box_columns, 1, False, cell, answer[cell]) == 0:
                question[cell] = 0
                clues -= 1
        if hard:
            if wrong_guesses(question, box_rows, box_columns, hard_guesses) < hard_guesses:
                continue
        elif singles_kept < 1:
            solved = singles(question.copy(), box_rows, box_columns, masks) == SOLVED
            if solved and np.random.random() >= singles_kept:
                continue
        made[index, 0] = question
        made[index, 1] = answer
        index += 1
        hard = hard_share > 0 and np.random.random() < hard_share
    return made


def singles_solve(grid: Grids, *, box_rows: int = 3, box_columns: int = 3) -> bool:
    """Whether naked and hidden singles alone solve a grid int8 [side * side] (0 = blank)."""
    return bool(singles(np.array(grid, np.int8), box_rows, box_columns, np.zeros(len(grid), np.int32)) == SOLVED)


def count_solutions(grid: Grids, *, box_rows: int = 3, box_columns: int = 3, limit: int = 2) -> int:
    """Solutions of a grid int8 [side * side] (0 = blank), counted up to `limit`."""
    return int(_solve(np.array(grid, np.int8), box_rows, box_columns, limit, False, -1, 0))


def _chunk(arguments: tuple[GeneratedPuzzles, int]) -> Grids:
    wanted, number = arguments
    # One stream a chunk, so that the result does not depend on how chunks are spread over processes.
    seed = int(np.random.SeedSequence((wanted.seed, number)).generate_state(1)[0])
    count = min(CHUNK, wanted.puzzles - number * CHUNK)
    return _make(
        seed,
        count,
        wanted.box_rows,
        wanted.box_columns,
        wanted.min_clues,
        wanted.max_clues,
        wanted.hardness,
        wanted.singles_kept,
        wanted.hard_share,
        wanted.hard_guesses,
    )


def generate(wanted: GeneratedPuzzles, *, processes: int | None = None) -> Iterator[Grids]:
    """Make puzzles on several processes.

    Args:
        wanted: what to make.
        processes: worker processes; every core where None.

    Yields:
        int8 [n, 2, side * side] in order: question (0 = blank) and answer, `wanted.puzzles` in all.
    """
    work = [(wanted, number) for number in range(-(-wanted.puzzles // CHUNK))]
    processes = min(processes or machine.cores(), len(work))
    if processes == 1:
        yield from map(_chunk, work)
        return
    # Started afresh rather than forked: a forked child inherits torch's thread pools in whatever state they are.
    context = multiprocessing.get_context("spawn")
    # Ctrl-C reaches them too: it is the parent that ends them.
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_ignore_interrupts) as pool:
        try:
            yield from pool.map(_chunk, work)
        except BaseException:
            # Leaving the block waits for the workers, which may be compiling for half a minute.
            for process in pool._processes.values():
                process.terminate()
            raise


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
