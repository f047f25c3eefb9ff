"""JSON Lines: an object a line, with a puzzle under one of its keys; our own answers among them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from trm_deploy.errors import InputError, PuzzleError, shown
from trm_deploy.puzzles.text import columns
from trm_deploy.puzzles.text.boards import board_text
from trm_deploy.puzzles.text.lines import first_line
from trm_deploy.puzzles.text.question import Answered, Question, Reading, at, listed
from trm_deploy.puzzles.text.source import Source


def looks_like(source: Source, reading: Reading) -> int:
    """3 where the first line is a whole JSON object with something that may be a puzzle directly in it."""
    first = first_line(source, reading).strip()
    if not first.startswith("{"):
        return 0
    try:
        document = json.loads(first)
    except (ValueError, RecursionError):
        # An object that goes on for lines is not JSON Lines; a damaged line among whole ones is.
        following = [line for _, line in source.peek(3) if line.strip()][1:]
        return 3 * any(line.startswith("{") and line.rstrip().endswith("}") for line in following)
    if not isinstance(document, dict):
        return 0
    if columns.are_numbered(list(document)) and reading.column is None:
        return 0  # a document that numbers its puzzles
    nested = [value for value in document.values() if isinstance(value, (dict, list))]
    flat = any(isinstance(value, (str, int)) or _is_board(value, reading) for value in document.values())
    return 3 * (not nested or flat)


def _is_board(value: object, reading: Reading) -> bool:
    return board_text(value, reading.puzzle) is not None


def read(source: Source, reading: Reading) -> Iterator[Question]:
    """The puzzles; an answer that is there already and obeys the rules goes with its puzzle."""
    keys: list[str] = []
    key: str | None = None
    for number, line, document in _objects(source, reading):
        place = f"{reading.name} line {number}"
        if isinstance(document, str):
            yield reading.fault(place, line[:200], document, number)
            continue
        if key is None or list(document) != keys:
            try:
                key = _key(document, reading, place)
            except InputError as error:
                yield Question(place, line[:200], None, str(error), number, {})
                continue
            keys = list(document)
        if key is None:
            message = f"no key is named puzzle or question (found {', '.join(keys)[:80]}), and none holds a puzzle"
            yield reading.fault(place, line[:200], message, number)
            continue
        text = board_text(document[key], reading.puzzle)
        if text is None:
            yield reading.fault(place, line[:200], f"{key!r} is {shown(document[key])}, expected a puzzle", number)
            continue
        start = line.find(text) + 1
        question = reading.question(text, at(number, start) if start else listed([(number, 1)]), place, number)
        yield _with_others(question, document, key, reading)


def _with_others(question: Question, document: dict[str, Any], key: str, reading: Reading) -> Question:
    """The puzzle with what else its object holds."""
    others = {name: str(value) for name, value in document.items() if name != key and _is_plain(value)}
    number = columns.choose_answer(list(document), list(document).index(key))
    if number is None and reading.find_answers:
        texts = [board_text(value, reading.puzzle) or "" for value in document.values()]
        number = columns.answer_by_content(texts, list(document).index(key), reading)
    if number is None:
        return replace(question, columns=others)
    text = board_text(list(document.values())[number], reading.puzzle) or ""
    if "verified" in document:  # our own answer, which is not known to be right
        if document["verified"] is True and document.get("answer") == text and _is_right(question, text, reading):
            return replace(question, answered=document)
        kept = document.get("columns")  # of the table that the earlier run read
        return replace(question, columns=kept) if isinstance(kept, dict) else question
    return replace(question, columns=others, answer=reading.known_answer(text), has_answer=True)


def _is_plain(value: object) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)


def _is_right(question: Question, answer: str, reading: Reading) -> bool:
    try:
        tokens = reading.puzzle.parse_line(answer)
    except PuzzleError:
        return False
    return question.tokens is not None and not reading.puzzle.answer_faults(question.tokens, tokens)


def _objects(source: Source, reading: Reading) -> Iterator[tuple[int, str, dict[str, Any] | str]]:
    """Each line with its object, or what is wrong with it."""
    for number, line in source.lines():
        text = line.strip().rstrip(",")
        if not text or text.startswith("#"):
            continue
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            yield number, line, f"is not valid JSON ({error}), expected an object a line"
            continue
        if isinstance(document, str):
            document = {"puzzle": document}
        yield number, line, document if isinstance(document, dict) else "is not a JSON object with a puzzle"


def _key(document: dict[str, Any], reading: Reading, place: str) -> str | None:
    keys = list(document)
    values = [board_text(value, reading.puzzle) or "" for value in document.values()]
    chosen = columns.choose(keys, values, reading, place)
    return None if chosen is None else keys[chosen]


def read_answered(source: Source, reading: Reading) -> Iterator[Answered]:
    """The puzzles with their answers, unparsed.

    Raises:
        InputError: a line is malformed, or lacks one of both.
    """
    for number, _, document in _objects(source, reading):
        place = f"{reading.name} line {number}"
        if isinstance(document, str):
            raise InputError(f"{place}: {document}")
        key = _key(document, reading, place)
        answer = None if key is None else columns.choose_answer(list(document), list(document).index(key))
        if key is None or answer is None:
            raise InputError(f"{place}: has no puzzle with its answer (found {', '.join(document)[:80]})")
        texts = [board_text(value, reading.puzzle) for value in (document[key], list(document.values())[answer])]
        yield Answered(place, *(text or "" for text in texts))
