"""The body of /solve: puzzles as text, or a JSON object with puzzles."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from trm_deploy.errors import InputError, shown
from trm_deploy.puzzles.reading import Question
from trm_deploy.serving.models import MAX_ATTEMPTS, ServedModel, TooMany

KEYS = ("puzzles", "attempts")


@dataclass(frozen=True)
class SolveRequest:
    """What the query of a request asks for; None: nothing.

    Attributes:
        attempts: maximum number of attempts at a puzzle.
        input_format, column: see `trm_deploy.puzzles.text.read`.
    """

    attempts: int | None = None
    input_format: str | None = None
    column: str | None = None


def read_request(
    model: ServedModel, asked: SolveRequest, body: bytes, content_type: str, most: int
) -> tuple[list[Question], int | None]:
    """The puzzles, and how many attempts are asked for.

    Args:
        model: that they are for.
        asked: by the query.
        body: of the request.
        content_type: of the body; whatever is no JSON object with puzzles is text, unless this says JSON.
        most: maximum number of puzzles.

    Raises:
        InputError: the body cannot be read as a whole, or asks for something that makes no sense.
        TooMany: more puzzles than `most`.
    """
    is_json = content_type.partition(";")[0].strip().lower() == "application/json"
    document = _document(body, required=is_json)
    if document is None:
        return model.read_text(body, most, input_format=asked.input_format, column=asked.column), asked.attempts
    if asked.input_format is not None or asked.column is not None:
        raise InputError("input_format and column are for puzzle text, the body is JSON", hint="leave them out")
    puzzles, attempts = _checked(document)
    if len(puzzles) > most:
        raise TooMany(f"the request has {len(puzzles):,} puzzles, expected at most {most:,}")
    return model.read_list(puzzles, most), asked.attempts if attempts is None else attempts


def _document(body: bytes, *, required: bool) -> Any:
    """The JSON object with puzzles that a body is; None where it is none and need not be."""
    if not required and not (body.lstrip()[:1] == b"{" and b'"puzzles"' in body):
        return None
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        if not required:
            return None  # JSON Lines, or a format of its own
        hint = "for puzzles as text, send Content-Type: text/plain"
        raise InputError(f"request: is not valid JSON ({error})"[:200], hint=hint) from error
    if not required and not (isinstance(document, dict) and isinstance(document.get("puzzles"), list)):
        return None
    return document


def _checked(document: Any) -> tuple[list[Any], int | None]:
    if not isinstance(document, dict) or not isinstance(document.get("puzzles"), list):
        raise InputError(
            'request: expected a JSON object such as {"puzzles": ["53..7...."], "attempts": 8}',
            hint="for puzzles as text, send Content-Type: text/plain",
        )
    unknown = [key for key in document if key not in KEYS]
    if unknown:
        raise InputError(f"request: has the key {shown(unknown[0])}, expected {' and '.join(KEYS)}")
    attempts = document.get("attempts")
    if attempts is not None and (type(attempts) is not int or not 1 <= attempts <= MAX_ATTEMPTS):
        raise InputError(f"request: attempts is {shown(attempts)}, expected 1 to {MAX_ATTEMPTS}")
    puzzles = document["puzzles"]
    for number, puzzle in enumerate(puzzles, start=1):
        if not (isinstance(puzzle, str) or _is_tokens(puzzle)):
            raise InputError(f"request: puzzle {number} is {shown(puzzle)}, expected text or a list of token ids")
    if not puzzles:
        raise InputError("request: holds no puzzle")
    return puzzles, attempts


def _is_tokens(value: Any) -> bool:
    return (
        isinstance(value, list) and bool(value) and all(type(entry) is int and 0 <= entry < 1 << 31 for entry in value)
    )
