"""Which column of a table, or key of an object, holds the puzzles, and which their answers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from trm_deploy.errors import InputError
from trm_deploy.puzzles.text.question import Reading
from trm_deploy.puzzles.text.shapes import shapes

QUESTIONS = (
    *("puzzle", "question", "quiz", "quizze", "quizz", "sudoku", "clue", "given", "unsolved", "problem", "grid"),
    *(
        "board",
        "challenge",
        "start",
        "initial",
        "input",
        "task",
        "game",
        "maze",
        "mission",
        "init",
        "original",
        "incomplete",
    ),
    *("data", "value", "values", "string"),
)
ANSWERS = (
    *("answer", "solution", "solved", "result", "label", "target", "output", "response", "complete", "completed"),
    *("filled", "final", "solve"),
)
# What a name that speaks of puzzles may be about instead.
ABOUT = {"id", "no", "nr", "number", "num", "index", "name", "title", "level", "difficulty", "rating", "type", "size"}
_PLAIN = re.compile(r"[\w\s.#'\"-]*")
_NUMBERS = re.compile(r"\d+")
_WORDS = re.compile(r"[A-Za-z]+")


def words(name: str) -> list[str]:
    """The words of a name in lower case, without the s of a plural."""
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    return [word.lower().removesuffix("s") for word in _WORDS.findall(spaced)]


def is_question(name: str) -> bool:
    """Whether a name is one of those that columns of puzzles usually have."""
    found = words(name)
    return len(found) == 1 and found[0] in _QUESTION_WORDS and _PLAIN.fullmatch(name) is not None


def is_answer(name: str) -> bool:
    """Whether a name speaks of answers."""
    return any(word in _ANSWER_WORDS for word in words(name))


_QUESTION_WORDS = {word.removesuffix("s") for word in QUESTIONS}
_ANSWER_WORDS = {word.removesuffix("s") for word in ANSWERS}


def are_numbered(names: Sequence[str]) -> bool:
    """Whether several names differ in their numbers alone, so that what they name is of one kind."""
    return len(names) > 1 and len({_NUMBERS.sub("", name) for name in names}) == 1


def choose(names: Sequence[str], values: Sequence[str], reading: Reading, place: str) -> int | None:
    """The number of the column that holds the puzzles; None where none does.

    Args:
        names: of the columns; as many as there are, empty where there is no header.
        values: what the first row under the header holds.
        reading: the file, with the column that was named, if any.
        place: for messages.

    Raises:
        InputError: there is no column of the name that was given; or several might be meant.
    """
    if reading.column is not None:
        return _named(names, reading.column, place)
    answers = {number for number, name in enumerate(names) if is_answer(name)}
    whole = {number for number, value in enumerate(values) if _is_puzzle(value, reading)}
    known = [number for number, name in enumerate(names) if is_question(name) and number not in answers]
    hinted = [number for number, name in enumerate(names) if _hints(name) and number not in answers]
    by_content = (
        [number for number in known if number in whole]
        or [number for number in hinted if number in whole]
        or sorted(whole - answers)
    )
    if by_content and (whole or not known):
        return _the_one(by_content, names, values, reading, place)
    # What is there is damaged: the name alone tells.
    return next(iter([*(n for n in known if words(names[n])[0] in ("puzzle", "question")), *known, *hinted]), None)


def _hints(name: str) -> bool:
    found = set(words(name))
    return bool(found & _QUESTION_WORDS) and not found & ABOUT


def _the_one(pool: list[int], names: Sequence[str], values: Sequence[str], reading: Reading, place: str) -> int:
    """Of columns that hold puzzles, the only one, or the only one that is not solved."""
    digits = set(reading.puzzle.vocabulary[2:])
    unsolved = [number for number in pool if not digits.issuperset(values[number])]
    pool = unsolved or pool[:1]
    if len({values[number] for number in pool}) > 1:
        called = " and ".join(repr(names[n]) if n < len(names) and names[n] else f"number {n + 1}" for n in pool[:4])
        hint = "name the one that is meant: --column NAME"
        raise InputError(f"{place}: the columns {called} both hold puzzles", hint=hint)
    return pool[0]


def _is_puzzle(value: str, reading: Reading) -> bool:
    if reading.puzzle.form.spaces_are_cells:
        return len(value) == reading.puzzle.cells
    return shapes(reading.puzzle).is_whole(value)


def _named(names: Sequence[str], column: str, place: str) -> int:
    wanted = column.strip().lower()
    for same in ([name == column for name in names], [name.strip().lower() == wanted for name in names]):
        found = [number for number, match in enumerate(same) if match]
        if len(found) == 1:
            return found[0]
        if len(found) > 1:
            raise InputError(f"{place}: {len(found)} columns are named {column!r}, expected one")
    if column.isdigit() and int(column) >= 1 and (not names or int(column) <= len(names)):
        return int(column) - 1
    listed = ", ".join(name[:40] for name in names)[:200]
    raise InputError(f"{place}: no column is named {column!r} (found {listed})", hint="name one of these with --column")


def answer_by_content(values: Sequence[str], question: int, reading: Reading) -> int | None:
    """The number of the column that holds the answer to a row's puzzle: one that obeys the rules and keeps the givens.

    None where `reading.find_answers` does not ask for it, or none does.
    """
    puzzle = reading.puzzle
    if not (reading.find_answers and puzzle.has_rules):
        return None
    asked = reading.known_answer(values[question])
    for number, value in enumerate(values):
        if asked is not None and number != question:
            tokens = reading.known_answer(value)
            if tokens is not None and not puzzle.answer_faults(asked, tokens):
                return number
    return None


def choose_answer(names: Sequence[str], question: int) -> int | None:
    """The number of the column that holds the answers; None where none does."""
    found = [n for n, name in enumerate(names) if n != question and is_answer(name)]
    plain = [n for n in found if len(words(names[n])) == 1]
    pool = plain or found
    return pool[0] if pool else None
