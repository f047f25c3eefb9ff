"""What is read at once, because it looks like what came before, is what is read line by line."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.puzzles.text.writers import LINE, crossed, grid, rows
from trm_deploy.puzzles import reading
from trm_deploy.puzzles.sudoku import Sudoku
from trm_deploy.puzzles.text import alike, code

PUZZLE = Sudoku()
OTHER = "8..........36......7..9.2...5...7.......457.....1...3...1....68..85...1..9....4.."
LINES = (LINE, OTHER, OTHER[::-1])
# Lines that may stand among them, one for each thing that a line can be.
STRAY = (
    "",
    "  ",
    "Grid 7",
    "Solution:",
    "# a",
    "---",
    "=====",
    "123456789",
    ".........",
    LINE,
    "|   |   |   |",
    "[[",
    "]",
    "x",
)


def boards(line: str) -> str:
    return "[" + ",\n ".join(f"[{', '.join(row.replace('.', '0'))}]" for row in rows(line)) + "]"


FORMS: dict[str, Callable[[str], str]] = {
    "rows": grid,
    "a frame": lambda line: crossed(line, "-", "+", "|"),
    "spaces for blanks": lambda line: crossed(line, "-", "+", "|").replace(".", " "),
    "titles": lambda line: f"Grid 3\n{grid(line)}",
    "lists": boards,
    "named lists": lambda line: f"board = {boards(line)}",
}


def files(form: str, seed: int) -> Iterator[str]:
    """Files with several puzzles, each with up to three lines that are changed, missing, doubled or strange."""
    draw = random.Random(f"{form} {seed}")
    for _ in range(60):
        text = "\n\n".join(FORMS[form](draw.choice(LINES)) for _ in range(draw.randint(2, 4)))
        lines = text.split("\n")
        for _ in range(draw.randint(0, 3)):
            place = draw.randrange(len(lines))
            line = lines[place]
            what = draw.randrange(4)
            if what == 0:
                lines[place : place + 1] = []
            elif what == 1:
                lines[place:place] = [draw.choice(STRAY)]
            elif what == 2:
                lines[place] = draw.choice(STRAY)
            elif line:
                at = draw.randrange(len(line))
                lines[place] = line[:at] + draw.choice(["", *"0123456789. -|[],#"]) + line[at + 1 :]
        yield "\n".join(lines) or "x"


def read(path: Path) -> list[object]:
    try:
        found = reading.read(str(path), PUZZLE)
        return [(q.place, q.text, None if q.tokens is None else q.tokens.tolist(), q.error, q.line) for q in found]
    except reading.OtherSize as error:
        return [str(error)]


@pytest.mark.parametrize("form", FORMS)
def test_it_makes_no_difference(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.txt"
    quick = []
    for text in files(form, 0):
        path.write_text(text)
        quick.append(read(path))
    monkeypatch.setattr(alike, "look_of", lambda *_: None)
    monkeypatch.setattr(code, "_with_boards", lambda *_: code.BRACKETS)
    for text, expected in zip(files(form, 0), quick):
        path.write_text(text)
        assert read(path) == expected, text


@pytest.mark.parametrize("form", ["rows", "a frame", "spaces for blanks"])
def test_it_is_taken(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Grids that follow each other are not looked at line by line, but for the first."""
    looked: list[object] = []
    really = alike.look_of

    def look_of(*given: Any) -> Any:
        looked.append(given)
        return really(*given)

    monkeypatch.setattr(alike, "look_of", look_of)
    path = tmp_path / "p.txt"
    path.write_text("\n\n".join(FORMS[form](LINE) for _ in range(20)))
    assert [entry[1:3] for entry in read(path)] == 20 * [(read(path)[0])[1:3]]  # type: ignore[index]
    assert len(looked) == 2, "once in each of two readings"
