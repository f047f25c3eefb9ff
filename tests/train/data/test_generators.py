"""The generator: one solution, the clues asked for, the same puzzles from the same seed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from trm_deploy.errors import RecipeError
from trm_deploy.puzzles.sudoku import Sudoku
from trm_deploy.train.data.generators import sudoku as generate
from trm_deploy.train.data.generators.sudoku import count_solutions, singles_solve
from trm_deploy.train.data.generators.sudoku_rating import rating
from trm_deploy.train.data.settings import GeneratedPuzzles

SETTINGS = GeneratedPuzzles(puzzles=60, seed=5)
EASY = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
GUESS = "8..........36......7..9.2...5...7.......457.....1...3...1....68..85...1..9....4.."


def make(settings: GeneratedPuzzles, processes: int = 1) -> np.ndarray:
    return np.concatenate(list(generate.generate(settings, processes=processes)))


@pytest.mark.parametrize(
    ("rows", "columns", "least", "most"), [(2, 2, 4, 10), (2, 3, 9, 20), (3, 3, 22, 41)], ids=["4x4", "6x6", "9x9"]
)
def test_puzzles_have_one_solution_and_it_obeys_the_rules(rows: int, columns: int, least: int, most: int) -> None:
    puzzle = Sudoku(rows, columns)
    grids = make(GeneratedPuzzles(box_rows=rows, box_columns=columns, puzzles=60, min_clues=least, max_clues=most))
    assert grids.shape == (60, 2, puzzle.cells)
    clues = (grids[:, 0] > 0).sum(1)
    assert least <= clues.min() < clues.max() <= most
    for question, answer in puzzle.from_digits(grids):
        assert puzzle.answer_faults(question, answer) == []
        assert count_solutions(question - 1, box_rows=rows, box_columns=columns) == 1


def test_solutions_are_counted() -> None:
    assert count_solutions(np.zeros(16, np.int8), box_rows=2, box_columns=2, limit=1000) == 288
    impossible = np.zeros(81, np.int8)
    impossible[[0, 1]] = 5
    assert count_solutions(impossible) == 0


def test_the_same_settings_give_the_same_puzzles_on_any_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    several_chunks = replace(SETTINGS, puzzles=generate.CHUNK + 10, box_rows=2, box_columns=2, min_clues=4, max_clues=8)
    np.testing.assert_array_equal(make(several_chunks), make(several_chunks, processes=2))
    assert not np.array_equal(make(SETTINGS), make(replace(SETTINGS, seed=6)))


def test_hardness_moves_the_clues_towards_the_fewest() -> None:
    even, hard = make(SETTINGS), make(replace(SETTINGS, hardness=4.0))
    assert (hard[:, 0] > 0).sum() < (even[:, 0] > 0).sum()


def test_singles() -> None:
    # The example of Wikipedia's article on Sudoku falls to singles alone; a puzzle that needs a guess does not.
    assert singles_solve(digits(EASY))
    assert not singles_solve(digits(GUESS))
    assert count_solutions(digits(GUESS)) == 1


def digits(text: str) -> np.ndarray:
    return np.array([0 if c == "." else int(c) for c in text], np.int8)


def test_puzzles_that_singles_solve_can_be_made_rarer() -> None:
    settings = replace(SETTINGS, puzzles=200, hardness=3.0)
    all_kept = np.mean([singles_solve(question) for question in make(settings)[:, 0]])
    some_kept = np.mean([singles_solve(question) for question in make(replace(settings, singles_kept=0.1))[:, 0]])
    assert 0.45 < all_kept < 0.75
    assert 0.02 < some_kept < 0.3


def test_hard_puzzles_are_minimal_and_need_guesses() -> None:
    settings = replace(SETTINGS, puzzles=20, hard_share=1.0, hard_guesses=2)
    for question, answer in make(settings):
        assert count_solutions(question) == 1
        assert rating(question) >= 2
        assert (answer[question > 0] == question[question > 0]).all()
        for clue in np.flatnonzero(question):
            spared = question.copy()
            spared[clue] = 0
            assert count_solutions(spared) == 2
    mixed = make(replace(settings, puzzles=200, hard_share=0.5, singles_kept=0.5))
    assert 0.5 < np.mean([rating(question) >= 2 for question in mixed[:, 0]]) < 0.85


def test_the_rating_counts_guesses_that_were_wrong() -> None:
    assert rating(digits(EASY)) == 0
    assert rating(digits(GUESS)) > 20  # it was made to be among the hardest


def test_hard_puzzles_change_no_others() -> None:
    """The puzzles of a recipe that asks for none are those of before, in the cache of before."""
    assert SETTINGS.digest == replace(SETTINGS, hard_guesses=3).digest == "329e8e708961b1a8"
    assert SETTINGS.digest != replace(SETTINGS, hard_share=0.1).digest


def test_the_cache_is_named_by_every_setting() -> None:
    changes: list[dict[str, Any]] = [
        {"seed": 9}, {"puzzles": 61}, {"min_clues": 23}, {"max_clues": 40}, {"hardness": 2.0}, {"singles_kept": 0.5},
    ]  # fmt: skip
    digests = {replace(SETTINGS, **change).digest for change in changes}
    assert len(digests | {SETTINGS.digest}) == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"puzzles": 0}, "data.puzzles is 0"),
        ({"box_rows": 5}, "is 15, expected 2 to 9"),
        ({"min_clues": 42}, "42 to 41, expected 1 <= min <= max <= 81"),
        ({"hardness": 0.0}, "data.hardness is 0.0, expected above 0"),
        ({"hard_share": 1.5}, "data.hard_share is 1.5, expected 0 to 1"),
        ({"hard_guesses": 21}, "data.hard_guesses is 21, expected 1 to 20 for 9 x 9"),
        ({"hard_share": 0.5, "box_rows": 1, "max_clues": 9, "min_clues": 3}, "grids of 3 x 3 have no hard puzzles"),
    ],
)
def test_senseless_settings_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as raised:
        replace(SETTINGS, **change)
    assert message in str(raised.value)
