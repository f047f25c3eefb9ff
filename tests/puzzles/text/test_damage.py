"""Damaged files of every format: never a traceback, never a puzzle that nobody wrote."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import pytest

from tests.puzzles.text.writers import FILES, GRIDS, LINE, Grid, Writer
from trm_deploy.errors import InputError
from trm_deploy.puzzles import reading
from trm_deploy.puzzles.sudoku import Sudoku
from trm_deploy.puzzles.text import names

PUZZLE = Sudoku()
OTHER = "8..........36......7..9.2...5...7.......457.....1...3...1....68..85...1..9....4.."
LINES = [LINE, OTHER, LINE[::-1]]
WRITTEN = {line.replace(".", "0") for line in LINES}


def in_grids(write: Grid) -> Writer:
    return lambda lines: "\n\n".join(map(write, lines))


FORMS: dict[str, Writer] = {**FILES, **{name: in_grids(write) for name, (write, _) in GRIDS.items()}}


def puzzles_of(path: Path, content: bytes, **options: str) -> list[str]:
    path.write_bytes(content)
    try:
        found = list(reading.read(str(path), PUZZLE, **options))
    except InputError:
        return []
    for question in found:
        assert (question.tokens is None) == bool(question.error)
        assert len(question.error) < 1000
    return [PUZZLE.text(question.tokens) for question in found if question.tokens is not None]


def near(text: str, wanted: set[str], changes: int) -> bool:
    """Whether a puzzle differs from one that was written by no more cells than were changed."""
    return any(sum(a != b for a, b in zip(text, line)) <= changes for line in wanted)


def test_arc_tasks_hold_no_sudoku(tmp_path: Path) -> None:
    """Whole or cut, on one line or on many, under a task's name or without one: grids of nine rows are no puzzles."""
    grid = [[int(digit) for digit in LINE.replace(".", "0")[row : row + 9]] for row in range(0, 81, 9)]
    task = {"train": [{"input": grid, "output": grid}], "test": [{"input": grid}]}
    path = tmp_path / "p.json"
    for document in (task, {"00aabbcc": task}, {"test": [{"output": grid, "input": grid}], "train": []}):
        for indent in (None, 2):
            text = json.dumps(document, indent=indent)
            for whole in (text, text[: len(text) * 9 // 10], f"{text}\n{text}"):
                path.write_text(whole)
                with pytest.raises(InputError, match=r"p\.json: holds ARC tasks, expected puzzles of sudoku-9x9"):
                    list(reading.read(str(path), PUZZLE))
    assert puzzles_of(path, json.dumps({"puzzles": [grid]}).encode()) == [LINE.replace(".", "0")]


@pytest.mark.parametrize("form", FORMS)
def test_lost_lines_give_no_other_puzzle(tmp_path: Path, form: str) -> None:
    """Any one line away, or two: what is read is what was written, and no mixture of two puzzles."""
    whole = FORMS[form](LINES).split("\n")
    rng = random.Random(0)
    pairs = list(itertools.combinations(range(len(whole)), 2))
    for lost in [*((n,) for n in range(len(whole))), *rng.sample(pairs, min(60, len(pairs)))]:
        kept = [line for number, line in enumerate(whole) if number not in lost]
        assert set(puzzles_of(tmp_path / "p", "\n".join(kept).encode())) <= WRITTEN, lost


@pytest.mark.parametrize("form", FORMS)
def test_a_cut_anywhere_gives_no_other_puzzle(tmp_path: Path, form: str) -> None:
    whole = FORMS[form](LINES).encode()
    for size in range(0, len(whole), max(1, len(whole) // 60)):
        assert set(puzzles_of(tmp_path / "p", whole[:size])) <= WRITTEN, size


@pytest.mark.parametrize("form", FORMS)
def test_spoiled_bytes(tmp_path: Path, form: str) -> None:
    """A byte that becomes another may be another given; more than that is not made of it."""
    whole = FORMS[form](LINES).encode()
    rng = random.Random(1)
    for _ in range(60):
        made = bytearray(whole)
        count = rng.randrange(1, 4)
        for _ in range(count):
            made[rng.randrange(len(made))] = rng.randrange(256)
        for text in puzzles_of(tmp_path / "p", bytes(made)):
            assert near(text, WRITTEN, count)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("forced", names())
def test_every_format_forced_on_every_file(tmp_path: Path, form: str, forced: str) -> None:
    found = puzzles_of(tmp_path / "p", FORMS[form](LINES).encode(), input_format=forced)
    assert set(found) <= WRITTEN


@pytest.mark.parametrize("forced", [None, *names()])
@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b"{" * 100_000,
        b'{"a":' * 10_000,
        b"<a>" * 1000,
        b"<?xml?><!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
        b"5" * 9_999,
        b"1," * 4_999,
        b'"' * 9_999,
        b"|" * 9_999,
        b"\n" * 100_000,
        b"\xff\xfe" + b"\x00" * 999,
        b"\xff\xfe\x00",
        b"\r" * 1000,
        b"9" * 5000 + b",1\n",
        b'{"puzzle": ' + b"9" * 5000 + b"}\n",
        b'{"puzzle": "\\ud800"}\n',
        b"[[" + b"1," * 3000 + b"1]]",
    ],
)
def test_what_is_no_puzzle_file(tmp_path: Path, content: bytes, forced: str | None) -> None:
    options = {"input_format": forced} if forced else {}
    assert puzzles_of(tmp_path / "p", content, **options) == []


@pytest.mark.parametrize("forced", ["code", "xml", "sadman"])
def test_what_is_read_as_a_whole_is_bounded(tmp_path: Path, forced: str) -> None:
    path = tmp_path / "p"
    with path.open("wb") as file:
        file.truncate(1 << 30)  # sparse
    with pytest.raises(InputError, match="is larger than 10 MiB"):
        list(reading.read(str(path), PUZZLE, input_format=forced))
