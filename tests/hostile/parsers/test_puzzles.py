"""Whatever is in a puzzle file, it is read or refused; and text -> tokens -> text is the identity."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from tests.hostile.parsers.properties import (
    VALUES,
    as_json,
    attempted,
    changed,
    parser,
    spoiled,
)
from trm_deploy import puzzles
from trm_deploy.errors import InputError, PuzzleError
from trm_deploy.puzzles import arc, arc_tasks, reading
from trm_deploy.puzzles.arc import Augmentation
from trm_deploy.puzzles.base import TextPuzzle
from trm_deploy.puzzles.maze import Maze
from trm_deploy.puzzles.sudoku import Sudoku

TEXT_PUZZLES: tuple[TextPuzzle, ...] = (Sudoku(2, 2), Sudoku(2, 3), Sudoku(3, 3), Maze(2, 3), Maze(5, 6))


@st.composite
def puzzle_files(draw: st.DrawFn, puzzle: TextPuzzle) -> bytes:
    """Rubbish, and puzzles as lines, grids and CSV with something wrong in them."""
    if not draw(st.integers(0, 4)):
        return draw(st.binary(max_size=400))
    symbols = "# SGo." if isinstance(puzzle, Maze) else "0123456789._"
    line = draw(st.text(symbols, min_size=puzzle.cells, max_size=puzzle.cells))
    columns = puzzle.form.columns
    grid = "\n".join(line[start : start + columns] for start in range(0, len(line), columns))
    forms = (
        line,
        grid,
        f"{grid}\n\n{grid}",
        f"puzzle,answer\n{line},{line}\n",
        f'question\n"{line}"\n',
        f"a,b\n{line},7",
    )
    whole = draw(st.sampled_from(forms)).encode()
    return draw(st.just(whole) | spoiled(whole))


@parser(st.data())
def test_puzzle_files(folder: Path, data: st.DataObject) -> None:
    puzzle = data.draw(st.sampled_from(TEXT_PUZZLES))
    content = data.draw(puzzle_files(puzzle))
    path = folder / "puzzles.txt"
    path.write_bytes(content)
    found = attempted(lambda: list(reading.read(str(path), puzzle))) or []
    for question in found:
        assert (question.tokens is None) == bool(question.error)
        if question.tokens is not None:
            assert puzzle.question_faults(question.tokens) == []
            np.testing.assert_array_equal(puzzle.parse_line(puzzle.text(question.tokens)), question.tokens)
    attempted(lambda: list(reading.read_answered(str(path), puzzle)))
    # Standard input reads as the file does.
    before, sys.stdin = sys.stdin, SimpleNamespace(buffer=io.BytesIO(content))
    try:
        piped = attempted(lambda: list(reading.read("-", puzzle))) or []
    finally:
        sys.stdin = before
    assert [question.text for question in piped] == [question.text for question in found]


@parser(st.data())
def test_text_to_tokens_to_text(folder: Path, data: st.DataObject) -> None:
    """As a line, as a grid, in a CSV file: what was written comes back."""
    puzzle = data.draw(st.sampled_from(TEXT_PUZZLES))
    line = data.draw(
        st.text("".join(puzzle.vocabulary[1:]).replace(".", "0"), min_size=puzzle.cells, max_size=puzzle.cells)
    )
    assert puzzle.text(puzzle.parse_line(line)) == line
    path = folder / "identity.txt"
    columns = puzzle.form.columns
    grid = "\n".join(line[start : start + columns] for start in range(0, len(line), columns))
    for content in (line, grid, f"puzzle\n{line}\n", f"answer,question,x\n,{line},\n"):
        path.write_text(content + "\n")
        found = attempted(lambda: list(reading.read(str(path), puzzle)))
        for question in found or []:
            if question.tokens is not None:
                assert puzzle.text(question.tokens) == line


@parser(st.text(max_size=40) | st.from_regex(r"(sudoku|maze|arc)-?[0-9]{0,4}x?[0-9]{0,5}", fullmatch=True))
def test_task_names(name: str) -> None:
    found = attempted(lambda: puzzles.get(name))
    assert found is None or found.name == name


GRIDS = st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=1, max_size=4)
PAIR = st.fixed_dictionaries({"input": GRIDS, "output": GRIDS})
TASK = st.fixed_dictionaries({"train": st.lists(PAIR, max_size=2), "test": st.lists(PAIR, min_size=1, max_size=2)})


@parser(st.data())
def test_arc_files(folder: Path, data: st.DataObject) -> None:
    document: Any = data.draw(
        st.one_of(TASK, st.dictionaries(st.text(max_size=8), TASK, min_size=1, max_size=2), VALUES)
    )
    if isinstance(document, dict) and document and data.draw(st.booleans()):
        document = data.draw(changed(document))
    text = as_json(document).encode()
    path = folder / "task.json"
    path.write_bytes(data.draw(st.just(text) | spoiled(text)))
    for task in attempted(lambda: arc_tasks.read_tasks([str(path)])) or []:
        for pair in (*task.train, *task.test):
            line = arc.text_of(pair.input)
            assert arc.Arc().text(arc.Arc().parse_line(line)) == line
            assert arc.Arc().question_faults(arc.to_tokens(pair.input)) == []
    attempted(lambda: list(arc_tasks.questions(str(path))))
    attempted(lambda: arc_tasks.read_solutions([str(path)]))


@parser(st.text(max_size=60) | st.text("0123456789 \n", max_size=60))
def test_arc_grids_in_text(line: str) -> None:
    found = attempted(lambda: arc.Arc().parse_line(line))
    if found is not None:
        assert arc.Arc().text(found).split() == line.split()


@parser(
    st.text(max_size=30)
    | st.from_regex(r"[a-z0-9]{0,3}\|\|\|t?[0-9²٣]{0,2}\|\|\|[0-9²٣]{0,11}", fullmatch=True)
    | st.integers(0, 9).map(lambda seed: arc.identifier_name("a", Augmentation.random(np.random.default_rng(seed))))
)
def test_arc_identifiers(name: str) -> None:
    try:
        task, augmentation = arc.parse_identifier(name)
    except PuzzleError:
        return
    if augmentation != arc.IDENTITY:
        assert arc.identifier_name(task, augmentation) == name


def test_a_name_that_no_file_can_have_is_an_input_error(tmp_path: Path) -> None:
    name = "." * 5000  # such as a puzzle in place of its file
    with pytest.raises(InputError, match="cannot be read"):
        list(reading.read(name, Sudoku()))
    with pytest.raises(InputError, match="cannot be read"):
        arc_tasks.read_tasks([name])
