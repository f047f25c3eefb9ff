"""Reads ARC tasks from JSON as published: a file with one task, or the ARC Prize's challenges and solutions.

    {"train": [{"input": grid, "output": grid}, ...], "test": [{"input": grid}, ...]}     one task, named by its file
    {"00576224": the same, ...}                                                           challenges
    {"00576224": [grid, ...], ...}                                                        solutions of the test inputs

Each may be packed with gzip. A folder stands for its files. An output of null or [] is unknown. A grid is a
list of rows, a row a list of colours 0 to 9.
"""

from __future__ import annotations

import gzip
import io
import json
import logging
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from trm_deploy.errors import InputError, PuzzleError, shown
from trm_deploy.puzzles.arc import SIDE, Grid, grid_from, text_of, to_tokens
from trm_deploy.puzzles.other_files import refuse_other_kind
from trm_deploy.puzzles.reading import Question

log = logging.getLogger(__name__)

GZIP = b"\x1f\x8b"
# The ARC Prize's largest file has 4 MB; packed or not.
MAX_BYTES = 64 << 20
EXPECTED = 'expected {"train": [...], "test": [{"input": grid}, ...]}, or many such tasks by name'


@dataclass(frozen=True)
class Pair:
    """An example; the answer of a test input may be unknown."""

    input: Grid
    output: Grid | None


@dataclass(frozen=True)
class Task:
    """A task of ARC.

    Attributes:
        name: as in the identifier map.
        place: where it came from, for messages.
        train: the demonstrations, all with an output.
        test: the test inputs, at least one.
    """

    name: str
    place: str
    train: tuple[Pair, ...]
    test: tuple[Pair, ...]

    def side(self) -> int:
        """Of the smallest canvas that all its grids fit."""
        pairs = (*self.train, *self.test)
        grids = [grid for pair in pairs for grid in (pair.input, pair.output) if grid is not None]
        return max(int(side) for grid in grids for side in grid.shape)


Solutions = Mapping[str, Sequence[Grid | None]]


def read_tasks(names: Iterable[str]) -> list[Task]:
    """The tasks of files, folders, or standard input where a name is "-", in the order of the input, each once.

    Raises:
        InputError: a file cannot be read, is not an ARC task, or a task comes twice and differs.
    """
    tasks = []
    for item in each_task(names):
        if isinstance(item, InputError):
            raise item
        tasks.append(item)
    return tasks


def each_task(names: Iterable[str]) -> Iterator[Task | InputError]:
    """As `read_tasks`, with the complaint in the place of a task, or a file, that cannot be read.

    Raises:
        InputError: there is no such file, or a folder holds no task.
    """
    tasks: dict[str, Task] = {}
    for name in names:
        inside = name != "-" and _is_folder(name)
        for file in _files_of(name) if inside else [name]:
            for item in _tasks_of(file, inside=inside):
                if isinstance(item, InputError) or item.name not in tasks:
                    if isinstance(item, Task):
                        tasks[item.name] = item
                    yield item
                elif not _are_same(item, tasks[item.name]):
                    yield InputError(
                        f"{item.place}: is a second task of this name, and differs from the first,"
                        f" {tasks[item.name].place}",
                        hint="leave one of them out",
                    )


def _is_folder(name: str) -> bool:
    try:
        return Path(name).is_dir()
    except OSError:  # too long for a name
        return False


def _is_file(name: str) -> bool:
    try:
        return Path(name).exists()
    except OSError:
        return False


def _files_of(folder: str) -> list[str]:
    found = sorted(str(path) for path in Path(folder).rglob("*") if path.name.endswith((".json", ".json.gz")))
    if not found:
        raise InputError(f"{folder}: is a folder without .json or .json.gz files", hint="name one with ARC tasks")
    return found


def _are_same(one: Task, other: Task) -> bool:
    """Whether two tasks have the same grids; an output that is unknown in one of them may be anything."""
    if (len(one.train), len(one.test)) != (len(other.train), len(other.test)):
        return False
    return all(
        np.array_equal(a.input, b.input)
        and (a.output is None or b.output is None or np.array_equal(a.output, b.output))
        for a, b in zip((*one.train, *one.test), (*other.train, *other.test))
    )


def _tasks_of(name: str, *, inside: bool = False) -> Iterator[Task | InputError]:
    """The tasks of a file, and what is wrong with those that are none.

    Args:
        name: of the file.
        inside: whether it comes from a folder, in which solutions and submissions may be too.
    """
    try:
        document = _document(name)
    except InputError as error:
        if not inside and name != "-" and not _is_file(name):
            raise
        yield error
        return
    if inside and all(isinstance(value, list) for value in document.values()) and "test" not in document:
        log.info("%s: holds answers, and is passed over", name)
        return
    if "train" in document or "test" in document:
        if name == "-":
            yield InputError(
                "standard input: its task has no name, by which the model could know it",
                hint='name the file, or write {"name": task}',
            )
            return
        yield _task_or_error(document, Path(name).name.removesuffix(".gz").removesuffix(".json"), name)
        return
    for key, value in document.items():
        yield _task_or_error(value, key, f"{name} task {key}")


def _task_or_error(value: object, name: str, place: str) -> Task | InputError:
    try:
        return _task(value, name, place)
    except InputError as error:
        return error


def _task(value: object, name: str, place: str) -> Task:
    if not isinstance(value, dict):
        raise InputError(f"{place}: is a JSON {_kind(value)}, {EXPECTED}")
    train = _pairs(value, "train", place, answered=True)
    test = _pairs(value, "test", place, answered=False)
    if not test:
        raise InputError(f"{place}: has no test input, {EXPECTED}")
    return Task(name, place, train, test)


def _pairs(task: dict[str, Any], key: str, place: str, *, answered: bool) -> tuple[Pair, ...]:
    """The examples under a key; those whose output may be missing have None there."""
    values = task.get(key)
    if not isinstance(values, list):
        raise InputError(f"{place}: {key!r} is a JSON {_kind(values)}, {EXPECTED}")
    pairs = []
    for number, value in enumerate(values, start=1):
        at = f"{place} {key} example {number}"
        if not isinstance(value, dict) or "input" not in value or (answered and "output" not in value):
            wanted = '{"input": grid, "output": grid}' if answered else '{"input": grid}'
            raise InputError(f"{at}: is {shown(value)}, expected {wanted}")
        known = answered or value.get("output") not in (None, [])
        output = _grid(value["output"], f"{at} output") if known else None
        pairs.append(Pair(_grid(value["input"], f"{at} input"), output))
    return tuple(pairs)


def _grid(rows: object, place: str) -> Grid:
    try:
        return grid_from(rows)
    except PuzzleError as error:
        raise InputError(f"{place}: {error}", hint="mend the grid, or leave out its task") from error


def read_solutions(names: Iterable[str]) -> Solutions:
    """The outputs of the test inputs of each task, from solutions files.

    Raises:
        InputError: a file cannot be read or is not a solutions file.
    """
    solutions: dict[str, list[Grid | None]] = {}
    for name in names:
        for task, grids in _document(name).items():
            if not isinstance(grids, list) or not grids:
                raise InputError(
                    f"{name} task {task}: is a JSON {_kind(grids)}, expected a list of grids, one a test input"
                )
            solutions[task] = [
                None if rows in (None, []) else _grid(rows, f"{name} task {task} solution {number}")
                for number, rows in enumerate(grids, start=1)
            ]
    return solutions


def with_solutions(task: Task, solutions: Solutions) -> Task:
    """The task with the outputs of its test inputs, where the solutions have them.

    Raises:
        InputError: there are more or fewer of them than test inputs.
    """
    if task.name not in solutions:
        return task
    outputs = solutions[task.name]
    if len(outputs) != len(task.test):
        raise InputError(
            f"{task.place}: has {len(task.test)} test inputs and {len(outputs)} solutions",
            hint="give the solutions file that belongs to it",
        )
    known = [pair.output if output is None else output for pair, output in zip(task.test, outputs)]
    test = tuple(Pair(pair.input, output) for pair, output in zip(task.test, known))
    return replace(task, test=test)


def fault(task: Task, side: int) -> InputError | None:
    """What is wrong with a task whose test inputs do not all fit a canvas of `side` x `side` cells."""
    for number, pair in enumerate(task.test, start=1):
        rows, columns = pair.input.shape
        if max(rows, columns) > side:
            return InputError(
                f"{task.place} test input {number}: has {rows} x {columns} cells, expected at most {side} x {side},"
                " the canvas of the model",
                hint="solve it with a model of a larger canvas",
            )
    return None


def questions(name: str, side: int = SIDE) -> Iterator[Question]:
    """The test inputs of a file's tasks, for whoever needs tokens alone; on a canvas of `side` x `side` cells.

    Raises:
        InputError: see `read_tasks`.
    """
    for task in each_task([name]):
        wrong = task if isinstance(task, InputError) else fault(task, side)
        if wrong is not None or isinstance(task, InputError):
            yield Question(name, "", None, str(wrong))
            continue
        for number, pair in enumerate(task.test, start=1):
            yield Question(f"{task.place} test input {number}", text_of(pair.input), to_tokens(pair.input, side))


def _document(name: str) -> dict[str, Any]:
    """The JSON object in a file."""
    place = "standard input" if name == "-" else name
    try:
        if name == "-":
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise InputError(f"{place}: there is no such file", hint="name a JSON file with ARC tasks") from error
    except OSError as error:
        raise InputError(
            f"{place[:80]}: cannot be read ({error.strerror})", hint="name a JSON file with ARC tasks"
        ) from error
    if data.startswith(GZIP):
        data = _unpacked(data, place)
    if len(data) > MAX_BYTES:
        raise InputError(f"{place}: is larger than {MAX_BYTES >> 20} MiB, {EXPECTED}")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        refuse_other_kind(place, data)
        raise InputError(f"{place}: is not valid JSON ({error}), {EXPECTED}") from error
    if not isinstance(document, dict) or not document:
        raise InputError(f"{place}: is a JSON {_kind(document)}, {EXPECTED}")
    for key in document:
        if not key.isprintable():
            raise InputError(f"{place}: the task {shown(key)} has no printable name, {EXPECTED}")
    return document


def _unpacked(data: bytes, place: str) -> bytes:
    """What gzip holds, as far as one byte beyond the limit."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{place}: is damaged: it begins as gzip does and cannot be unpacked ({error})") from error


def _kind(value: object) -> str:
    """How JSON calls what Python made of it."""
    kinds = {dict: "object", list: "list", str: "string", int: "number", float: "number", bool: "true or false"}
    kind = kinds.get(type(value), "null")
    return f"{kind} that is empty" if kind in ("object", "list") and not value else kind
