"""Sudoku: text, rules, drawing, symmetries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trm_deploy import puzzles
from trm_deploy.errors import InputError, PuzzleError
from trm_deploy.puzzles.sudoku import Sudoku

SIZES = (Sudoku(2, 2), Sudoku(2, 3), Sudoku(3, 3))
SOLVED = {
    "sudoku-4x4": "1234341221434321",
    "sudoku-6x6": "123456456123231564564231312645645312",
    "sudoku-9x9": "123456789456789123789123456214365897365897214897214365531642978642978531978531642",
}


def solved(puzzle: Sudoku) -> np.ndarray:
    return puzzle.parse_line(SOLVED[puzzle.name])


@pytest.mark.parametrize("puzzle", SIZES, ids=lambda puzzle: puzzle.name)
def test_a_solved_grid_has_no_faults(puzzle: Sudoku) -> None:
    answer = solved(puzzle)
    assert puzzle.answer_faults(answer, answer) == []
    assert puzzle.text(answer) == SOLVED[puzzle.name]
    assert puzzles.get(puzzle.name) == puzzle


@given(st.sampled_from(SIZES), st.data())
def test_text_to_tokens_to_text_is_the_identity(puzzle: Sudoku, data: st.DataObject) -> None:
    digits = data.draw(st.lists(st.integers(0, puzzle.side), min_size=puzzle.cells, max_size=puzzle.cells))
    line = "".join(map(str, digits))
    assert puzzle.text(puzzle.parse_line(line)) == line
    assert puzzle.text(puzzle.parse_line(line.replace("0", "."))) == line


@given(st.sampled_from(SIZES), st.text(max_size=90))
def test_any_text_is_a_puzzle_or_a_puzzle_error(puzzle: Sudoku, line: str) -> None:
    try:
        tokens = puzzle.parse_line(line)
    except PuzzleError:
        return
    assert tokens.shape == (puzzle.cells,)
    assert 1 <= tokens.min() <= tokens.max() < len(puzzle.vocabulary)


def test_malformed_lines_say_what_came_and_where() -> None:
    puzzle = Sudoku()
    with pytest.raises(PuzzleError, match="80 characters, expected 81"):
        puzzle.parse_line("0" * 80)
    with pytest.raises(PuzzleError, match="found 'a', expected a digit 1-9") as raised:
        puzzle.parse_line("0" * 40 + "a" + "0" * 40)
    assert raised.value.position == 40
    with pytest.raises(PuzzleError, match="found '5', expected a digit 1-4"):
        Sudoku(2, 2).parse_line("5" + "0" * 15)
    with pytest.raises(InputError, match="'chess' is unknown, expected one of sudoku-4x4"):
        puzzles.get("chess")


def test_givens_that_break_the_rules_are_named() -> None:
    puzzle = Sudoku()
    row = puzzle.parse_line("5.......5" + "." * 72)
    assert puzzle.question_faults(row) == ["row 1 has 5 twice"]
    column = puzzle.parse_line("7" + "." * 44 + "7" + "." * 26 + "7" + "." * 8)
    assert puzzle.question_faults(column) == ["column 1 has 7 3 times"]
    box = puzzle.parse_line("." * 30 + "1" + "." * 9 + "1" + "." * 40)
    assert puzzle.question_faults(box) == ["box 5 has 1 twice"]


def test_wrong_answers_say_which_rules_they_break() -> None:
    puzzle = Sudoku(2, 2)
    answer = solved(puzzle)
    question = np.where(np.arange(16) < 4, answer, 1).astype(np.int32)
    changed = answer.copy()
    changed[0] = answer[1]
    assert puzzle.answer_faults(question, changed) == [
        "row 1 column 1 was given as 1 and became 2",
        "row 1 has 2 twice",
        "column 1 has 2 twice",
        "box 1 has 2 twice",
    ]
    unfinished = answer.copy()
    unfinished[15] = 1
    assert puzzle.answer_faults(question, unfinished) == ["1 cells have no digit"]


@pytest.mark.parametrize("puzzle", SIZES, ids=lambda puzzle: puzzle.name)
def test_symmetries_keep_the_rules_and_invert(puzzle: Sudoku) -> None:
    rng = np.random.default_rng(0)
    answers = np.tile(solved(puzzle), (200, 1))
    questions = np.where(rng.random(answers.shape) < 0.6, 1, answers).astype(np.int32)
    symmetries = puzzle.symmetries(200, rng)
    mapped_questions, mapped_answers = symmetries.apply(questions), symmetries.apply(answers)
    assert len(np.unique(mapped_answers, axis=0)) > 50
    for question, answer in zip(mapped_questions, mapped_answers):
        assert puzzle.answer_faults(question, answer) == []
    np.testing.assert_array_equal(symmetries.invert(mapped_answers), answers)
    np.testing.assert_array_equal(symmetries.invert(mapped_questions), questions)


def test_one_symmetry_serves_a_whole_batch() -> None:
    puzzle = Sudoku()
    answers = np.stack([solved(puzzle), np.roll(solved(puzzle), 27)])
    symmetry = puzzle.symmetries(1, np.random.default_rng(1))
    np.testing.assert_array_equal(symmetry.invert(symmetry.apply(answers)), answers)
    np.testing.assert_array_equal(symmetry.apply(answers)[1:], symmetry.apply(answers[1:]))


def test_transposition_is_a_symmetry_of_square_boxes_only() -> None:
    def transposes(puzzle: Sudoku) -> bool:
        cells = puzzle.symmetries(300, np.random.default_rng(0)).cells.reshape(300, puzzle.side, puzzle.side)
        # Without transposition a row's cells come from one row.
        return bool((np.ptp(cells // puzzle.side, axis=2) > 0).any())

    assert transposes(Sudoku(3, 3))
    assert not transposes(Sudoku(2, 3))


def test_the_drawing_tells_givens_from_answers() -> None:
    puzzle = Sudoku(2, 3)
    answer = solved(puzzle)
    question = np.where(np.arange(36) % 2 == 0, answer, 1).astype(np.int32)
    plain = puzzle.draw(question, answer, colour=False).splitlines()
    assert plain[1] == "|  1  (2)  3  | (4)  5  (6) |"
    assert {len(line) for line in plain} == {29}
    assert len(plain) == 6 + 4
    assert "\x1b[1m1\x1b[0m" in puzzle.draw(question, answer, colour=True)
