"""Whatever is written in a form that people have is read as just those puzzles, and written back the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.puzzles.text.writers import FILES, GRIDS, LINE
from trm_deploy.puzzles import reading
from trm_deploy.puzzles.sudoku import Sudoku

SUDOKUS = (Sudoku(2, 2), Sudoku(2, 3), Sudoku(3, 3))
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16")
ENDS = ("\n", "\r\n", "\r")
property_test = settings(
    max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def puzzles(draw: st.DrawFn, puzzle: Sudoku, least: int = 1) -> list[str]:
    """Some puzzles with few or many givens, "." for a blank; never without a given."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    made = []
    for _ in range(draw(st.integers(least, 3))):
        side = puzzle.side
        first = np.arange(puzzle.cells).reshape(side, side)
        solved = (first % side + (first // side) * puzzle.box_columns + (first // side) // puzzle.box_rows) % side + 1
        tokens = puzzle.symmetries(1, rng).apply(puzzle.from_digits(solved.reshape(1, -1)))[0]
        kept = rng.random(puzzle.cells) < draw(st.sampled_from([0.1, 0.3, 0.6, 1.0]))
        kept[rng.integers(puzzle.cells)] = True
        made.append("".join(str(token - 1) if keep else "." for token, keep in zip(tokens, kept)))
    return made


def read(path: Path, content: bytes, puzzle: Sudoku) -> list[str]:
    """The puzzles of a file, "." for a blank."""
    path.write_bytes(content)
    found = list(reading.read(str(path), puzzle))
    assert [question.error for question in found] == [""] * len(found)
    return [puzzle.text(question.tokens).replace("0", ".") for question in found if question.tokens is not None]


@pytest.mark.parametrize("form", FILES)
@property_test
@given(data=st.data())
def test_files(tmp_path: Path, form: str, data: st.DataObject) -> None:
    puzzle = data.draw(st.sampled_from(SUDOKUS))
    lines = data.draw(puzzles(puzzle))
    end, encoding = data.draw(st.sampled_from(ENDS)), data.draw(st.sampled_from(ENCODINGS))
    text = FILES[form](lines).replace("\n", end)
    assert read(tmp_path / "p", text.encode(encoding), puzzle) == lines


TITLES = ("", "A title\n", "Puzzle 7, hard:\n\n", "42\n", "# a comment\n", "=== Easy ===\n")
REMARKS = ("", "\n\nby someone, 2024", "\nSome Program\nVersion 1.2", "\n")


@pytest.mark.parametrize("form", GRIDS)
@property_test
@given(data=st.data())
def test_grids(tmp_path: Path, form: str, data: st.DataObject) -> None:
    puzzle = data.draw(st.sampled_from(SUDOKUS))
    lines = data.draw(puzzles(puzzle))
    write, blanks = GRIDS[form]
    blank = data.draw(st.sampled_from(blanks))
    if blank == " ":  # where too few digits are there to tell the columns, it is refused: see test_ambiguous
        lines = [line for line in lines if line.count(".") < puzzle.cells // 2] or [LINE]
        puzzle = Sudoku(3, 3) if lines == [LINE] else puzzle
    titles = [data.draw(st.sampled_from(TITLES)) for _ in lines]
    remarks = [data.draw(st.sampled_from(REMARKS)) for _ in lines]
    parts = [title + write(line.replace(".", blank)) + end for title, line, end in zip(titles, lines, remarks)]
    end, encoding = data.draw(st.sampled_from(ENDS)), data.draw(st.sampled_from(ENCODINGS))
    text = "\n\n".join(parts).replace("\n", end)
    assert read(tmp_path / "p", text.encode(encoding), puzzle) == lines


@pytest.mark.parametrize("blank", ".0_-*Xx?·")
def test_lines_in_every_blank(tmp_path: Path, blank: str) -> None:
    assert read(tmp_path / "p", f"{LINE}\n{LINE}".replace(".", blank).encode(), Sudoku()) == [LINE, LINE]
