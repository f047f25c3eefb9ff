"""How fast puzzle files are read, a format each, beside each other in one run.

    python tools/reading_speed.py [--puzzles 20000] [--rounds 5] [--json]

The same random puzzles in every format; the formats take turns, and the median of the rounds counts.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from trm_deploy import puzzles
from trm_deploy.puzzles.sudoku import Sudoku

RULE = "+-------+-------+-------+"


def made(count: int) -> list[str]:
    """Symmetric forms of the puzzles that come with the package, `.` for a blank."""
    puzzle = Sudoku()
    examples = puzzle.examples()
    rng = np.random.default_rng(0)
    chosen = examples[rng.integers(0, len(examples), count)]
    tokens = puzzle.symmetries(count, rng).apply(chosen)
    return ["".join("." if token == 1 else str(token - 1) for token in row) for row in tokens.tolist()]


def rows(line: str) -> list[str]:
    """The rows of a puzzle."""
    return [line[start : start + 9] for start in range(0, 81, 9)]


def framed(line: str, blank: str = ".") -> str:
    """A grid in a frame."""
    parts = [
        "| " + " | ".join(" ".join(row[start : start + 3]) for start in (0, 3, 6)).replace(".", blank) + " |"
        for row in rows(line)
    ]
    return "\n".join([RULE, *parts[:3], RULE, *parts[3:6], RULE, *parts[6:], RULE])


def board(line: str) -> list[list[int]]:
    """Numbers, 0 for a blank."""
    return [[int(cell) for cell in row] for row in rows(line.replace(".", "0"))]


def versioned(line: str) -> str:
    """A game as OpenSudoku saves it."""
    return "version: 2&#10;" + "".join(f"{cell}|0|{int(cell == '0')}|" for cell in line.replace(".", "0"))


WRITERS: dict[str, Callable[[Sequence[str]], str]] = {
    "lines": "\n".join,
    "lines with a rating": lambda lines: "\n".join(f"{line} 7.2 a name" for line in lines),
    "rows": lambda lines: "\n\n".join("\n".join(rows(line)) for line in lines),
    "rows, a title each": lambda lines: "\n".join(f"Grid {n}\n" + "\n".join(rows(x)) for n, x in enumerate(lines)),
    "grids in frames": lambda lines: "\n\n".join(map(framed, lines)),
    "frames, spaces for blanks": lambda lines: "\n\n".join(framed(line, " ") for line in lines),
    "CSV": lambda lines: "quizzes,solutions\n" + "\n".join(f"{line},{'1' * 81}" for line in lines),
    "CSV, a cell a column": lambda lines: "\n\n".join("\n".join(",".join(r) for r in rows(x)) for x in lines),
    "CSV, 81 columns": lambda lines: "\n".join(",".join(line) for line in lines),
    "JSON Lines": lambda lines: "\n".join(json.dumps({"puzzle": line}) for line in lines),
    "JSON": lambda lines: json.dumps([board(line) for line in lines]),
    "Python lists": lambda lines: "\n".join(f"board{n} = {board(line)}" for n, line in enumerate(lines)),
    "NumPy": lambda lines: "\n\n".join(str(np.array(board(line))) for line in lines),
    "sections": lambda lines: "\n".join("[Puzzle]\n" + "\n".join(rows(line)) for line in lines),
    "OpenSudoku": lambda lines: "<opensudoku>" + "\n".join(f'<game data="{x}"/>' for x in lines) + "</opensudoku>",
    "OpenSudoku, games in progress": lambda lines: (
        "<opensudoku>" + "\n".join(f'<game data="{versioned(x)}"/>' for x in lines) + "</opensudoku>"
    ),
}
# A document that is read as a whole is bounded, so that these hold fewer puzzles.
LARGE = {"OpenSudoku, games in progress": 4}


def main(
    count: Annotated[int, typer.Option("--puzzles", min=1)] = 20_000,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Print puzzles a second of each format, and their share of that of plain lines."""
    puzzle = Sudoku()
    lines = made(count)
    seconds: dict[str, list[float]] = {name: [] for name in WRITERS}
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, write) in enumerate(WRITERS.items()):
            (Path(folder) / str(number)).write_text(write(lines[: count // LARGE.get(name, 1)]))
        for _ in range(rounds):
            for number, name in enumerate(WRITERS):
                started = time.process_time()
                found = sum(q.tokens is not None for q in puzzles.questions(str(Path(folder) / str(number)), puzzle))
                seconds[name].append((time.process_time() - started) / max(found, 1))
                expected = count // LARGE.get(name, 1)
                assert found == expected, f"{name}: {found} of {expected}"
    rates = {name: 1 / statistics.median(found) for name, found in seconds.items()}
    if as_json:
        print(json.dumps({"puzzles": count, "rounds": rounds, "puzzles_a_second": rates}, indent=1))
        return
    for name, rate in rates.items():
        print(f"{name:32} {rate:10,.0f} puzzles a second   {rate / rates['lines']:6.2f}")


if __name__ == "__main__":
    typer.run(main)
