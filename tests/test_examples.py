"""examples/: the puzzles that README's commands are typed with."""

from __future__ import annotations

import numpy as np

from tests.conftest import ROOT
from trm_deploy import puzzles
from trm_deploy.puzzles.reading import read_answered
from trm_deploy.puzzles.sudoku import Sudoku
from trm_deploy.runtimes.solving.choosing import choose
from trm_deploy.train.data.generators.sudoku import count_solutions


def test_the_table_holds_puzzles_with_their_only_solution() -> None:
    sudoku = Sudoku(3, 3)
    rows = list(read_answered(str(ROOT / "examples" / "puzzles.csv"), sudoku))
    assert len({row.question for row in rows}) == len(rows) == 12
    for row in rows:
        question, answer = sudoku.parse_line(row.question), sudoku.parse_line(row.answer)
        assert sudoku.answer_faults(question, answer) == []
        assert count_solutions(np.array([int(digit) if digit != "." else 0 for digit in row.question], np.int8)) == 1


def test_the_examples_need_no_engine_to_be_named() -> None:
    for name, model in {
        "puzzle.txt": "sudoku",
        "puzzles.csv": "sudoku",
        "maze.txt": "maze",
        "puzzles-6x6.txt": "sudoku-6x6",
    }.items():
        assert choose([str(ROOT / "examples" / name)]).name == model


def test_every_example_is_read() -> None:
    counts = {"puzzle.txt": 1, "puzzles.csv": 12}
    for name, count in counts.items():
        found = list(puzzles.questions(str(ROOT / "examples" / name), Sudoku(3, 3)))
        assert [question.error for question in found] == [""] * count
