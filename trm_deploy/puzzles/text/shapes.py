"""What a line of a Sudoku file is: a puzzle, a row of one, a part of a frame, or words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from trm_deploy.puzzles.base import TextForm, TextPuzzle
from trm_deploy.puzzles.text.question import SCIENTIFIC, Position, Where, at, listed

# Box-drawing characters, each for one of ASCII, so that columns stay. "=" is never a cell, as "-" may be.
_VERTICAL = "│┃║╎╏┆┇┊┋▏▕❘\uff5c"
_HORIZONTAL = "─━═╌╍┄┅┈┉▔▁―—\u2013"
DRAWN = str.maketrans(
    {
        **{chr(code): "+" for code in range(0x2500, 0x2580)},
        **dict.fromkeys(_VERTICAL, "|"),
        **dict.fromkeys(_HORIZONTAL, "="),
        "\u00a0": " ",
        "\u2007": " ",
    }
)
BARS = "|:!¦"
NO_BARS = str.maketrans(dict.fromkeys([*BARS, *_VERTICAL, " ", "\t", "\f", "\v", "\x1a", "\u00a0", "\u2007"]))
# Lines whose kind is remembered, by all but their digits: the rows of frames are alike.
REMEMBERED = 256
# Lines of frames, from .-------. and +---+ to |===:===|; what is repeated in them tells them from rows of blanks.
RULE = re.compile(r"[-=_+|.:'`\u00b4,*~^o/\\!¦\s]*")
RULED = re.compile(r"--|==|__|\*\*|~~|\^\^|\+|=|-[.:|'*`]|[.:|'*`]-")
RULE_BLANKS = "-_*"  # blanks that frames are made of too
NEVER_ALONE = "-_*xX?"  # a line of one of these alone is not a puzzle without givens for sure
RULE_LIKE = frozenset(RULE_BLANKS)
PIECES = re.compile(r"[^\s,;|:=/\\\"'`<>()\[\]{}&]+")
# What separates the rows, or the cells, of a puzzle on one line.
JOINTS = re.compile(r"[\s|/\\:,;]+")
HEADING = re.compile(
    r"\W*(?:the\s+|its\s+)?(?P<word>solutions?|answers?|solved|state|current(?:\s+state)?|pencil\s*marks?|candidates)"
    r"[\s\d:.#()=*\-\]\[]*",
    re.IGNORECASE,
)

# Kinds of lines. A row has as many cells as the grid is wide; ODD lines might be rows with something wrong.
BLANK, RULED_LINE, ROW, EITHER, BARRED, OPEN, ODD, MARKS, WHOLE, CUT, WORDS = (
    "blank",
    "rule",
    "row",
    "row or rule",
    "row with spaces",
    "row or space between rows",
    "odd",
    "candidates",
    "puzzle",
    "cut puzzle",
    "words",
)


@dataclass(slots=True)
class Item:
    """A line, and what it is.

    Attributes:
        number: of the line, from 1.
        line: as it is in the file.
        kind: what it is.
        text: its cells, of a row or a puzzle.
        columns: of each of these cells, from 1; None: found when they are asked for.
    """

    number: int
    line: str
    kind: str
    text: str = ""
    columns: Sequence[int] | None = field(default=None, repr=False)

    def positions(self) -> list[Position]:
        """Where each cell is."""
        if self.columns is not None:
            return [(self.number, column) for column in self.columns]
        return [(self.number, place + 1) for place, c in enumerate(self.line.translate(DRAWN)) if c not in _SKIPPED]


_SKIPPED = frozenset(BARS + " \t\f\v\x1a")


@dataclass(frozen=True)
class Shapes:
    """Tells the kinds of lines of a task."""

    puzzle: TextPuzzle

    def __post_init__(self) -> None:
        form = self.puzzle.form
        symbols = "".join(self.puzzle.vocabulary[2:]) + form.blanks.replace(" ", "")
        object.__setattr__(self, "form", form)
        object.__setattr__(self, "cells", self.puzzle.cells)
        object.__setattr__(self, "symbols", frozenset(symbols))
        object.__setattr__(self, "none_but_cells", str.maketrans(dict.fromkeys(symbols)))
        object.__setattr__(self, "digits", frozenset(self.puzzle.vocabulary[2:]))
        skeleton = str.maketrans(dict.fromkeys([*self.puzzle.vocabulary[2:], "."], "0"))
        object.__setattr__(self, "to_skeleton", skeleton)
        object.__setattr__(self, "to_zeros", str.maketrans(dict.fromkeys(self.puzzle.vocabulary[2:], "0")))
        object.__setattr__(self, "to_spaces", str.maketrans(dict.fromkeys(self.puzzle.vocabulary[2:], " ")))

    form: TextForm = field(init=False)
    cells: int = field(init=False)
    symbols: frozenset[str] = field(init=False)
    digits: frozenset[str] = field(init=False)
    none_but_cells: dict[int, None] = field(init=False)
    to_skeleton: dict[int, str] = field(init=False)
    _rows: set[str] = field(init=False, default_factory=set, repr=False)  # skeletons of rows
    to_spaces: dict[int, str] = field(init=False)
    _barred: set[str] = field(init=False, default_factory=set, repr=False)  # rows whose digits are spaces
    _rules: set[str] = field(init=False, default_factory=set, repr=False)
    to_zeros: dict[int, str] = field(init=False)
    _words: set[str] = field(init=False, default_factory=set, repr=False)

    def is_cells(self, text: str) -> bool:
        """Whether text holds cells alone, in any blank."""
        return not text.translate(self.none_but_cells)

    def is_whole(self, text: str) -> bool:
        """Whether text is a puzzle: as many cells as it has, with one blank, and not a rule of one character."""
        return (
            len(text) == self.cells
            and self.is_cells(text)
            and len(set(text) - self.digits) <= 1
            and not (text[0] in NEVER_ALONE and len(set(text)) == 1)
        )

    def item(self, number: int, line: str) -> Item:
        """A line that holds no whole puzzle by itself, see `whole`."""
        if line in self._rules:
            return Item(number, line, RULED_LINE)
        skeleton = line.translate(self.to_skeleton)
        if skeleton in self._rows:
            return Item(number, line, ROW, line.translate(NO_BARS))
        if line.translate(self.to_spaces) in self._barred:
            text = line.translate(NO_BARS)
            kind = BARRED if len(text) < self.form.columns else ROW
            return Item(number, line, kind if text else OPEN, text)
        words = line.translate(self.to_zeros)
        if words in self._words:
            return Item(number, line, WORDS)
        made = self._item(number, line)
        digits_alone = made.kind == BARRED and made.line == line and self.digits.issuperset(made.text)
        if digits_alone and len(self._barred) < REMEMBERED:
            self._barred.add(line.translate(self.to_spaces))
        # What may be a blank or a part of a frame is looked at anew.
        if made.kind == ROW and made.columns is None and RULE_LIKE.isdisjoint(line) and len(self._rows) < REMEMBERED:
            self._rows.add(skeleton)
        elif made.kind == RULED_LINE and len(self._rules) < REMEMBERED:
            self._rules.add(line)
        elif made.kind == WORDS and len(self._words) < REMEMBERED:  # which digits a title holds makes no difference
            self._words.add(words)
        return made

    def is_known_row(self, skeleton: str) -> bool:
        """Whether every line of this look is a row, whatever its digits are."""
        return skeleton in self._rows

    def _item(self, number: int, line: str) -> Item:
        form = self.form
        bare = line.strip()
        if len(bare) == form.columns and self.is_cells(bare):
            if len(set(bare)) == 1 and bare[0] in RULE_BLANKS:
                return Item(number, line, EITHER, bare)
            return Item(number, line, ROW, bare)
        if not bare:
            return Item(number, line, BLANK)
        if bare[-1] in ",;" and len(bare) == form.columns + 1 and self.is_cells(bare[:-1]):
            return Item(number, line, ROW, bare[:-1], range(line.index(bare) + 1, line.index(bare) + len(bare)))
        if SCIENTIFIC.fullmatch(bare):
            return Item(number, line, CUT)
        drawn = line.translate(DRAWN)
        if bare.endswith("|.") and bare.count("|") == form.columns + 1:  # as a package for LaTeX ends its rows
            drawn = drawn.rstrip()[:-1]
        tight = drawn.translate(NO_BARS)
        if RULE.fullmatch(drawn):
            return self._rule(number, line, drawn, tight)
        bars = sum(drawn.count(bar) for bar in BARS)
        strange = len(tight.translate(self.none_but_cells))
        if not strange:
            if len(tight) == form.columns:
                return Item(number, line, ROW, tight)
            if len(tight) > form.columns and self._has_candidates(drawn):
                return Item(number, line, MARKS)
            if bars and len(tight) < form.columns:
                return Item(number, line if line.rstrip()[-2:] != "|." else drawn, BARRED, tight)
            if 2 * form.columns < len(tight) and not bars:
                return Item(number, line, CUT, tight)
            return Item(number, line, ODD, tight)
        if self._has_candidates(drawn):
            return Item(number, line, MARKS)
        # As long as a row, with a slip in it; or a row behind its own number or letter.
        like_a_row = len(tight) == form.columns and 3 * strange <= form.columns and "," not in bare
        if like_a_row or (strange <= 2 and (bars >= 2 or len(tight) == form.columns + 1) and len(tight) > strange):
            return Item(number, line, ODD, tight)
        if any(self._could_be_cut(piece) for piece in PIECES.findall(line)):
            return Item(number, line, CUT)
        return Item(number, line, WORDS)

    def _could_be_cut(self, piece: str) -> bool:
        """Whether a word is most of a puzzle: cells in mostly one blank, too few or too many, or some of them wrong."""
        if not self.cells < 2 * len(piece) <= 4 * self.cells:
            return False
        strange = len(piece.translate(self.none_but_cells))
        return 10 * strange <= len(piece) and not (self.digits | {"0"}).isdisjoint(piece)

    def _rule(self, number: int, line: str, drawn: str, tight: str) -> Item:
        columns = self.form.columns
        kinds = set(tight)
        if not tight:
            return Item(number, line, OPEN)
        if kinds <= {".", "'", ","}:
            return Item(number, line, ROW if tight == "." * columns else ODD if kinds == {"."} else RULED_LINE, tight)
        if len(kinds) == 1 and len(tight) == columns and tight[0] in RULE_BLANKS:
            spaced = " " in drawn.strip() or any(bar in drawn for bar in BARS)
            top = tight[0] == "_" and not any(bar in drawn for bar in BARS)  # of a grid that is drawn with _ and |
            return Item(number, line, ROW if spaced and not top and not RULED.search(drawn) else EITHER, tight)
        if RULED.search(drawn):
            return Item(number, line, RULED_LINE)
        if self.is_cells(tight):
            return Item(number, line, ROW if len(tight) == columns else ODD, tight)
        return Item(number, line, RULED_LINE)

    def _has_candidates(self, drawn: str) -> bool:
        """Whether a line holds as many numbers as a row has cells, some of several digits."""
        words = JOINTS.sub(" ", drawn).split()
        return (
            len(words) == self.form.columns
            and not all(len(word) == self.form.columns for word in words)  # a puzzle, its rows set apart
            and any(len(word) > 1 for word in words)
            and all(self.is_cells(word.strip("+*-()[]{}")) for word in words)
        )

    def whole(self, line: str) -> tuple[str, Where] | None:
        """The one whole puzzle that a line holds, and where, beside remarks, a rating, a number, or its solution."""
        head, _, rest = line.partition(" ")
        if len(head) == self.cells > len(rest) and self.is_whole(head) and not self.digits.isdisjoint(head):
            return head, at(0, 1)
        if max(line.count(separator) for separator in ",;\t") >= self.cells:
            return self._in_groups(line)  # a cell a column, and more: what is whole there is an answer
        found: dict[str, int] = {}
        for match in PIECES.finditer(line):
            for piece in (match.group(), match.group().rstrip(".")):
                # A row of dots is a puzzle only where it is all that a line holds.
                if len(piece) == self.cells and self.is_whole(piece) and not self.digits.isdisjoint(piece):
                    found.setdefault(piece, match.start())
                    break
        if len(found) > 1:  # a puzzle and its solution
            found = {piece: start for piece, start in found.items() if set(piece) - self.digits}
        if len(found) == 1:
            ((piece, start),) = found.items()
            return piece, lambda index: (0, start + index + 1)
        return None if found else self._in_groups(line)

    def _in_groups(self, line: str) -> tuple[str, Where] | None:
        """A puzzle whose rows, or boxes' parts of rows, or cells are set apart; or one with spaces for blanks."""
        cells, columns = self.cells, self.form.columns
        if len(line) < cells:
            return None
        if len(line) == cells and " " in line and set(line) <= self.digits | {" "} and line.strip():
            return line, lambda index: (0, index + 1)
        drawn = line.translate(DRAWN).strip().strip("|/\\:,;\"'[](){}")
        parts = [part for part in JOINTS.split(drawn) if part]
        text = "".join(parts)
        if len(text) != cells or not self.is_whole(text) or len({len(part) for part in parts}) != 1:
            return None
        if len(parts[0]) > columns or columns % len(parts[0]):
            return None
        drawn = line.translate(DRAWN)
        places = [place for place, character in enumerate(drawn) if not JOINTS.match(character)]
        places = [place for place in places if drawn[place] not in "\"'[](){}"]
        return text, listed([(0, place + 1) for place in places])


_SHAPES: dict[str, Shapes] = {}


def shapes(puzzle: TextPuzzle) -> Shapes:
    """The kinds of lines of a task."""
    if puzzle.name not in _SHAPES:
        _SHAPES[puzzle.name] = Shapes(puzzle)
    return _SHAPES[puzzle.name]
