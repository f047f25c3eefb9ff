"""Boards as JSON values: nested lists, lists of strings, strings; of numbers or characters."""

from __future__ import annotations

import itertools
from typing import Any

from trm_deploy.puzzles.base import TextPuzzle
from trm_deploy.puzzles.text.shapes import BARS


def board_text(value: object, puzzle: TextPuzzle) -> str | None:
    """The cells of a board; a puzzle's own text, or a number, as it is; None where a value is neither.

    Raises:
        Nothing: a board with wrong cells comes as text in which they can be complained about.
    """
    if isinstance(value, str):
        if "\n" in value and not puzzle.form.spaces_are_cells:
            return "".join(value.split()) if not any(bar in value for bar in BARS) else _tight(value)
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, list):
        return None
    return _of_list(value, puzzle)


def _tight(value: str) -> str:
    return "".join(c for c in value if not c.isspace() and c not in BARS)


def _of_list(value: list[object], puzzle: TextPuzzle) -> str | None:
    rows, columns = puzzle.form.rows, puzzle.form.columns
    if not puzzle.form.spaces_are_cells and (numbers := _of_numbers(value, rows, columns)) is not None:
        return numbers
    cells = _cells(puzzle)
    if len(value) == puzzle.cells and puzzle.cells != rows:
        return _joined(value, cells)
    if len(value) != rows:
        return None
    parts = []
    for row in value:
        if isinstance(row, list):
            text = _joined(row, cells) if len(row) == columns else _nested(row, columns, cells)
        elif isinstance(row, str):
            text = row if len(row) == columns else _tight(row)
        else:
            return None
        if text is None or len(text) != columns:
            return None
        parts.append(text)
    return "".join(parts)


_DIGITS = {columns: bytes(range(columns + 1)) for columns in range(1, 10)}
_TO_DIGITS = bytes(b"0123456789"[number % 10] for number in range(256))


def _of_numbers(value: list[Any], rows: int, columns: int) -> str | None:
    """The cells of a list of lists of whole numbers, the common case; None where it is anything else."""
    try:
        if list(map(len, value)) != [columns] * rows:
            return None
        flat = bytes(itertools.chain.from_iterable(value))
    except (TypeError, ValueError):
        return None
    return flat.translate(_TO_DIGITS).decode() if not flat.translate(None, _DIGITS[columns]) else None


def _nested(row: list[object], columns: int, cells: dict[object, str]) -> str | None:
    """A row in parts, one a box."""
    flat = [cell for part in row if isinstance(part, list) for cell in part]
    return _joined(flat, cells) if len(flat) == columns and all(isinstance(part, list) for part in row) else None


def _joined(row: list[object], cells: dict[object, str]) -> str | None:
    try:
        return "".join([cells[cell] for cell in row])
    except (KeyError, TypeError):
        return None


_CELLS: dict[str, dict[object, str]] = {}


def _cells(puzzle: TextPuzzle) -> dict[object, str]:
    """What may be in a cell of a list, and its character."""
    if puzzle.name not in _CELLS:
        _CELLS[puzzle.name] = _made_cells(puzzle)
    return _CELLS[puzzle.name]


def _made_cells(puzzle: TextPuzzle) -> dict[object, str]:
    made: dict[object, str] = {None: " ", "": " "}
    if puzzle.form.spaces_are_cells:
        return {**made, **{character: character for character in (*puzzle.vocabulary[1:], ".")}}
    made |= {character: character for character in puzzle.form.blanks}
    made |= {digit: digit for digit in puzzle.vocabulary[2:]}
    made |= {int(digit): digit for digit in puzzle.vocabulary[2:]}
    return {**made, 0: "0", **{f"{digit}.0": digit for digit in puzzle.vocabulary[2:]}}
