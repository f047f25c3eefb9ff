"""OpenSudoku's XML, and other XML that has a puzzle in an attribute or in an element's text.

Read as a stream of tags, without a tree; a document type, which could define entities, is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.parsers import expat

from trm_deploy.errors import InputError
from trm_deploy.puzzles.text import columns
from trm_deploy.puzzles.text.lines import first_line
from trm_deploy.puzzles.text.question import Question, Reading
from trm_deploy.puzzles.text.shapes import shapes
from trm_deploy.puzzles.text.source import Source

DEEPEST = 64
# Of each cell of OpenSudoku's later versions: value, notes (one or two kinds), whether the player may change it.
FIELDS = (3, 4)

Candidate = tuple[str, str, int]  # its name, its text, its line


def looks_like(source: Source, reading: Reading) -> int:
    """3 where the text begins with a tag."""
    first = first_line(source, reading).lstrip("\ufeff \t")
    return 3 * (first.startswith("<") and not reading.puzzle.form.spaces_are_cells)


def read(source: Source, reading: Reading) -> Iterator[Question]:
    """The puzzles of a document.

    Raises:
        InputError: it is not sound XML, too large, or defines entities.
    """
    text = source.document().lstrip("\ufeff")
    candidates = _Candidates(reading)
    candidates.parse(text)
    for element in candidates.elements:
        question = _question(element, reading)
        if question is not None:
            yield question


class _Candidates:
    """What of a document may hold a puzzle: of each element its attributes, and its text."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.elements: list[list[Candidate]] = []
        self._open: list[tuple[str, list[str], int]] = []
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.StartDoctypeDeclHandler = self._doctype

    def parse(self, text: str) -> None:
        try:
            # The text is decoded already, whatever encoding its first line names.
            declaration, _, rest = text.partition("?>") if text.lstrip().startswith("<?xml") else ("", "", text)
            self._parser.Parse("\n" * declaration.count("\n") + rest.lstrip(" ") if declaration else rest, True)
        except expat.ExpatError as error:
            raise InputError(
                f"{self.reading.name} line {error.lineno} column {error.offset + 1}: is not valid XML"
                f" ({expat.errors.messages[error.code]})"
            ) from error

    def _doctype(self, *_: object) -> None:
        raise InputError(f"{self.reading.name}: has a document type, which may define entities; expected plain XML")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        line = self._parser.CurrentLineNumber
        if len(self._open) >= DEEPEST:
            raise InputError(f"{self.reading.name} line {line}: nests deeper than {DEEPEST} elements")
        self._open.append((name, [], line))
        if attributes:
            self.elements.append([(key, value, line) for key, value in attributes.items()])

    def _characters(self, text: str) -> None:
        if self._open:
            self._open[-1][1].append(text)

    def _end(self, _: str) -> None:
        name, parts, line = self._open.pop()
        text = "".join(parts).strip()
        if 2 * len(text) > self.reading.puzzle.cells:
            self.elements.append([(name, text, line)])


def _question(element: list[Candidate], reading: Reading) -> Question | None:
    """The puzzle of an element; None where it has none."""
    given = [(name, _givens(text, reading), line) for name, text, line in element]
    names = [name for name, _, _ in given]
    texts = [text for _, text, _ in given]
    whole = [shapes(reading.puzzle).is_whole(text) for text in texts]
    data = [number for number, name in enumerate(names) if name == "data"]
    if not any(whole) and not data:
        return None
    place = f"{reading.name} line {element[0][2]}"
    chosen = data[0] if data else columns.choose(names, texts, reading, place)
    if chosen is None or (not data and columns.is_answer(names[chosen])):
        return None
    name, text, line = given[chosen]
    made = reading.question(text, lambda index: (line, index + 1), place, line)
    if made.error.startswith(f"{reading.name} line {line} column"):
        _, _, rest = made.error.partition(" column ")
        return Question(place, text, None, f"{place} {name} character {rest}", line)
    return made


def _givens(text: str, reading: Reading) -> str:
    """The givens of a game: one character a cell, or "version: N" and then fields of each cell."""
    text = text.strip()
    if text.startswith("version:"):
        body = text[len("version:") :].lstrip(" ").lstrip("0123456789").strip()
        fields = body.strip("|").split("|")
        for count in FIELDS:
            if len(fields) == count * reading.puzzle.cells:
                values, changeable = fields[::count], fields[count - 1 :: count]
                if len(body.split(None, 1)) > 1:
                    values, changeable = (list(map(str.strip, part)) for part in (values, changeable))
                if {"0", "1"}.issuperset(changeable):
                    return "".join([value if flag == "0" else "0" for value, flag in zip(values, changeable)])
        return body
    return "".join(text.split())
