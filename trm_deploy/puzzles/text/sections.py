"""SadMan's files and their like: sections in brackets, of which only the puzzle is a question."""

from __future__ import annotations

import re
from collections.abc import Iterator

from trm_deploy.errors import InputError
from trm_deploy.puzzles.text.lines import content, read_mixed
from trm_deploy.puzzles.text.question import Question, Reading
from trm_deploy.puzzles.text.source import Source, of_text

HEADER = re.compile(r"\s*\[\s*(?P<name>[A-Za-z][\w ]*?)\s*\]\s*")
MARK = "[]"  # in place of a header, so that rows before and behind it do not meet
PUZZLES = ("puzzle", "givens", "given", "clues", "original", "quiz", "sudoku")
OTHERS = ("state", "pencilmarks", "candidates", "solution", "answer", "settings", "progress", "current")


def looks_like(source: Source, reading: Reading) -> int:
    """3 where a header of a section is among the first lines."""
    if reading.puzzle.form.spaces_are_cells:
        return 0
    headers = (HEADER.fullmatch(line) for _, line in source.peek(60))
    return 3 * any(match is not None and _word(match) in (*PUZZLES, *OTHERS) for match in headers)


def _word(match: re.Match[str]) -> str:
    return match["name"].lower().replace(" ", "")


def read(source: Source, reading: Reading) -> Iterator[Question]:
    """The puzzles; what was filled in, and candidates, are left out.

    Raises:
        InputError: the file is too large, or it has no section with a puzzle.
    """
    kept = []
    inside, headed = True, False
    for _, line in content(enumerate(source.document().split("\n"), start=1), reading.puzzle.form.comment):
        match = HEADER.fullmatch(line) if "[" in line else None
        if match:
            inside = _word(match) in PUZZLES
            headed = headed or inside
        # Empty lines keep the numbers of those that are read.
        kept.append(line if inside and not match else "" if not match else MARK)
    questions = read_mixed(of_text("\n".join(kept), reading.name), reading)
    found = [question for question in questions if question.text != MARK]
    if not found and not headed:
        raise InputError(
            f"{reading.name}: has no [Puzzle], expected the givens under that header beside what was filled in",
            hint="save it again with its puzzle",
        )
    yield from found
