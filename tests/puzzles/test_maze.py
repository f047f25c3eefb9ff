"""Mazes: text, rules, drawing, symmetries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trm_deploy import puzzles
from trm_deploy.errors import InputError, PuzzleError
from trm_deploy.puzzles.base import Tokens
from trm_deploy.puzzles.maze import Maze

# Two ways from S to G, of 6 and 8 steps.
MAZE = Maze(5, 6)
QUESTION = """\
######
#S   #
# ## #
#   G#
######"""
SHORT = QUESTION.replace("#S   #", "#Sooo#").replace("# ## #", "# ##o#")


def tokens(grid: str, maze: Maze = MAZE) -> Tokens:
    return maze.parse_line(grid.replace("\n", ""))


def test_token_ids_are_the_published_ones() -> None:
    assert puzzles.get("maze-5x6") == MAZE
    assert (MAZE.cells, MAZE.vocabulary) == (30, ("pad", "#", " ", "S", "G", "o"))
    assert Maze(2, 3).parse_line("# SGo.").tolist() == [1, 2, 3, 4, 5, 2]
    assert Maze(2, 3).text(np.array([0, 1, 2, 3, 4, 5])) == "?# SGo"


@pytest.mark.parametrize("name", ["maze-1x5", "maze-5x65", "maze-5x999"])
def test_sizes_out_of_bounds_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="expected 2 to 64 of each"):
        puzzles.get(name)


@pytest.mark.parametrize("name", ["maze-5", "maze-05x5", "maze-5x", "maze-ax5", "maze-5x5x5", "maze"])
def test_malformed_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"is unknown, expected one of .*maze-ROWSxCOLUMNS"):
        puzzles.get(name)


@given(st.text("# SGo", min_size=30, max_size=30))
def test_text_to_tokens_to_text_is_the_identity(line: str) -> None:
    assert MAZE.text(MAZE.parse_line(line)) == line
    assert MAZE.text(MAZE.parse_line(line.replace(" ", "."))) == line


@given(st.lists(st.integers(0, 5), min_size=30, max_size=30), st.lists(st.integers(0, 5), min_size=30, max_size=30))
def test_any_answer_to_anything_is_judged(question: list[int], answer: list[int]) -> None:
    asked, given_back = np.array(question, np.int32), np.array(answer, np.int32)
    if not MAZE.answer_faults(asked, given_back):
        assert MAZE.text(given_back).count("o") + 1 == MAZE.shortest(asked)


def test_malformed_lines_say_what_came_and_where() -> None:
    with pytest.raises(PuzzleError, match=r"29 characters, expected 30 \(5 rows of 6\)"):
        MAZE.parse_line("#" * 29)
    with pytest.raises(PuzzleError, match=r"found 'x', expected # \(wall\)") as raised:
        MAZE.parse_line("#" * 7 + "x" + "#" * 22)
    assert raised.value.position == 7


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (("", ""), None),
        (("S   ", "S  S"), "2 cells hold S (row 2 column 2, row 2 column 5), expected one"),
        (("G", " "), "0 cells hold G, expected one"),
        (("   G", "  #G"), None),
        (("S   ", "S # "), None),
        (("# ## #\n#   G", "#### #\n# # G"), None),
        (("# ## #", "######"), "no path leads from S to G"),
        (("S   ", "S o "), "row 2 column 4 holds o, which no question has"),
    ],
)
def test_questions_that_make_no_sense(change: tuple[str, str], fault: str | None) -> None:
    found = MAZE.question_faults(tokens(QUESTION.replace(*change)))
    assert found == ([] if fault is None else [fault])


def test_pad_in_a_question_is_a_fault() -> None:
    question = tokens(QUESTION)
    question[0] = 0
    assert MAZE.question_faults(question) == ["row 1 column 1 holds ?, which no question has"]


@pytest.mark.parametrize(
    ("answer", "faults"),
    [
        (SHORT, []),
        # As short along the other side.
        (QUESTION.replace("# ## #", "#o## #").replace("#   G", "#oooG"), []),
        (QUESTION, ["the path is interrupted: from S it leads to row 2 column 2, not to G"]),
        (
            SHORT.replace("# ##o#", "# ## #"),
            ["the path is interrupted: from S it leads to row 2 column 5, not to G"],
        ),
        (SHORT.replace("#   G", "#  oG"), ["1 cells beside the path are marked o"]),
        (
            SHORT.replace("# ##o#", "# o#o#"),
            ["row 3 column 3 was given as a wall and became o"],
        ),
        (
            SHORT.replace("#   G#", "#   o#"),
            [
                "row 4 column 5 was given as G and became o",
            ],
        ),
        (SHORT.replace("#   G#", "#   G "), ["row 4 column 6 was given as a wall and became open"]),
    ],
)
def test_answers(answer: str, faults: list[str]) -> None:
    assert MAZE.answer_faults(tokens(QUESTION), tokens(answer)) == faults


def test_a_path_through_a_wall_is_no_path() -> None:
    maze = Maze(2, 5)
    question = tokens("S # G\n#    ", maze)
    assert maze.answer_faults(question, tokens("SoooG\n#    ", maze)) == [
        "row 1 column 3 was given as a wall and became o",
        "the path is interrupted: from S it leads to row 1 column 2, not to G",
    ]
    assert maze.answer_faults(question, tokens("So#oG\n#ooo ", maze)) == []


def test_a_longer_path_says_by_how_much() -> None:
    maze = Maze(4, 4)
    question = tokens("S  G\n    \n    \n####", maze)
    assert maze.answer_faults(question, tokens("So G\n oo \n    \n####", maze)) == [
        "the path is interrupted: from S it leads to row 2 column 3, not to G"
    ]
    assert maze.answer_faults(question, tokens("S  G\noooo\n    \n####", maze)) == [
        "the path takes 5 steps, 2 more than the shortest"
    ]
    assert maze.answer_faults(question, tokens("SooG\no  o\noooo\n####", maze)) == [
        "6 cells beside the path are marked o"
    ]
    assert maze.shortest(question) == 3


def test_neighbours_need_no_mark_between() -> None:
    maze = Maze(2, 2)
    question = tokens("SG\n  ", maze)
    assert maze.answer_faults(question, question) == []
    assert maze.answer_faults(question, tokens("SG\noo", maze)) == ["2 cells beside the path are marked o"]


@pytest.mark.parametrize(("maze", "count"), [(MAZE, 4), (Maze(6, 6), 8)], ids=["rectangle", "square"])
def test_symmetries_keep_the_rules_and_invert(maze: Maze, count: int) -> None:
    question = maze.examples()[0]
    assert maze.symmetries(40, np.random.default_rng(0)).cells.shape == (40, maze.cells)
    every = maze.every_symmetry
    forms = every.apply(np.tile(question, (count, 1)))
    assert len(np.unique(forms, axis=0)) == count
    np.testing.assert_array_equal(forms[0], question)
    np.testing.assert_array_equal(every.invert(forms), np.tile(question, (count, 1)))
    assert {maze.shortest(form) for form in forms} == {maze.shortest(question)}
    further = list(maze.further_forms(5))
    seen = {form.apply(question[None])[0].tobytes() for form in further} | {question.tobytes()}
    assert (len(further), len(seen)) == (count - 1, count)
    orders = {tuple(form.cells[0, 0] for form in maze.further_forms(seed)) for seed in range(20)}
    assert len(orders) > 1


@pytest.mark.parametrize("name", ["maze-2x2", "maze-2x30", "maze-10x10", "maze-30x30"])
def test_examples_make_sense_and_stay_the_same(name: str) -> None:
    maze = puzzles.get(name)
    examples = maze.examples()
    assert examples.shape == (16, maze.cells)
    assert all(maze.question_faults(example) == [] for example in examples)
    np.testing.assert_array_equal(examples, maze.examples())


def test_the_drawing() -> None:
    assert MAZE.draw(tokens(QUESTION), tokens(SHORT), colour=False) == SHORT
    wrong = SHORT.replace("# ##o#", "#o#oo#")
    coloured = MAZE.draw(tokens(QUESTION), tokens(wrong), colour=True).splitlines()
    assert coloured[1].count("\x1b[36mo") == 3
    assert coloured[2].count("\x1b[36mo") == 2
    assert coloured[2].count("\x1b[41mo") == 1
