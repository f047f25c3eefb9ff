"""Every text form, and a message with file, line and column for every malformed one."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trm_deploy.errors import InputError
from trm_deploy.puzzles import reading
from trm_deploy.puzzles.maze import Maze
from trm_deploy.puzzles.reading import Question
from trm_deploy.puzzles.sudoku import Sudoku

PUZZLE = Sudoku()
LINE = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"


def read(tmp_path: Path, content: str | bytes) -> list[Question]:
    path = tmp_path / "puzzles.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(reading.read(str(path), PUZZLE))


def grid(line: str) -> list[str]:
    return [line[row * 9 : row * 9 + 9] for row in range(9)]


def drawn(line: str) -> str:
    rows = [" | ".join(" ".join(row[start : start + 3]) for start in (0, 3, 6)) for row in grid(line)]
    rule = "------+-------+------"
    return "\n".join([*rows[:3], rule, *rows[3:6], rule, *rows[6:]])


@pytest.mark.parametrize(
    "content",
    [
        LINE,
        LINE.replace(".", "0") + "\n",
        LINE.replace(".", "_") + "\r\n",
        f"# a comment\n\n  {LINE}  # and another\n",
        "\n".join(grid(LINE)),
        drawn(LINE),
        f"puzzle,solution\n{LINE},{'1' * 81}\n",
        f"source,question,answer,rating\nx,{LINE},{'1' * 81},3\n",
        f"{LINE},{'1' * 81}\n",
        f"question\n{LINE}\n",
        "\ufeff" + LINE,
        f'puzzle,note\n"{LINE}","a, b"\n',
    ],
)
def test_every_form_reads_the_same_puzzle(tmp_path: Path, content: str) -> None:
    (question,) = read(tmp_path, content)
    assert question.error == ""
    assert question.tokens is not None
    assert PUZZLE.text(question.tokens) == LINE.replace(".", "0")


def test_several_grids_and_lines_may_follow_each_other(tmp_path: Path) -> None:
    found = read(tmp_path, f"{drawn(LINE)}\n\n{LINE}\n{drawn(LINE)}\n")
    assert [question.error for question in found] == ["", "", ""]
    assert [question.place.rpartition("puzzles.txt ")[2] for question in found] == [
        "lines 1-11",
        "line 13",
        "lines 14-24",
    ]


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(LINE.encode())))
    (question,) = reading.read("-", PUZZLE)
    assert (question.place, question.error) == ("standard input line 1", "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LINE[:80], "line 1: 80 characters, expected 81 (9 rows of 9)"),
        (
            "\n\n  a" + LINE[1:],
            "line 3 column 3: found 'a', expected a digit 1-9 or one of . 0 _ - * X x ? for a blank",
        ),
        ("55" + LINE[2:], "line 1: the givens break the rules: row 1 has 5 twice; box 1 has 5 twice"),
        (drawn(LINE).replace("8 . . | . 6 .", "8 . . | . ? ."), "line 5 column 11: found '?', expected"),
        ("\n".join(grid(LINE)[:7]), "line 1: the grid ends after 7 rows, expected 9"),
        ("\n".join([*grid(LINE)[:4], "123", *grid(LINE)[5:]]), "line 5: row 5 of a grid has 3 cells, expected 9"),
        (f"puzzle,solution\n{LINE[:-1]}x,1\n", "line 2 column 81: found 'x', expected"),
        (f"id,puzzle\n7\n8,{LINE}\n", "line 2: has 1 columns, the puzzle is expected in number 2"),
    ],
)
def test_a_malformed_puzzle_names_its_place(tmp_path: Path, content: str, message: str) -> None:
    errors = [question for question in read(tmp_path, content) if question.error]
    assert message in errors[0].error
    assert errors[0].error.startswith(str(tmp_path / "puzzles.txt"))
    assert errors[0].tokens is None


def test_one_bad_puzzle_leaves_the_others(tmp_path: Path) -> None:
    found = read(tmp_path, f"{LINE}\nrubbish\n{LINE}\n")
    assert [bool(question.error) for question in found] == [False, True, False]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no puzzle"),
        ("# only a comment\n\n", "holds no puzzle"),
        ("puzzle\n", "holds no puzzle"),
        ("source,question,answer\n\n", "holds no puzzle"),
        ("------+-------+------\n", "holds no puzzle"),
        (b"\x7fELF\x02\x01\x01\x00\xff\xfe", "is not text"),
        (LINE.encode() + b"\n\0\n", "line 2 column 1: is not text (a zero byte)"),
        ("name,colour\nbox,red\n", "no column is named puzzle or question (found name, colour)"),
        ("1" * 20_000, "line 1: is longer than 10,000 characters"),
    ],
)
def test_a_file_that_is_no_puzzle_file_is_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(InputError) as raised:
        read(tmp_path, content)
    assert message in str(raised.value)


def test_a_200_megabyte_line_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "huge.txt"
    with path.open("wb") as file:
        file.truncate(200 << 20)  # a sparse file: zero bytes without a line end
    with pytest.raises(InputError, match="line 1: is longer than"):
        list(reading.read(str(path), PUZZLE))


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        list(reading.read(str(tmp_path / "none.txt"), PUZZLE))
    with pytest.raises(InputError, match="is a folder"):
        list(reading.read(str(tmp_path), PUZZLE))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.binary(max_size=300))
def test_any_bytes_give_puzzles_or_an_input_error(tmp_path: Path, content: bytes) -> None:
    try:
        found = read(tmp_path, content)
    except InputError:
        return
    for question in found:
        assert (question.tokens is None) == bool(question.error)


MAZE = Maze(5, 6)
WALLED = ["######", "#S   #", "# ## #", "#   G#", "######"]
# Spaces at the ends of rows and of the whole.
OPEN = [" S    ", "######"[:5] + " ", "      ", "#G####", "#     "]


def read_mazes(tmp_path: Path, content: str) -> list[Question]:
    path = tmp_path / "mazes.txt"
    path.write_text(content, newline="")
    return list(reading.read(str(path), MAZE))


@pytest.mark.parametrize("rows", [WALLED, OPEN], ids=["walled", "open"])
@pytest.mark.parametrize(
    "written",
    [
        "\n".join,
        lambda rows: "\n\n" + "\n".join(rows) + "\n\n\n",
        lambda rows: "\r\n".join(rows) + "\r\n",
        lambda rows: "\n".join(rows).replace(" ", "."),
        "".join,
        lambda rows: "".join(rows).replace(" ", ".") + "\n",
        lambda rows: f"source,question,answer,rating\nx,{''.join(rows)},{''.join(rows)},3\n",
        lambda rows: f"question\n{''.join(rows)}\n",
        lambda rows: f"{''.join(rows)},\n",
    ],
)
def test_every_form_reads_the_same_maze(tmp_path: Path, rows: list[str], written: Callable[[list[str]], str]) -> None:
    (question,) = read_mazes(tmp_path, written(rows))
    assert question.error == ""
    assert question.tokens is not None
    assert MAZE.text(question.tokens) == "".join(rows)


def test_a_mazes_row_may_be_blank(tmp_path: Path) -> None:
    rows = ["      ", "S    G", "      ", "      ", "      "]
    found = read_mazes(tmp_path, "\n" + "\n".join(rows) + "\n\n" + "\n".join(WALLED))
    assert [question.error for question in found] == ["", ""]
    assert [question.place.rpartition(" ")[2] for question in found] == ["2-6", "8-12"]


STRIPPED = "; where an editor strips trailing spaces, write . for an open cell"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["######", "#S S #", *WALLED[2:]], "lines 1-5: the givens break the rules: 2 cells hold S (row 2 column 2, "),
        (["######", "#S   #", "# ## #", "#    #", "######"], "lines 1-5: the givens break the rules: 0 cells hold G"),
        (["######", "#S x #", *WALLED[2:]], "line 2 column 4: found 'x', expected # (wall), a space or . (open), S, G"),
        (["######", "#S\t  #", *WALLED[2:]], "line 2 column 3: found '\\t', expected # (wall)"),
        (["######", "#S## #", "#### #", "####G#", "######"], "the givens break the rules: no path leads from S to G"),
        ([" S    ", "#####", *OPEN[2:]], "line 2: row 2 of a grid has 5 cells, expected 6" + STRIPPED),
        ([" S", *OPEN[1:]], "line 1: 2 characters, expected 30 (5 rows of 6)" + STRIPPED),
        ([*OPEN[:2], "", *OPEN[3:]], "line 1: the grid ends after 2 rows, expected 5" + STRIPPED),
        (["".join(OPEN).rstrip()], "line 1: 25 characters, expected 30 (5 rows of 6)" + STRIPPED),
    ],
)
def test_a_malformed_maze_names_its_place_and_leaves_the_others(tmp_path: Path, rows: list[str], message: str) -> None:
    found = read_mazes(tmp_path, "\n".join(rows) + "\n\n" + "\n".join(WALLED) + "\n" + "".join(WALLED))
    assert message in found[0].error
    assert found[0].tokens is None
    assert [question.error for question in found[-2:]] == ["", ""]
    assert len(found) == (3 if "" not in rows else 4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(st.text("# SGo.\nx,", max_size=200))
def test_any_text_gives_mazes_or_an_input_error(tmp_path: Path, content: str) -> None:
    try:
        found = read_mazes(tmp_path, content)
    except InputError:
        return
    for question in found:
        assert (question.tokens is None) == bool(question.error)


def test_puzzles_come_with_their_answers(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(f"source,question,answer,rating\nx,{LINE},{'1' * 81},3\n\ny,{LINE},{'2' * 81},4\n")
    found = list(reading.read_answered(str(path), PUZZLE))
    assert [(row.question, row.answer[0]) for row in found] == [(LINE, "1"), (LINE, "2")]
    assert [row.place for row in found] == [f"{path} line 2", f"{path} line 4"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no column is named puzzle or question"),
        (f"{LINE},{LINE}\n", "no column is named puzzle or question"),
        (
            f"question,rating\n{LINE},1\n",
            "no column is named answer or solution (its first line holds question, rating",
        ),
        (f"rating,question,answer\n3,{LINE}\n", "line 2: is not a CSV row with 3 columns"),
        (f'question,answer\n"{LINE},1\n', "line 2: is not a CSV row with 2 columns"),
    ],
)
def test_a_csv_file_without_answers_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "p.csv").write_text(content)
    with pytest.raises(InputError) as raised:
        list(reading.read_answered(str(tmp_path / "p.csv"), PUZZLE))
    assert message in str(raised.value)


SMALL = "1..4..2..3..4..1"


@pytest.mark.parametrize(
    ("content", "task", "place"),
    [
        (drawn(LINE), Sudoku(2, 2), "line 1"),
        (f"# a title\n+-------+\n{drawn(LINE)}\n", Sudoku(2, 3), "line 3"),
        (f"{LINE}\n{LINE}\n", Sudoku(2, 2), "line 1"),
        (f"id,puzzle\n1,{LINE}\n", Sudoku(2, 2), "line 2"),
        ("\n".join(SMALL[row : row + 4] for row in range(0, 16, 4)), Sudoku(), "line 1"),
        (SMALL, Sudoku(), "line 1"),
    ],
)
def test_a_puzzle_of_another_size_is_one_complaint(tmp_path: Path, content: str, task: Sudoku, place: str) -> None:
    path = tmp_path / "p.txt"
    path.write_text(content)
    came, own = ("4 x 4" if task.side == 9 else "9 x 9"), f"{task.side} x {task.side}"
    with pytest.raises(reading.OtherSize) as raised:
        list(reading.read(str(path), task))
    assert str(raised.value) == f"{path} {place}: looks like {came}; this engine is for {own}"


@pytest.mark.parametrize("content", ["1234", "12345678\n" + LINE, "9" * 16, "\n".join(grid(LINE)[:4])])
def test_what_only_resembles_another_size_is_complained_about_as_it_is(tmp_path: Path, content: str) -> None:
    assert any(question.error for question in read(tmp_path, content))


def test_the_line_and_the_other_columns_come_with_a_puzzle(tmp_path: Path) -> None:
    known = "1" * 81
    text = f"id,puzzle,rating,solution\na7,{LINE},3.5,{known}\nb8,{LINE},,oops\nc9,x,1,{known}\n"
    first, second, bad = read(tmp_path, text)
    assert (first.line, second.line, bad.line) == (2, 3, 4)
    assert first.columns == {"id": "a7", "rating": "3.5", "solution": known}
    assert second.columns == {"id": "b8", "rating": "", "solution": "oops"}
    assert first.answer is not None
    assert PUZZLE.text(first.answer) == known
    assert (second.answer, second.has_answer) == (None, True)
    assert bad.error
    lines = read(tmp_path, f"# title\n{LINE}\n{drawn(LINE)}\n\n55{LINE[2:]}\n{LINE[:80]}\n")
    assert [question.line for question in lines] == [2, 3, 15, 16]
    assert [question.columns for question in lines] == [None] * 4
    assert not any(question.has_answer for question in lines)


def test_a_text_may_be_the_puzzle_itself() -> None:
    for text in (LINE, drawn(LINE), "\n".join(grid(LINE))):
        assert reading.is_text_of(text, PUZZLE)
        (question,) = reading.read_text(text, "argument", PUZZLE)
        assert question.tokens is not None
        assert PUZZLE.text(question.tokens) == LINE.replace(".", "0")
    assert reading.is_text_of("x" * 81, PUZZLE)
    assert reading.is_text_of(SMALL, PUZZLE), "so that the complaint is about the size"
    for name in ("puzzles.txt", "folder/" + "x" * 74, LINE[:80]):
        assert not reading.is_text_of(name, PUZZLE)
    with pytest.raises(InputError, match="half of a surrogate pair"):
        list(reading.read_text("\udc80", "argument", PUZZLE))


def test_the_number_of_lines_is_estimated_from_the_beginning(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_text(f"{LINE}\n" * 20_000)
    assert reading.estimate_lines(str(path)) == pytest.approx(20_000, rel=0.01)
    path.write_text(f"{LINE}\n" * 20)
    assert reading.estimate_lines(str(path)) == 20
