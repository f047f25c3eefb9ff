"""Boards pasted from code: JSON documents, lists of Python and its like, arrays of other languages, NumPy's print.

Whatever is between innermost brackets is a row, or a whole puzzle; rows that follow each other with nothing between
them but brackets, commas and white space belong to one board. So every language is read that writes lists in brackets.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from trm_deploy.errors import InputError
from trm_deploy.puzzles.base import TextPuzzle
from trm_deploy.puzzles.text import columns
from trm_deploy.puzzles.text.boards import board_text
from trm_deploy.puzzles.text.question import Position, Question, Reading
from trm_deploy.puzzles.text.shapes import ROW, RULED_LINE, shapes
from trm_deploy.puzzles.text.source import Source

# How deep a document may nest: a file that goes deeper holds no boards.
DEEPEST = 12
# Characters that may be in a cell, right or wrong, as in 5.0 or null.
LONGEST_CELL = 8
OPENS, CLOSES = "[({", "])}"
# A name is given a list, or a string.
ASSIGNS = re.compile(r"""[\w\s.<>\[\]:*,&]*(?:=|<-)\s*[^=\n]*[\[({"'`]""")
SECTION = re.compile(r"\[[A-Za-z]\w*\]")
COMMENTS = ("#", "//", "%", "--")
# Innermost brackets, and strings outside of them.
GROUP = re.compile(r"""[\[({]([^\[\](){}]*)[\])}]|("{3}|'{3})(.*?)\2|"([^"\n]*)"|'([^'\n]*)'|`([^`]*)`""", re.DOTALL)
BRACKETS = re.compile(r"[\[({]([^\[\](){}]*)[\])}]")
ATOM = re.compile(r"""'([^'\n]*)'|"([^"\n]*)"|([^\s,;|'"]+)""")
COMMENT = re.compile(r"(?:#|//)[^\n]*")
# In front of a list: its type, its name, white space, and an index.
WORDY = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_!.: \t\n|"
INDEX = re.compile(r"\[\d*\]\Z")
NAME = re.compile(r"([A-Za-z_][A-Za-z_0-9]*)[^A-Za-z]*\Z")
_NO_JOINTS = str.maketrans(dict.fromkeys(" ,;|\n\t"))
_NO_BRACKETS = str.maketrans(dict.fromkeys("[], \n\t"))
_SPACED = str.maketrans(dict.fromkeys(",;|", " "))
NUMBER = re.compile(r"[0-9]\.0*")
EMPTY = {"None", "none", "null", "NULL", "nil", "nan", "NaN", "undefined", "NA", "Nothing", "None,"}
# A pair of grids of an ARC task, in a file that is whole or cut.
ARC_TASK = re.compile(r"""["'](?:train|test)["']\s*:\s*\[\s*\{\s*["'](?:input|output)["']\s*:""")
# Between the rows of one board: no bracket but of a type or an index, as in new int[] {5, 3} or board[1] = [5, 3].
BETWEEN = re.compile(r"(?:[\s,;|&\w!:.=>+\\-]|\[\d*\]|#[^\n]*|//[^\n]*){0,200}")


Row = tuple[str, Sequence[int]]  # its cells, and where each is in the text, or where all of them are


def looks_like(source: Source, reading: Reading) -> int:
    """3: the text begins as a list or an object; 2: a name is given one; 1: brackets hold half a board and more."""
    lines = [line for _, line in source.peek(300)]
    first = next((line.strip() for line in lines if line.strip() and not line.lstrip().startswith(COMMENTS)), "")
    if SECTION.fullmatch(first):
        return 0
    if first.startswith(("{", "[")):
        return 3
    if ASSIGNS.match(first):
        return 2
    rows = (_row(match, reading.puzzle) for match in GROUP.finditer("\n".join(lines)))
    wide = (reading.puzzle.form.columns, reading.puzzle.cells)
    return int(2 * sum(len(row[0]) for row in rows if row and len(row[0]) in wide) >= reading.puzzle.cells)


def read(source: Source, reading: Reading) -> Iterator[Question]:
    """The boards of a document, which is read as a whole.

    Raises:
        InputError: it is too large, several of an object's keys may hold its puzzle, or it holds ARC tasks, whose
            grids may have the size of a puzzle and are none.
    """
    text = source.document()
    if ARC_TASK.search(text):
        raise InputError(
            f"{reading.name}: holds ARC tasks, expected puzzles of {reading.puzzle.name}",
            hint="name a model of the task arc: trm-deploy run --engine FILE ...",
        )
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        yield from _pasted(text, reading)
        return
    if isinstance(document, (dict, list)):
        yield from _Document(reading, document).read()


# ------------------------------------------------------------------------------------------------------ JSON


def _by_row(value: dict[str, Any]) -> dict[str, Any]:
    """An object; a data frame that pandas wrote as columns (its default) or in parts, as {"data": its rows}."""
    names, table = value.get("columns"), value.get("data")
    if isinstance(names, list) and isinstance(table, list) and all(isinstance(row, list) for row in table):
        return {"data": [dict(zip(map(str, names), row)) for row in table]}
    frame = [column for column in value.values() if isinstance(column, dict) and column]
    same = len(frame) == len(value) and all(list(column) == list(frame[0]) for column in frame)
    if frame and same and all(key.isdigit() for key in frame[0]):
        return {"data": [{name: value[name][row] for name in value} for row in frame[0]]}
    return value


def _may_be_cell(value: object) -> bool:
    return not isinstance(value, (list, dict)) and not (isinstance(value, str) and len(value) > LONGEST_CELL)


class _Document:
    """Walks a JSON document; strings and lists that have as many cells as a puzzle are one."""

    def __init__(self, reading: Reading, document: Any) -> None:
        self.reading = reading
        self.document = document
        self.count = 0

    def read(self) -> Iterator[Question]:
        yield from self._value(self.document, "", 0)

    def _value(self, value: Any, path: str, depth: int) -> Iterator[Question]:
        text = self._board(value)
        if text is not None:
            yield self._question(text, path)
        elif depth >= DEEPEST:
            return
        elif isinstance(value, dict):
            yield from self._object(_by_row(value), path, depth)
        elif isinstance(value, list):
            if (message := self._nearly(value)) is not None:
                place = self._place(path)
                yield self.reading.fault(place, str(value)[:200], message, None)
                return
            for number, entry in enumerate(value, start=1):
                if number > 1 and self._is_answer(value[number - 2], entry):
                    continue
                inside = f"{path}[{number}]" if len(value) > 1 or not isinstance(entry, (dict, list)) else path
                yield from self._value(entry, inside, depth + 1)

    def _object(self, value: dict[str, Any], path: str, depth: int) -> Iterator[Question]:
        keys = list(value)
        texts = [self._board(entry) or "" for entry in value.values()]
        place = self._place(path)
        known = any(columns.is_question(key) and not isinstance(value[key], dict) for key in keys)
        named = self.reading.column is not None and self.reading.column in keys
        if sum(map(bool, texts)) > 1 and not named and columns.are_numbered(keys):
            texts = []
        if any(texts) or named:
            chosen = columns.choose(keys, texts, self.reading, place)
            if chosen is not None:
                answer = columns.choose_answer(keys, chosen)
                text = texts[chosen] or board_text(value[keys[chosen]], self.reading.puzzle) or ""
                known_answer = board_text(value[keys[answer]], self.reading.puzzle) if answer is not None else None
                yield self._question(text, f"{path} {keys[chosen]}".strip(), known_answer)
                return
        elif texts and known and any(isinstance(entry, str) for entry in value.values()):
            chosen = columns.choose(keys, [], self.reading, place)
            if chosen is not None and isinstance(value[keys[chosen]], (str, int, float)):
                yield self._question(str(value[keys[chosen]]), f"{path} {keys[chosen]}".strip())
                return
        for key, entry in value.items():
            if not columns.is_answer(key):
                yield from self._value(entry, f"{path} {key}".strip(), depth + 1)

    def _board(self, value: Any) -> str | None:
        if isinstance(value, (dict, int, float)):
            return None
        text = board_text(value, self.reading.puzzle)
        if text is None or (isinstance(value, str) and not self._is_whole(text)):
            return None
        return text if len(text) == self.reading.puzzle.cells else None

    def _is_whole(self, text: str) -> bool:
        if self.reading.puzzle.form.spaces_are_cells:
            return len(text) == self.reading.puzzle.cells
        return shapes(self.reading.puzzle).is_whole(text)

    def _is_answer(self, before: Any, value: Any) -> bool:
        """Whether a value is the answer to the puzzle in front of it."""
        if not isinstance(value, str) or not shapes(self.reading.puzzle).digits.issuperset(value):
            return False
        question = self._board(before)
        return question is not None and _answers(question, value, self.reading)

    def _nearly(self, value: list[Any]) -> str | None:
        """What is wrong with a list that is all but a board."""
        form = self.reading.puzzle.form
        rows = [row for row in value if isinstance(row, list) and all(_may_be_cell(cell) for cell in row)]
        if len(rows) != len(value) or len(rows) < 2:
            return None
        if {len(row) for row in rows} == {len(rows)} and len(rows) != form.rows:
            return f"looks like {len(rows)} x {len(rows)}; this engine is for {form.rows} x {form.columns}"
        cells = self.reading.puzzle.cells
        if all(len(row) == cells for row in rows):
            return None
        for number, row in enumerate(rows, start=1):
            if len(row) != form.columns:
                return f"row {number} has {len(row)} cells, expected {form.columns}"
            for column, cell in enumerate(row, start=1):
                alike = [[cell] * form.columns] * form.rows
                if isinstance(cell, bool) or board_text(alike, self.reading.puzzle) is None:
                    return f"row {number} column {column} is {cell!r:.40}, expected a digit or a blank"
        return f"the grid has {len(rows)} rows, expected {form.rows}"

    def _question(self, text: str, path: str, answer: str | None = None) -> Question:
        place = self._place(path)
        made = self.reading.question(text, lambda index: (1, index + 1), place, None)
        if answer is not None:
            made = replace(made, answer=self.reading.known_answer(answer), has_answer=True)
        if made.error.startswith(f"{self.reading.name} line 1 column"):
            cell = made.error.partition(" column ")[2].partition(":")
            row, column = divmod(int(cell[0]) - 1, self.reading.puzzle.form.columns)
            error = f"{place} row {row + 1} column {column + 1}:{cell[2]}"
            made = Question(place, text, None, error)
        return made

    def _place(self, path: str) -> str:
        return f"{self.reading.name} {path}".strip()


# -------------------------------------------------------------------------------------------------- in brackets


def _pasted(text: str, reading: Reading) -> Iterator[Question]:
    """Rows in innermost brackets, and strings that hold a puzzle or a row."""
    board = _Board(text, reading)
    wide = reading.puzzle.cells
    unquoted = not any(quote in text for quote in "\"'`")
    pattern = BRACKETS if unquoted else GROUP
    if unquoted and "#" not in text and "//" not in text:
        pattern = _with_boards(reading.puzzle.form.rows, reading.puzzle.form.columns)
    for match in pattern.finditer(text):
        if match.lastgroup == "board":
            first, last = text.index("[", match.start() + 1), text.rindex("]", 0, match.end() - 1)
            yield from board.finish()
            yield from board.whole(match["board"].translate(_NO_BRACKETS), range(first + 1, last), first)
            continue
        if match[1] is not None and len(match[1]) < 3 and match[1].strip().isdigit() | (not match[1].strip()):
            continue  # an index, or the brackets of a type
        row = _row(match, reading.puzzle)
        wholes = list(_wholes(match, reading)) if row is None or len(row[0]) > wide else []
        row = None if wholes else row
        for cells, start in wholes:
            yield from board.finish()
            yield from board.whole(cells, range(start, start + len(cells)), start)
        if row is None:
            yield from board.finish()
        elif len(row[0]) == wide:
            yield from board.finish()
            yield from board.whole(*row, match.start())
        else:
            if board.rows and not BETWEEN.fullmatch(text, board.end, match.start()):
                yield from board.finish()
            board.add(row, match)
    yield from board.finish()


@functools.cache
def _with_boards(rows: int, columns: int) -> re.Pattern[str]:
    """Innermost brackets, and whole boards of digits as lists of lists, which are all that the rows in them give."""
    row = rf"\[[ \t\n]*\d(?:[ \t\n,]+\d){{{columns - 1}}}[ \t\n]*\]"
    board = rf"\[[ \t\n]*(?:{row}[ \t\n,]*){{{rows}}}\]"
    return re.compile(f"{BRACKETS.pattern}|(?P<board>{board})")


def _wholes(match: re.Match[str], reading: Reading) -> Iterator[tuple[str, int]]:
    """Strings in brackets that are whole puzzles, each with its place; without the answer to the one before it."""
    if match[1] is None or len(match[1]) < reading.puzzle.cells:
        return
    before = ""
    for atom in ATOM.finditer(match[1]):
        word = atom[1] if atom[1] is not None else atom[2]
        if word is not None and shapes(reading.puzzle).is_whole(word):
            if not (before and _answers(before, word, reading)):
                yield word, match.start(1) + atom.start() + 1
            before = word


def _answers(question: str, text: str, reading: Reading) -> bool:
    """Whether a text is the answer to a puzzle that is not one itself."""
    asked, answer = reading.known_answer(question), reading.known_answer(text)
    if asked is None or answer is None or question == text:
        return False
    return reading.puzzle.has_rules and not reading.puzzle.answer_faults(asked, answer)


def _row(match: re.Match[str], puzzle: TextPuzzle) -> Row | None:
    """The cells between brackets, or in a string; None where they are not a row's."""
    inside = match[1]
    if inside is None:
        group = next(number for number in (3, 4, 5, 6) if match[number] is not None)
        return _string(match[group], match.start(group), puzzle)
    start = match.start(1)
    bare = inside.translate(_NO_JOINTS)
    if bare.isdigit() and len(bare) == len(inside.translate(_SPACED).split()):
        return bare, range(start, match.end(1))  # places are found where they are needed, see `_Board`
    cells: list[str] = []
    places: list[int] = []
    for atom in ATOM.finditer(inside):
        quoted = atom[1] if atom[1] is not None else atom[2]
        word = quoted if quoted is not None else atom[3]
        if len(word) != 1:
            if word == "" or word in EMPTY:
                word = " "
            elif NUMBER.fullmatch(word):
                word = word[0]
            elif quoted is not None or len(word) in (puzzle.form.columns, puzzle.cells):
                found = _string(word, start + atom.start() + (quoted is not None), puzzle)
                if found is None:
                    return None
                cells += found[0]
                places += found[1]
                continue
            else:
                return None
        cells.append(word)
        places.append(start + atom.start())
    text = "".join(cells)
    return (text, places) if len(text) > 1 else None


def _string(word: str, start: int, puzzle: TextPuzzle) -> tuple[str, list[int]] | None:
    """The cells of a string that is a row, a whole puzzle, or a grid over several lines."""
    kinds = shapes(puzzle)
    kept = [(c, start + place) for place, c in enumerate(word) if not (c.isspace() or c in "|+")]
    text = "".join(c for c, _ in kept)
    if word and len(word) in (puzzle.form.columns, puzzle.cells) and set(word) <= kinds.digits | {" "}:
        return word, list(range(start, start + len(word)))
    rows = [line for line in word.splitlines() if line.strip() and kinds.item(1, line).kind != RULED_LINE]
    if len(rows) == puzzle.form.rows:
        items = [kinds.item(1, row) for row in rows]
        if all(item.kind == ROW for item in items):
            return "".join(item.text for item in items), [start] * puzzle.cells
    if len(text) < 2 or not kinds.is_cells(text):
        return None
    return text, [place for _, place in kept]


class _Board:
    """Rows that follow each other with nothing between them but what parts the rows of one list."""

    def __init__(self, text: str, reading: Reading) -> None:
        self.text, self.reading = text, reading
        self.rows: list[Row] = []
        self.start = self.end = 0  # of the rows, in the text
        self._lines = _Lines(text)

    def add(self, row: Row, match: re.Match[str]) -> None:
        """One more row."""
        self.start = self.start if self.rows else match.start()
        self.end = match.end()
        self.rows.append(row)

    def whole(self, cells: str, places: Sequence[int], start: int) -> Iterator[Question]:
        """A puzzle in one list, or in one string, that begins at a place; nothing where it is an answer."""
        if not self._is_answer(cells, start):
            yield self._question([(cells, places)])

    def _is_answer(self, cells: str, start: int) -> bool:
        """Whether a list without a blank has a name that speaks of answers, as in Output: [[ or solution = [[."""
        before = NAME.search(self.text, max(start - 80, 0), start)
        solved = set(self.reading.puzzle.vocabulary[2:]).issuperset(cells)
        return solved and before is not None and columns.is_answer(before[1])

    def finish(self) -> Iterator[Question]:
        """The board, or what is wrong with it; nothing where the rows are none of a board."""
        rows, self.rows = self.rows, []
        if not rows or self._is_answer("".join(row for row, _ in rows), self.start):
            return
        form = self.reading.puzzle.form
        wide = all(len(row) == form.columns for row, _ in rows)
        if wide and len(rows) % form.rows == 0 and (len(rows) == form.rows or not self._opens()):
            if self._opens() == self._closes():
                for start in range(0, len(rows), form.rows):
                    yield self._question(rows[start : start + form.rows])
                return
            message = "rows of two lists, the end of the one or the beginning of the other is missing"
            yield self._fault(rows, message)
        elif len(rows) > 1 and {len(row) for row, _ in rows} == {len(rows)}:
            whole = "".join(row for row, _ in rows)
            yield self.reading.of_other_size(whole, self._place(rows)[1], len(rows))
        elif len(rows) > 1 or 3 * len(rows[0][0]) > self.reading.puzzle.cells:
            yield self._fault(rows, self._what_is_wrong(rows))

    def _what_is_wrong(self, rows: list[Row]) -> str:
        form, cells = self.reading.puzzle.form, self.reading.puzzle.cells
        if len(rows) == 1:
            return f"{len(rows[0][0])} cells, expected {cells} ({form.rows} rows of {form.columns})"
        for number, (row, _) in enumerate(rows, start=1):
            if len(row) != form.columns:
                return f"row {number} of a grid has {len(row)} cells, expected {form.columns}"
        return f"the grid has {len(rows)} rows, expected {form.rows}"

    def _opens(self) -> bool:
        """Whether a list of lists begins in front of the first row."""
        before = COMMENT.sub("", self.text[max(self.start - 200, 0) : self.start])
        before = before.rstrip(WORDY)
        while before.endswith("]") and (match := INDEX.search(before)):
            before = before[: match.start()].rstrip(WORDY)
        return before[-1:] in tuple(OPENS)

    def _closes(self) -> bool:
        """Whether it ends behind the last one."""
        return COMMENT.sub("", self.text[self.end : self.end + 200]).lstrip(" \t\n,;|")[:1] in tuple(CLOSES)

    def _place(self, rows: list[Row]) -> tuple[str, int]:
        first, last = self._lines.position(rows[0][1][0])[0], self._lines.position(rows[-1][1][-1])[0]
        lines = f"line {first}" if first == last else f"lines {first}-{last}"
        return f"{self.reading.name} {lines}", first

    def _question(self, rows: list[Row]) -> Question:
        def where(index: int) -> Position:
            return self._lines.position([spot for row in rows for spot in self._lines.cells(*row)][index])

        return self.reading.question("".join(row for row, _ in rows), where, *self._place(rows))

    def _fault(self, rows: list[Row], message: str) -> Question:
        place, line = self._place(rows)
        return self.reading.fault(place, "".join(row for row, _ in rows), message, line)


class _Lines:
    """Lines and columns of places in a text, found in the order of the text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0
        self._line = 1

    def cells(self, text: str, places: Sequence[int]) -> Sequence[int]:
        """Where each cell of a row is, where the places are those of all that is between its brackets."""
        if len(places) == len(text):
            return places
        return [place for place in places if self._text[place].isdigit()]

    def position(self, place: int) -> Position:
        """The line and the column, from 1."""
        if place < self._place:
            self._place, self._line = 0, 1
        self._line += self._text.count("\n", self._place, place)
        self._place = place
        return self._line, place - self._text.rfind("\n", 0, place)
