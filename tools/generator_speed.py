"""Puzzles a second of one process: the generator as compiled by numba, and the same job done by a SAT solver.

python tools/generator_speed.py                          # the SAT row needs: pip install python-sat
NUMBA_DISABLE_JIT=1 python tools/generator_speed.py      # the generator as plain Python
"""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Callable

from trm_deploy.train import recipe
from trm_deploy.train.data.generators.sudoku import _make

SECONDS = 20.0


def rate(make: Callable[[int], None]) -> float:
    """Puzzles a second over about 20 s; `make` is given a seed and makes one puzzle."""
    make(0)  # compilation is not counted
    started, made = time.perf_counter(), 0
    while time.perf_counter() - started < SECONDS:
        made += 1
        make(made)
    return made / (time.perf_counter() - started)


def by_sat() -> Callable[[int], None]:
    """One puzzle by MiniSat: a random grid, then givens taken away while no second solution appears."""
    from pysat.solvers import Minisat22

    def variable(cell: tuple[int, int], digit: int) -> int:
        return cell[0] * 81 + cell[1] * 9 + digit

    cells = list(itertools.product(range(9), repeat=2))
    box = [(3 * (number // 3), 3 * (number % 3)) for number in range(9)]
    units = [[(row, column) for column in range(9)] for row in range(9)]
    units += [[(row, column) for row in range(9)] for column in range(9)]
    units += [[(top + index // 3, left + index % 3) for index in range(9)] for top, left in box]
    solver = Minisat22()
    for cell in cells:
        solver.add_clause([variable(cell, digit) for digit in range(1, 10)])
    for unit in units:
        for digit in range(1, 10):
            for first, second in itertools.combinations(unit, 2):
                solver.add_clause([-variable(first, digit), -variable(second, digit)])
    for cell in cells:
        for one, other in itertools.combinations(range(1, 10), 2):
            solver.add_clause([-variable(cell, one), -variable(cell, other)])
    settings = recipe.load("sudoku").data

    def make(seed: int) -> None:
        rng = random.Random(seed)
        solver.set_phases([number if rng.random() < 0.2 else -number for number in range(1, 730)])
        solver.solve([variable((0, column), digit) for column, digit in enumerate(rng.sample(range(1, 10), 9))])
        givens = {number for number in solver.get_model() if number > 0}
        spread = settings.max_clues - settings.min_clues + 1
        aim = settings.min_clues + int(spread * rng.random() ** settings.hardness)
        for number in rng.sample(sorted(givens), 81):
            if len(givens) <= aim:
                break
            if not solver.solve([*(givens - {number}), -number]):
                givens.remove(number)

    return make


def main() -> None:
    """Print a row a method."""
    data = recipe.load("sudoku").data

    def ours(seed: int) -> None:
        clues = data.min_clues, data.max_clues
        _make(
            seed, 1, data.box_rows, data.box_columns, *clues, data.hardness, 1.0, 0.0, 1
        )  # singles kept, as the other row does

    kind = "plain Python" if os.environ.get("NUMBA_DISABLE_JIT") else "numba"
    print(f"the generator, {kind}: {rate(ours):,.0f} puzzles a second")
    try:
        sat = by_sat()
    except ImportError:
        print("a SAT solver: not measured; type: pip install python-sat")
    else:
        print(f"a SAT solver (MiniSat 2.2 of python-sat): {rate(sat):,.0f} puzzles a second")


if __name__ == "__main__":
    main()
