"""Which of several tasks the puzzles of a file, of standard input or of an argument are of, before any is read."""

from __future__ import annotations

import contextlib
import itertools
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trm_deploy.errors import InputError
from trm_deploy.puzzles import arc_tasks, reading
from trm_deploy.puzzles.arc import Arc
from trm_deploy.puzzles.base import Puzzle, TextPuzzle
from trm_deploy.puzzles.maze import CHARACTERS, OPEN_TOO, Maze
from trm_deploy.puzzles.reading import Question
from trm_deploy.puzzles.sudoku import Sudoku
from trm_deploy.support.files import is_regular_file

# Puzzles of a file that are tried: the first of them may be malformed.
TRIED = 8
# Characters of a file in which a maze is looked for.
HEAD = 1 << 16
MAZE = frozenset(CHARACTERS + OPEN_TOO)
# Of a task as the ARC Prize publishes it, alone or by its name.
ARC_TASK = re.compile(r'\{\s*("[^"]*"\s*:\s*\{\s*)?"(train|test)"\s*:\s*\[')
OF_SIZE = re.compile(r"looks like (\d+) x (\d+)")

Kind = Literal["sudoku", "maze", "arc"]


@dataclass(frozen=True)
class Recognized:
    """What puzzles there are.

    Attributes:
        task: that of the tasks in question which they are of; None where they are of none.
        kind: of puzzle; None where it cannot be told.
        rows, columns: of a puzzle, or of the canvas that ARC's grids need; 0 where they cannot be told.
        cells: of a maze in one line, whose sides cannot be told; else 0.
    """

    task: Puzzle | None
    kind: Kind | None = None
    rows: int = 0
    columns: int = 0
    cells: int = 0

    def to_text(self) -> str:
        """In words."""
        if self.kind == "arc":
            return f"an ARC task with grids of up to {self.rows} x {self.columns}" if self.rows else "an ARC task"
        size = f"of {self.rows} x {self.columns}" if self.rows else f"of {self.cells} cells in one line"
        return f"a {'Sudoku' if self.kind == 'sudoku' else 'maze'} {size}"


NOTHING = Recognized(None)


def recognize(
    name: str, tasks: Sequence[Puzzle], *, input_format: str | None = None, column: str | None = None
) -> Recognized:
    """The task that puzzles are of, and else what they are.

    Args:
        name: of a file; "-" for standard input, of which nothing is taken away; or a puzzle itself. Of what can be
            read once only, such as a named pipe, nothing can be told.
        tasks: in question; of several that fit the first is taken.
        input_format, column: see `trm_deploy.puzzles.text.read`.
    """
    opened = _opened(name)
    if opened is None:
        return NOTHING
    text = [task for task in tasks if isinstance(task, TextPuzzle)]
    found = {task.name: _first(opened, task, input_format, column) for task in text}
    for task in text:
        questions, _ = found[task.name]
        if any(question.tokens is not None for question in questions) and not _has_rows_over(opened, task):
            return Recognized(task)
    canvases = [task for task in tasks if isinstance(task, Arc)]
    for recognized in (_arc(opened, canvases), _maze(opened, text, input_format, column)):
        if recognized is not NOTHING:
            return recognized
    for _, other_size in found.values():
        if other_size is not None and (match := OF_SIZE.search(str(other_size))):
            rows, columns = int(match[1]), int(match[2])
            sudokus = [task for task in text if isinstance(task, Sudoku)]
            same = [task for task in sudokus if (task.form.rows, task.form.columns) == (rows, columns)]  # malformed
            return Recognized(same[0] if same else None, "sudoku", rows, columns)
    return _typed_row(opened, text)


@dataclass(frozen=True)
class _Opened:
    """What can be looked at.

    Attributes:
        name: of the file.
        is_file: whether it can be read as often as is needed.
        text: its beginning; that of an argument as a whole.
    """

    name: str
    is_file: bool
    text: str

    @property
    def is_whole(self) -> bool:
        """Whether the text is all that there is."""
        return self.name != "-" and len(self.text) < HEAD

    def questions(self, task: TextPuzzle, input_format: str | None, column: str | None) -> Iterator[Question]:
        if self.is_file:
            return reading.read(self.name, task, input_format=input_format, column=column)
        return reading.read_bytes(
            self.text.encode("utf-8", "replace"), self.name, task, input_format=input_format, column=column
        )


def _opened(name: str) -> _Opened | None:
    if name == "-":
        peek = getattr(getattr(sys.stdin, "buffer", None), "peek", None)
        return None if peek is None else _Opened(name, False, peek().decode("utf-8", "replace"))
    if is_regular_file(name):
        try:
            with Path(name).open("rb") as file:
                return _Opened(name, True, file.read(HEAD).decode("utf-8", "replace"))
        except OSError:
            return None
    try:
        if Path(name).exists():
            return _Opened(name, True, "") if Path(name).is_dir() else None
    except OSError:  # too long for a file's name
        pass
    return _Opened(name, False, name)


def _first(
    opened: _Opened, task: TextPuzzle, input_format: str | None, column: str | None
) -> tuple[list[Question], reading.OtherSize | None]:
    """The first puzzles, read as those of a task; or the complaint that they are of another size."""
    found: list[Question] = []
    try:
        found.extend(itertools.islice(opened.questions(task, input_format, column), TRIED))
    except reading.OtherSize as error:
        return found, error
    except (InputError, OSError):
        pass
    return found, None


def _arc(opened: _Opened, canvases: Sequence[Arc]) -> Recognized:
    """Tasks of ARC, with the smallest canvas that they fit."""
    side = 0
    if opened.is_file:
        if opened.text and not opened.text.lstrip("\ufeff \t\r\n").startswith(("{", "\x1f")):
            return NOTHING
        with contextlib.suppress(InputError, OSError):
            sides = [item.side() for item in arc_tasks.each_task([opened.name]) if isinstance(item, arc_tasks.Task)]
            side = max(sides, default=0)
        if not side:
            return NOTHING
    elif not ARC_TASK.match(opened.text.lstrip("\ufeff \t\r\n")):
        return NOTHING
    fitting = sorted((task for task in canvases if task.side >= side), key=lambda task: task.side)
    return Recognized(fitting[0] if fitting else None, "arc", side, side)


def _maze(opened: _Opened, tasks: Iterable[TextPuzzle], input_format: str | None, column: str | None) -> Recognized:
    """A maze: of another size than those of the tasks, or of one of theirs and malformed."""
    mazes = [task for task in tasks if isinstance(task, Maze)]
    rows, columns = _grid(opened.text)
    if rows:
        same = [maze for maze in mazes if maze.columns == columns and (maze.rows == rows or not opened.is_whole)]
        return Recognized(same[0] if same else None, "maze", rows, columns)
    reader = mazes[0] if mazes else Maze(2, 2)
    for question in _first(opened, reader, input_format, column)[0]:
        cells = question.text.strip("\r\n")
        if {"S", "G"} <= set(cells) <= MAZE:
            same = [maze for maze in mazes if maze.cells == len(cells)]
            return Recognized(same[0] if same else None, "maze", cells=len(cells))
    return NOTHING


def _has_rows_over(opened: _Opened, task: TextPuzzle) -> bool:
    """Whether a grid begins like a maze of a task, and goes on: it is a larger one."""
    rows, columns = _grid(opened.text) if opened.is_whole and isinstance(task, Maze) else (0, 0)
    return columns == task.form.columns and rows % task.form.rows > 0


def _grid(text: str) -> tuple[int, int]:
    """Rows and columns of the lines up to a blank one, where they are the rows of a maze, or of several; else 0, 0.

    Spaces are a row where they are as wide as the first.
    """
    lines = itertools.dropwhile(lambda line: not line, (line.rstrip("\r") for line in text.split("\n")))
    block: list[str] = []
    for line in lines:
        if not line.strip() and block and len(line) != len(block[0]):
            break
        block.append(line)
    ends = sum(line.count(end) for line in block for end in "SG")
    are_mazes = all("S" in line and "G" in line for line in block)  # each of them one
    if len(block) < 2 or not ends or are_mazes or not all(set(line) <= MAZE for line in block):
        return 0, 0
    return len(block), max(map(len, block))


def _typed_row(opened: _Opened, tasks: Iterable[TextPuzzle]) -> Recognized:
    """The first row of a grid that is being typed: its width and its characters tell the task."""
    if opened.is_file or "\n" not in opened.text:
        return NOTHING
    row = opened.text.strip("\r\n").split("\n")[0].rstrip("\r")
    for task in tasks:
        of_maze = set(row) <= MAZE and "#" in row
        if len(row) == task.form.columns and (of_maze == isinstance(task, Maze)):
            return Recognized(task)
    return NOTHING
