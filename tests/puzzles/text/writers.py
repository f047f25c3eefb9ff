"""Writes puzzles as people, programs and spreadsheets do, to try the readers on."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np

from trm_deploy.puzzles.sudoku import Sudoku

PUZZLE = Sudoku()
LINE = "..2.7.4..4...6...3.9.....2...1.2.7...7.....8...8.3.5...5.....9.9...4...2..6.9.1.."


def rows(line: str) -> list[str]:
    side = round(len(line) ** 0.5)
    return [line[start : start + side] for start in range(0, len(line), side)]


def boxes(line: str) -> tuple[int, int]:
    """Rows and columns of a box."""
    return {16: (2, 2), 36: (2, 3), 81: (3, 3)}[len(line)]


def grid(line: str, *, space: str = "", bar: str = "", rule: str = "", outer: bool = True) -> str:
    """Rows with something between cells, between boxes, and between bands; inside of outer lines or not."""
    band, wide = boxes(line)
    made: list[str] = []
    for number, row in enumerate(rows(line)):
        if rule and number % band == 0 and (number or outer):
            made.append(rule)
        parts = [space.join(row[start : start + wide]) for start in range(0, len(row), wide)]
        text = f"{space}{bar}{space}".join(parts)
        made.append(f"{bar}{space}{text}{space}{bar}" if outer and bar else text)
    return "\n".join([*made, rule] if rule and outer else made)


def crossed(line: str, horizontal: str, corner: str, bar: str) -> str:
    """A frame with spaces between cells."""
    _, wide = boxes(line)
    count = len(rows(line)) // wide
    rule = corner + corner.join([horizontal * (2 * wide + 1)] * count) + corner
    return grid(line, space=" ", bar=bar, rule=rule)


def cell_frames(line: str) -> str:
    """A frame around each cell."""
    side = len(rows(line))
    rule = "├" + "┼".join(["───"] * side) + "┤"
    made = [rule]
    for row in rows(line):
        made += ["│" + "│".join(f" {cell} " for cell in row) + "│", rule]
    return "\n".join(made)


def numbers(line: str) -> list[list[int]]:
    return [[0 if cell == "." else int(cell) for cell in row] for row in rows(line)]


def labelled(line: str) -> str:
    head = "  " + " ".join("123456789"[: len(rows(line))])
    return "\n".join([head, *(f"{'ABCDEFGHI'[n]} {' '.join(row)}" for n, row in enumerate(rows(line)))])


def table(line: str) -> str:
    """As pandas prints a frame of numbers."""
    side = len(rows(line))
    head = "   " + "  ".join(map(str, range(side)))
    return "\n".join([head, *(f"{n}  " + "  ".join(map(str, row)) for n, row in enumerate(numbers(line)))])


def cells(line: str, separator: str = ",", blank: str = "") -> str:
    return "\n".join(separator.join(row).replace(".", blank) for row in rows(line))


# How a grid is written in which "." may be replaced by another blank; with the blanks that it may be.
ANY, FRAMED, NO_RULES = ".0_-*Xx?", ".0_-*Xx? ", ".0Xx?"
Grid = Callable[[str], str]
GRIDS: dict[str, tuple[Grid, str]] = {
    "rows": (grid, NO_RULES),
    "rows apart": (lambda line: grid(line, space=" "), NO_RULES),
    "bars": (lambda line: grid(line, space=" ", bar="|", outer=False), FRAMED),
    "bars and a rule": (lambda line: grid(line, bar="|", rule="---+---+---", outer=False), ".0X?"),
    "a frame": (lambda line: crossed(line, "-", "+", "|"), FRAMED),
    "dots and quotes": (lambda line: crossed(line, "-", ".", "|"), FRAMED),
    "equals signs": (lambda line: crossed(line, "=", "+", "|"), FRAMED),
    "thin box drawing": (lambda line: crossed(line, "─", "┼", "│"), FRAMED),
    "double box drawing": (lambda line: crossed(line, "═", "╬", "║"), FRAMED),
    "heavy box drawing": (lambda line: crossed(line, "━", "╋", "┃"), FRAMED),
    "a frame a cell": (cell_frames, FRAMED),
    "tight, stars": (lambda line: grid(line, bar="|", rule="*-----------*"), ".0X?"),
    "exclamation marks": (lambda line: grid(line, space=" ", bar="!", rule="-" * 25), ".0Xx?"),
    "letters and numbers": (labelled, ".0"),
    "Markdown": (
        lambda line: "\n".join("|" + "|".join(f" {cell} " for cell in row) + "|" for row in rows(line)),
        FRAMED,
    ),
}

# Whole files with these puzzles, blanks as ".".
Writer = Callable[[Sequence[str]], str]
SOLVED = "1" * 81
FILES: dict[str, Writer] = {
    "lines": "\n".join,
    "rated": lambda lines: "\n".join(f"{line}  {n}.5  a name" for n, line in enumerate(lines)),
    "numbered": lambda lines: "\n".join(f"{n}. {line}" for n, line in enumerate(lines, start=1)),
    "behind a hash": lambda lines: "\n".join(f"00a1{n:08x} {line}  1.2" for n, line in enumerate(lines)),
    "semicolons": lambda lines: "\n".join(f"{line};{n};easy" for n, line in enumerate(lines)),
    "groups": lambda lines: "\n".join(" ".join(rows(line)) for line in lines),
    "a cell apart": lambda lines: "\n".join(" ".join(line) for line in lines),
    "slashes": lambda lines: "\n".join("/".join(rows(line)) for line in lines),
    "quoted": lambda lines: "\n".join(f'"{line}",' for line in lines),
    "addresses": lambda lines: "\n".join(f"https://example.org/solver?bd={line}&x=1" for line in lines),
    "CSV": lambda lines: "quizzes,solutions\n" + "\n".join(f"{line},{'1' * len(line)}" for line in lines),
    "CSV, semicolons": lambda lines: "id;unsolved\n" + "\n".join(f"{n};{line}" for n, line in enumerate(lines)),
    "CSV, tabs": lambda lines: "Sudoku\tlevel\n" + "\n".join(f"{line}\t{n}" for n, line in enumerate(lines)),
    "CSV of no usual name": lambda lines: "n,foo,bar\n" + "\n".join(f"{n},{x},b" for n, x in enumerate(lines)),
    "CSV, quoted": lambda lines: '"puzzle","note"\n' + "\n".join(f'"{line}","a, ""b"""' for line in lines),
    "cells": lambda lines: "\n\n".join(map(cells, lines)),
    "cells, zeros, semicolons": lambda lines: "\n\n".join(cells(line, ";", "0") for line in lines),
    "cells, tabs": lambda lines: "\n\n".join(cells(line, "\t", "") for line in lines),
    "a puzzle's cells a line": lambda lines: "\n".join(",".join(line.replace(".", "0")) for line in lines),
    "with a header": lambda lines: (
        ",".join(f"c{n}" for n in range(len(lines[0])))
        + "\n"
        + "\n".join(",".join(line).replace(".", "") for line in lines)
    ),
    "JSON Lines": lambda lines: "\n".join(json.dumps({"id": n, "question": x}) for n, x in enumerate(lines)),
    "JSON Lines of boards": lambda lines: "\n".join(json.dumps({"board": numbers(line)}) for line in lines),
    "JSON strings": lambda lines: json.dumps(list(lines)),
    "JSON objects": lambda lines: json.dumps([{"quiz": x, "solution": "1" * len(x)} for x in lines], indent=1),
    "JSON boards": lambda lines: json.dumps([numbers(line) for line in lines]),
    "JSON characters": lambda lines: json.dumps([[list(row) for row in rows(line)] for line in lines]),
    "Python": lambda lines: "\n".join(f"board{n} = {numbers(line)}" for n, line in enumerate(lines)),
    "Python, None": lambda lines: "\n".join(
        f"b{n} = {[[cell or None for cell in row] for row in numbers(line)]}" for n, line in enumerate(lines)
    ),
    "Python strings": lambda lines: "puzzles = [\n" + "".join(f"    '{line}',\n" for line in lines) + "]\n",
    "Java": lambda lines: "\n".join(
        "int[][] b = {" + ", ".join("{" + ", ".join(map(str, row)) + "}" for row in numbers(line)) + "};"
        for line in lines
    ),
    "NumPy": lambda lines: "\n\n".join(str(np.array(numbers(line))) for line in lines),
    "NumPy, repr": lambda lines: "\n".join(repr(np.array(numbers(line))) for line in lines),
    "NumPy, floats": lambda lines: "\n".join(str(np.array(numbers(line), float)) for line in lines),
    "NumPy, characters": lambda lines: "\n".join(str(np.array([list(row) for row in rows(x)])) for x in lines),
    "pandas": lambda lines: "\n\n".join(map(table, lines)),
    "Project Euler": lambda lines: "\n".join(f"Grid {n:02}\n" + grid(x).replace(".", "0") for n, x in enumerate(lines)),
    "SadMan": lambda lines: "".join(
        f"#A me\n[Puzzle]\n{grid(x)}\n[State]\n{grid(x.replace('.', '1'))}\n[PencilMarks]\n,12,\n" for x in lines
    ),
    "OpenSudoku": lambda lines: (
        '<?xml version="1.0" encoding="UTF-8"?>\n<opensudoku>\n'
        + "\n".join(f'  <game data="{line.replace(".", "0")}"/>' for line in lines)
        + "\n</opensudoku>\n"
    ),
    "OpenSudoku, in progress": lambda lines: (
        '<opensudoku version="2"><name>a &amp; b</name>'
        + "".join(
            '<game data="version: 2&#10;'
            + "".join(f"{n % 4 + 1 if c == '.' else c}|0|{int(c == '.')}|" for n, c in enumerate(line))
            + '"/>'
            for line in lines
        )
        + "</opensudoku>"
    ),
}
