"""Mazes one a line, and grids of them: spaces are cells, so that nothing but blank lines is left to part grids."""

from __future__ import annotations

from collections.abc import Iterator

from trm_deploy.puzzles.text.question import Position, Question, Reading, at, listed
from trm_deploy.puzzles.text.source import Line, Source


def read(source: Source, reading: Reading) -> Iterator[Question]:
    """One puzzle a line, or a grid: lines with as many cells as a row are collected until they make a puzzle."""
    form, puzzle, name = reading.puzzle.form, reading.puzzle, reading.name
    text = ""
    positions: list[Position] = []  # of each character of text
    broken = False  # what follows may be the rest of a grid that was complained about
    for number, line in _content(source.lines(), reading):
        place = f"{name} line {number}"
        if form.is_blank(line):
            if text:
                yield _cut_short(text, positions[0], reading)
                text, positions = "", []
            broken = False
            continue
        if broken and len(line) != puzzle.cells:
            continue
        broken = False
        if len(line) == form.columns:
            text += line
            positions += [(number, column) for column in range(1, len(line) + 1)]
            if len(text) == puzzle.cells:
                yield reading.question(
                    text, listed(positions), f"{name} lines {positions[0][0]}-{number}", positions[0][0]
                )
                text, positions = "", []
            continue
        broken = len(line) != puzzle.cells  # the next puzzle begins behind a blank line
        if text:
            row = len(text) // form.columns + 1
            error = f"row {row} of a grid has {len(line)} cells, expected {form.columns}{reading.lost_spaces}"
            yield reading.fault(place, text + line.strip(), error, positions[0][0])
            text, positions = "", []
            if broken:
                continue
        yield reading.question(line, at(number, 1), place, number)
    if text:
        yield _cut_short(text, positions[0], reading)


def _content(lines: Iterator[Line], reading: Reading) -> Iterator[Line]:
    begun = False
    for number, line in lines:
        begun = begun or not reading.puzzle.form.is_blank(line)
        if begun:
            yield number, line


def _cut_short(text: str, position: Position, reading: Reading) -> Question:
    form = reading.puzzle.form
    rows = len(text) // form.columns
    error = f"the grid ends after {rows} rows, expected {form.rows}{reading.lost_spaces}"
    return reading.fault(f"{reading.name} line {position[0]}", text, error, position[0])
