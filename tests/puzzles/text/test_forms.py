"""Forms that people have, one by one: what is a puzzle in them, what is a remark, what could be read in two ways."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.puzzles.text.writers import LINE, cells, crossed, grid, labelled, rows
from trm_deploy.cli.options import INPUT_FORMATS
from trm_deploy.errors import InputError
from trm_deploy.puzzles import reading
from trm_deploy.puzzles.maze import Maze
from trm_deploy.puzzles.reading import Question
from trm_deploy.puzzles.sudoku import Sudoku
from trm_deploy.puzzles.text import names

PUZZLE = Sudoku()
OTHER = "8..........36......7..9.2...5...7.......457.....1...3...1....68..85...1..9....4.."
ZEROS = LINE.replace(".", "0")
FRAME = crossed(LINE, "-", "+", "|")
SOLVED = "682379451415268973793154628541826739379415286268937514154682397937541862826793145"


def read(path: Path, content: str | bytes, puzzle: Sudoku | Maze = PUZZLE, **options: str) -> list[Question]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(reading.read(str(path), puzzle, **options))


def texts(found: list[Question]) -> list[str]:
    assert [question.error for question in found] == [""] * len(found)
    return [PUZZLE.text(question.tokens) for question in found if question.tokens is not None]


@pytest.mark.parametrize(
    "content",
    [
        f"Puzzle 1, hard\n{FRAME}\nby someone, 2024",
        f"20241127\n{grid(LINE)}\nhttps://example.org/1",
        f"{grid(LINE)}\n2024-11-27\n",
        f"Puzzle:\n{FRAME}\n\nSolution:\n{crossed(SOLVED, '-', '+', '|')}\n",
        f"{grid(LINE)}\n[State]\n{grid(LINE.replace('.', '1', 1))}\n",
        f"#A me\n#D hard\n[Puzzle]\n{grid(LINE)}\n[PencilMarks]\n,,12,,,,,,\n",
        f" *-----------*\n{grid(LINE, bar='|', rule='|---+---+---|', outer=False)}\n *-----------*\n A\n Version 1.2",
        "\n\n".join(["\n".join(rows(LINE)[:3]), "\n".join(rows(LINE)[3:6]), "\n".join(rows(LINE)[6:])]),
        f" _ _ _ _ _ _ _ _ _\n{chr(10).join('|' + '|'.join(row.replace('.', '_')) + '|' for row in rows(LINE))}",
        "\n".join("|" + "|".join(row.replace(".", " ")) + "|." for row in rows(LINE)),
        "\n".join(row.replace(".", " ") for row in rows(LINE)),
        LINE.replace(".", " "),
        f"{LINE} {SOLVED}\n",
        f"{LINE}:{SOLVED}:7.2\n",
        f":0000:x:{LINE}::::\n",
        "\n".join(f"> {line}" for line in FRAME.split("\n")),
        "\n".join(f"{row}," for row in rows(LINE)),
        f"| id | puzzle |\n|---|---|\n| 1 | {LINE} |\n",
        f"      puzzle\n0  {LINE}\n",
        f"Sudoku 1,,,,,,,,\n{cells(LINE)}\n",
        cells(LINE, ";", "").replace(";", '";"').join('""').replace("\n", '"\n"'),
        f"Input: board = {[list(row) for row in rows(LINE)]}\nOutput: {[list(row) for row in rows(SOLVED)]}\n",
        f'puzzle = "{LINE}"\nsolution = "{SOLVED}"\n',
        f"puzzles:\n  - {LINE}\n",
        f'puzzle = "{LINE}"\n',
        f'grid = """\n{grid(LINE)}\n"""\n',
        f"Here is my board:\n\n{cells(LINE, ',', '0')}\n",
        f'puzzle,solution\n="{LINE}","{SOLVED}"\n',
        f"id,foo,bar\n1,{LINE},{SOLVED}\n",
        f"id,puzzle_string,solved_grid\n1,{LINE},{SOLVED}\n",
        json.dumps(
            {"newboard": {"grids": [{"value": [list(map(int, row)) for row in rows(ZEROS)], "solution": [[1]]}]}}
        ),
        json.dumps(
            {"clues": [list(row) for row in rows(LINE)], "solution": [list(row) for row in rows(SOLVED)]}, indent=1
        ),
        json.dumps([None if cell == "." else int(cell) for cell in LINE]),
        json.dumps({"columns": ["quizzes", "solutions"], "index": [0], "data": [[LINE, SOLVED]]}),
        json.dumps({"quizzes": {"0": LINE}, "solutions": {"0": SOLVED}}),
        json.dumps([[LINE, SOLVED]]),
        f"m <- matrix(c({', '.join(ZEROS)}), nrow = 9)\n",
        f"PUZZLES = [\n    ('{LINE}', 'easy'),\n]\n",
        f"PUZZLES = [\n    ('{LINE}', '{SOLVED}'),\n]\n",
        f"<ksudoku><game><puzzle><values>{LINE.replace('.', '_')}</values></puzzle></game></ksudoku>",
    ],
)
def test_one_puzzle_and_nothing_else(tmp_path: Path, content: str) -> None:
    assert texts(read(tmp_path / "p", content)) == [ZEROS]


@pytest.mark.parametrize(
    "document",
    [
        [rows(LINE), rows(OTHER)],
        {"1": LINE, "2": OTHER},
        {"puzzle1": LINE, "puzzle2": OTHER},
        {"quizzes": {"0": LINE, "1": OTHER}, "solutions": {"0": SOLVED, "1": SOLVED}},
        {"columns": ["id", "quiz"], "data": [["a", LINE], ["b", OTHER]]},
    ],
)
def test_two_puzzles_of_a_document(tmp_path: Path, document: object) -> None:
    found = texts(read(tmp_path / "p", json.dumps(document, indent=1)))
    assert found == [ZEROS, OTHER.replace(".", "0")]
    assert texts(read(tmp_path / "p", json.dumps(document))) == found


def test_ends_of_lines_that_an_editor_has_stripped(tmp_path: Path) -> None:
    """In a frame without an outer line, which earlier grids have shown."""
    bare = grid(LINE.replace(".", " "), space=" ", bar="|", rule="------+-------+------", outer=False)
    stripped = "\n".join(line.rstrip() for line in bare.split("\n"))
    assert texts(read(tmp_path / "p", f"{stripped}\n\n{bare}\n\n{stripped}\n")) == [ZEROS] * 3


def test_remarks_in_an_older_encoding(tmp_path: Path) -> None:
    content = f"Rätsel für Öl\n{FRAME}\n\n{LINE}  # très dur\n".encode("latin-1")
    assert texts(read(tmp_path / "p", content)) == [ZEROS, ZEROS]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LINE.replace(".", "0", 1), "column 2: found '.', expected '0' for a blank, as before it"),
        (grid(LINE).replace(".", "-", 1), "column 2: found '.', expected '-' for a blank, as before it"),
        ("-" * 81, "81 times '-' is either a puzzle without givens or a rule between puzzles"),
        (f"{grid(LINE)}\n{grid(LINE)[:-10]}", "17 rows after each other, expected 9 a grid: which of them belong"),
        (f"{LINE[:-1]}\n{grid(LINE)}", "line 1: 80 characters, expected 81"),
        ("puzzle\n5.3E+80\n", "'5.3E+80' is how spreadsheets write a long number: its digits are lost"),
        ("5,3007E+80\n5,1E+79\n", "'5,3007E+80' is how spreadsheets write a long number"),
        (f"quizzes,solutions\n{ZEROS[1:]},1\n", "80 characters, expected 81 (9 rows of 9); 1 leading zero may be lost"),
        (f"{ZEROS[2:]}\n", "79 characters, expected 81 (9 rows of 9); 2 leading zeros may be lost"),
        ("\n".join(row.replace(".", " ").rstrip() for row in rows(LINE)), "row 1 of a grid has 3 cells, expected 9"),
        (cells(LINE).replace(",,", ",0,", 1), "found '0', expected ' ' for a blank, as before it"),
        ("\n".join(" ".join("24" if c == "." else c for c in row) for row in rows(LINE)), "is a grid of candidates"),
        (json.dumps([[1, 2, 3]] * 9), "row 1 has 3 cells, expected 9"),
        (f"{','.join(ZEROS)},{SOLVED}\n", "line 1"),
    ],
)
def test_what_is_damaged_or_could_be_two_things_is_named(tmp_path: Path, content: str, message: str) -> None:
    found = [question for question in read(tmp_path / "p", content) if question.error]
    assert message in found[0].error
    assert found[0].error.startswith(str(tmp_path / "p"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"quiz,grid\n{LINE},{OTHER}\n", "the columns 'quiz' and 'grid' both hold puzzles; name the one"),
        (f"{LINE},{OTHER}\n", "the columns number 1 and number 2 both hold puzzles"),
        (json.dumps({"puzzle": {"start": LINE, "board": OTHER}}, indent=1), "'start' and 'board' both hold puzzles"),
        (f"[State]\n{grid(LINE)}\n", "has no [Puzzle]"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><opensudoku/>", "has a document type, which may define entities"),
        ("<!doctype html><html><body></body></html>", "is a web page"),
        ("<opensudoku><game></opensudoku>", "is not valid XML (mismatched tag)"),
        ("123\n+---+\n", "holds no puzzle"),
    ],
)
def test_a_file_that_could_be_two_things_or_holds_none_is_refused(tmp_path: Path, content: str, message: str) -> None:
    try:
        found = read(tmp_path / "p", content)
    except InputError as error:
        assert message in str(error)  # noqa: PT017
        return
    assert content.startswith("123")
    assert found[0].error


FOUR = ["1-2-3-4---------", "--3-4-1-2-------", "2-1---4-3-------", "---4-3-2-1------"]


def test_dashes_of_a_small_engine_are_lines_of_their_own(tmp_path: Path) -> None:
    found = read(tmp_path / "p", "\n".join(FOUR), Sudoku(2, 2))
    assert [question.error for question in found] == [""] * 4
    assert [question.text for question in found] == FOUR
    (rules,) = read(tmp_path / "p", "----\n" * 4, Sudoku(2, 2))
    assert "4 lines of '-' alone are either rows of blanks or rules between rows" in rules.error
    both = "\n".join(f"{row}\n----" for row in ("1234", "3412", "2143", "4321"))
    (rules,) = read(tmp_path / "p", both, Sudoku(2, 2))
    assert "either rows of blanks or rules" in rules.error
    (question,) = read(tmp_path / "p", both.replace("2", "."), Sudoku(2, 2))
    assert question.text == "1.34341..14343.1", "another blank is there, so that dashes are rules"


def test_the_column_is_named(tmp_path: Path) -> None:
    content = f"quiz,grid\n{LINE},{OTHER}\n"
    assert texts(read(tmp_path / "p", content, column="quiz")) == [ZEROS]
    assert texts(read(tmp_path / "p", content, column="2")) == [OTHER.replace(".", "0")]
    assert texts(read(tmp_path / "p", json.dumps({"a": LINE, "b": OTHER}), column="a")) == [ZEROS]
    with pytest.raises(InputError, match=r"no column is named 'x' \(found quiz, grid\)"):
        read(tmp_path / "p", content, column="x")


def test_numbers_of_rows_and_columns(tmp_path: Path) -> None:
    assert texts(read(tmp_path / "p", labelled(LINE))) == [ZEROS]
    head = "1 2 3 4 5 6 7 8 9\n"
    assert texts(read(tmp_path / "p", head + grid(LINE, space=" "))) == [ZEROS]
    empty = "\n".join([". . . . . . . . ."] * 9)
    (both,) = read(tmp_path / "p", head + empty)
    assert "the first may number the columns, or the last may be too much" in both.error


def test_a_forced_format(tmp_path: Path) -> None:
    assert names() == INPUT_FORMATS
    assert [q.text for q in read(tmp_path / "p", "-" * 81, input_format="lines")] == ["-" * 81]
    (error,) = read(tmp_path / "p", LINE, input_format="grids")
    assert "81 characters, expected rows of 9" in error.error
    with pytest.raises(InputError, match="the input format 'x' is unknown, expected one of lines, grids, jsonl"):
        read(tmp_path / "p", LINE, input_format="x")
    with pytest.raises(InputError, match="the input format xml is for Sudoku"):
        read(tmp_path / "p", LINE, Maze(5, 6), input_format="xml")


def test_our_own_answers(tmp_path: Path) -> None:
    right = {"puzzle": ZEROS, "answer": SOLVED, "verified": True, "steps": 3, "halt_logit": "inf"}
    lines = [right, {**right, "verified": False}, {**right, "answer": SOLVED[::-1]}, {"puzzle": "x", "error": "y"}]
    found = read(tmp_path / "p", "\n".join(map(json.dumps, lines)))
    assert [question.answered for question in found] == [right, None, None, None]
    assert [bool(question.error) for question in found] == [False, False, False, True]


def test_answers_that_are_known(tmp_path: Path) -> None:
    for content in (f"quizzes,solutions\n{LINE},{SOLVED}\n", json.dumps({"question": LINE, "answer": SOLVED})):
        (question,) = read(tmp_path / "p", content)
        assert question.has_answer
        assert question.answer is not None
        assert PUZZLE.text(question.answer) == SOLVED
        path = tmp_path / "p"
        assert [(row.question, row.answer) for row in reading.read_answered(str(path), PUZZLE)] == [(LINE, SOLVED)]


def test_many_short_lines_take_time_in_proportion_to_their_number() -> None:
    """Twenty seconds where every odd line looks for the end of those around it."""
    started = time.perf_counter()
    found = list(reading.read_bytes(b"1\n" * 20_000, "many", Sudoku(3, 3)))
    assert [question.tokens for question in found] == [None]
    assert time.perf_counter() - started < 5
