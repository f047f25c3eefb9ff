"""Attempts under symmetries: an answer is verified by the rules, or shown as the best attempt."""

from __future__ import annotations

import numpy as np
import pytest

from tests.conftest import tiny_spec
from tests.fakes import Call, FakeRuntime, solution
from trm_deploy.puzzles.arc import Arc
from trm_deploy.puzzles.base import Tokens
from trm_deploy.puzzles.maze import Maze
from trm_deploy.puzzles.sudoku import Sudoku
from trm_deploy.runtimes.base import Solution
from trm_deploy.runtimes.solving.attempts import Attempts, BestAttempt, Forms, Schedule, solve_verified
from trm_deploy.runtimes.solving.scheduling import Finished, Limits

PUZZLE = Sudoku(2, 2)
ANSWER = PUZZLE.parse_line("1234341221434321")
QUESTION = np.where(np.arange(16) % 5 == 0, ANSWER, 1).astype(np.int32)
SCHEDULE = Schedule(attempts=8, attempt_steps=(4,), halt_threshold=0.0)


def fickle(failures: int) -> FakeRuntime:
    """A real solver of 4 x 4 grids whose first calls fail.

    It solves whatever symmetric form it gets, by search: what is tested is the mapping there and back.
    """

    def answer(call: Call) -> Solution:
        if len(runtime.calls) <= failures:
            return solution(call.tokens, steps=call.max_steps, halt_logit=-1.0, vocabulary=6)
        return solution(np.stack([search(row) for row in call.tokens]), steps=2, halt_logit=1.0, vocabulary=6)

    runtime = FakeRuntime(tiny_spec("trm-mlp"), answer)
    return runtime


def given(runtime: FakeRuntime) -> list[Tokens]:
    """The questions of each call."""
    return [call.tokens for call in runtime.calls]


def search(question: Tokens) -> Tokens:
    blanks = np.flatnonzero(question == 1)
    if not len(blanks):
        return question
    for token in range(2, 6):
        trial = question.copy()
        trial[blanks[0]] = token
        if not PUZZLE.question_faults(trial):
            found = search(trial)
            if not PUZZLE.answer_faults(question, found):
                return found
    return question


def solve(runtime: FakeRuntime, schedule: Schedule = SCHEDULE, questions: Tokens = QUESTION[None]) -> list[BestAttempt]:
    return solve_verified(runtime, PUZZLE, questions, schedule)


def test_a_puzzle_solved_at_once_takes_one_attempt() -> None:
    (answer,) = solve(fickle(0))
    assert answer.verified
    assert (answer.attempts, answer.steps, answer.total_steps, answer.halted) == (1, 2, 2, True)


def test_further_attempts_ask_symmetric_forms_and_map_back() -> None:
    runtime = fickle(3)
    (answer,) = solve(runtime)
    assert answer.verified
    assert PUZZLE.answer_faults(QUESTION, answer.answer) == []
    assert (answer.attempts, answer.steps, answer.total_steps) == (4, 2, 3 * 4 + 2)
    np.testing.assert_array_equal(given(runtime)[0], QUESTION[None])
    assert len({asked.tobytes() for asked in given(runtime)}) >= 3


def test_an_unsolved_puzzle_is_never_called_verified() -> None:
    (answer,) = solve(fickle(100))
    assert not answer.verified
    assert answer.faults == ("12 cells have no digit",)
    assert (answer.attempts, answer.total_steps, answer.halted) == (8, 32, False)


def test_only_unverified_puzzles_are_tried_again() -> None:
    runtime = fickle(1)
    complete = np.stack([ANSWER, QUESTION, ANSWER])
    answers = solve(runtime, questions=complete)
    assert [answer.attempts for answer in answers] == [1, 2, 1]
    assert [len(asked) for asked in given(runtime)] == [3, 1]
    assert all(answer.verified for answer in answers)


def test_an_attempt_does_not_depend_on_what_shares_its_batch() -> None:
    alone, together = fickle(2), fickle(2)
    solve(alone)
    solve(together, questions=np.stack([np.roll(QUESTION, 3), QUESTION]))
    for one, both in zip(given(alone), given(together)):
        np.testing.assert_array_equal(one[0], both[-1])


def test_a_maze_is_asked_in_each_of_its_eight_forms_once() -> None:
    maze = Maze(5, 5)
    question = maze.examples()[0]
    runtime = fickle(100)  # shows every question back: no path at all
    schedule = Schedule(attempts=20, attempt_steps=(4,), halt_threshold=0.0)
    (answer,) = solve_verified(runtime, maze, question[None], schedule)
    assert (answer.attempts, answer.verified) == (8, False)
    np.testing.assert_array_equal(given(runtime)[0], question[None])
    assert len({asked.tobytes() for asked in given(runtime)}) == 8


def test_each_attempt_has_steps_of_its_own() -> None:
    runtime = fickle(100)
    (answer,) = solve(runtime, Schedule(attempts=5, attempt_steps=(1, 2, 6), halt_threshold=0.0))
    assert [call.max_steps for call in runtime.calls] == [1, 2, 6, 6, 6]
    assert (answer.attempts, answer.total_steps) == (5, 21)


def test_further_attempts_are_of_the_same_puzzle_id() -> None:
    runtime = fickle(2)
    ids = np.array([3, 5], np.int32)
    solve_verified(runtime, PUZZLE, np.stack([QUESTION, QUESTION]), SCHEDULE, ids)
    assert [None if call.puzzle_ids is None else call.puzzle_ids.tolist() for call in runtime.calls] == [[3, 5]] * 3


def test_attempts_can_be_driven_by_hand() -> None:
    """As a server does, which has executors of its own."""
    attempts = Attempts(Forms(PUZZLE, SCHEDULE), QUESTION, puzzle_id=7)
    numbers = []
    for solved in (False, False, True):
        request = attempts.next()
        assert request is not None
        assert attempts.next() is None, "the next attempt waits for the last one"
        assert (request.puzzle_id, request.limits, request.initial_state) == (7, Limits(4, 0.0), None)
        assert request.key[0] is attempts
        numbers.append(request.key[1])
        answer = search(request.tokens) if solved else request.tokens
        attempts.record(Finished(request.key, answer, 2, 1.0, solved, milliseconds=3.0))
    assert numbers == [0, 1, 2]
    assert attempts.done
    assert attempts.next() is None
    assert attempts.best is not None
    assert attempts.best.verified
    assert (attempts.best.attempts, attempts.best.total_steps, attempts.best.milliseconds) == (3, 6, 9.0)
    assert PUZZLE.answer_faults(QUESTION, attempts.best.answer) == []


def test_a_value_a_cell_is_mapped_back_as_the_answer_is() -> None:
    forms = Forms(PUZZLE, SCHEDULE)
    for number in range(4):
        assert forms.has(number)
        asked = forms.apply(number, ANSWER)
        in_order = np.arange(16)
        np.testing.assert_array_equal(forms.invert(number, asked), ANSWER)
        own = forms.invert_cells(number, in_order)
        assert sorted(own) == list(range(16))
        # The cell with the value i is the one that cell i of the form was made from.
        for cell in range(16):
            mapped = QUESTION * 0 + 1
            mapped[cell] = 2
            assert own[cell] == np.flatnonzero(forms.apply(number, mapped) > 1)[0]


def test_a_task_without_rules_has_nothing_to_try_again() -> None:
    with pytest.raises(ValueError, match="arc has no rules"):
        Forms(Arc(), SCHEDULE)
