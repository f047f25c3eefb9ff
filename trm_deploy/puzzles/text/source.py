"""The lines of a file or of standard input: decoded, numbered, bounded, to be looked at before they are read."""

from __future__ import annotations

import codecs
import contextlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from trm_deploy.errors import InputError
from trm_deploy.puzzles.other_files import refuse_other_kind

# A CSV line is under 300 characters in the published Sudoku sets, under 2,000 in Maze-Hard, and under 8,400 with the
# largest mazes.
MAX_LINE = 10_000
# What is read as a whole: XML, JSON, boards in code, rows of grids that follow each other without a break.
MAX_DOCUMENT = 10 << 20
BLOCK = 1 << 16
HEAD = 4096
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark begins it
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Bytes that no text has: control characters but tab, line ends, form feed and the end mark of old files.
CONTROL = frozenset(range(32)) - set(b"\t\n\r\f\x1a") | {0x7F}

Line = tuple[int, str]  # its number from 1, and its text without the line end


class Source:
    """A file that is read once, from its beginning, in constant memory."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        """Read as much as tells the encoding.

        Args:
            file: open, at its beginning.
            name: for messages.
        """
        self.name = name
        self._file = file
        self._buffer = b""  # UTF-8 where the file has a mark, else as it is
        self._ended = False
        self.head = b""  # what the lines began with, once they are read
        self._decoder: codecs.IncrementalDecoder | None = None
        self._read_mark()

    def _read_mark(self) -> None:
        while not self._ended and any(mark.startswith(self._buffer) and mark != self._buffer for mark, _ in MARKS):
            self._more()
        for mark, encoding in MARKS:
            if self._buffer.startswith(mark):
                rest, self._buffer = self._buffer[len(mark) :], b""
                if encoding == "utf-8":
                    self._buffer = rest
                else:
                    self._decoder = codecs.getincrementaldecoder(encoding)()
                    self._take(rest)
                return

    def _more(self, size: int = BLOCK) -> None:
        """Another block; what a pipe has now, so that whoever types is answered."""
        block = self._file.read1(size) if hasattr(self._file, "read1") else self._file.read(size)
        self._ended = not block
        if self._ended and self._decoder is None:
            self._buffer = self._buffer.removesuffix(b"\x1a")  # the end mark of old files
        self._take(block)

    def _take(self, block: bytes) -> None:
        if self._decoder is None:
            self._buffer += block
            return
        try:
            text = self._decoder.decode(block, final=self._ended)
            self._buffer += text.encode()
        except UnicodeError as error:
            raise InputError(f"{self.name}: is not text in the encoding that its mark names ({error})") from error

    def peek(self, count: int) -> list[Line]:
        """The first lines, up to `count` of them, without reading on; one that is very long is cut."""
        while not self._ended and self._buffer.count(b"\n") < count and len(self._buffer) < BLOCK:
            if b"\n" not in self._buffer and self._buffer.count(b"\r") > count:
                break
            self._more()
        text = self._buffer[:BLOCK].decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
        return list(enumerate(text.split("\n")[:count], start=1))

    def refuse_other_kinds(self) -> None:
        """Raises `InputError` where the beginning is that of another kind of file, which is named."""
        self.peek(1)
        refuse_other_kind(self.name, self._buffer)

    def lines(self) -> Iterator[Line]:
        """All lines from the first on.

        Raises:
            InputError: a line is too long, or not text.
        """
        self.head = self._buffer[:HEAD]
        number = 0
        while True:
            # A line ends in \n, \r\n or \r; a \r at the very end may be half of \r\n.
            whole = self._buffer.rfind(b"\n") + 1 or self._buffer.rfind(b"\r", 0, max(len(self._buffer) - 1, 0)) + 1
            if self._ended:
                whole = len(self._buffer)
            if not whole:
                if self._ended:
                    return
                if len(self._buffer) > MAX_LINE:
                    raise self._too_long(number + 1)
                self._more()
                continue
            block, self._buffer = self._buffer[:whole], self._buffer[whole:]
            for line in self._decoded(block, number):
                number += 1
                if len(line) > MAX_LINE:
                    raise self._too_long(number)
                yield number, line

    def _decoded(self, block: bytes, number: int) -> Iterator[str]:
        try:
            text = block.decode()
        except UnicodeDecodeError:
            text = ""
        if not text or "\0" in text:
            for raw in block.splitlines():
                number += 1
                yield self._decoded_line(raw, number)
            return
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        yield from text.removesuffix("\n").split("\n")

    def _decoded_line(self, raw: bytes, number: int) -> str:
        if len(raw) > 4 * MAX_LINE:
            raise self._too_long(number)
        if b"\0" in raw:
            column = raw.index(b"\0") + 1
            raise InputError(f"{self.name} line {number} column {column}: is not text (a zero byte)")
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            # Remarks in an older encoding hold letters; other files hold control characters soon.
            if any(byte in CONTROL for byte in raw):
                raise InputError(
                    f"{self.name} line {number} column {error.start + 1}: is not text (byte 0x{raw[error.start]:02x}),"
                    " expected a file with puzzles"
                ) from error
        try:
            return raw.decode("cp1252")
        except UnicodeDecodeError:
            return raw.decode("latin-1")

    def _too_long(self, number: int) -> InputError:
        return InputError(
            f"{self.name} line {number}: is longer than {MAX_LINE:,} characters, expected a puzzle a line"
        )

    def document(self) -> str:
        """All of it, line ends as newlines, which takes memory.

        Raises:
            InputError: it is too large, or not text.
        """
        while not self._ended and len(self._buffer) <= MAX_DOCUMENT:
            self._more(MAX_DOCUMENT + 1 - len(self._buffer))
        if len(self._buffer) > MAX_DOCUMENT:
            raise InputError(
                f"{self.name}: is larger than {MAX_DOCUMENT >> 20} MiB, which this format is read up to",
                hint="write a puzzle a line instead",
            )
        block, self._buffer = self._buffer, b""
        try:
            text = block.decode()
        except UnicodeDecodeError as error:
            if any(byte in CONTROL for byte in block):
                line = block.count(b"\n", 0, error.start) + 1
                raise InputError(f"{self.name} line {line}: is not text (byte 0x{block[error.start]:02x})") from error
            text = block.decode("latin-1")
        if "\0" in text:
            line = text.count("\n", 0, text.index("\0")) + 1
            raise InputError(f"{self.name} line {line}: is not text (a zero byte)")
        return text.replace("\r\n", "\n").replace("\r", "\n")


@contextlib.contextmanager
def opened(name: str) -> Iterator[Source]:
    """A file, or standard input where the name is "-".

    Raises:
        InputError: it is missing, a folder, or cannot be read.
    """
    if name == "-":
        if sys.stdin is None:
            raise InputError("standard input: is closed", hint="name a file with puzzles")
        yield Source(sys.stdin.buffer, "standard input")
        return
    with opened_bytes(name) as file:
        yield Source(file, name)


@contextlib.contextmanager
def opened_bytes(name: str) -> Iterator[BinaryIO]:
    """The bytes of a file; raises `InputError` as `opened` does."""
    try:
        with Path(name).open("rb") as file:
            yield file
    except FileNotFoundError as error:
        hint = "name a file with puzzles, or - for standard input"
        raise InputError(f"{name}: there is no such file", hint=hint) from error
    except IsADirectoryError as error:
        raise InputError(f"{name}: is a folder, expected a file with puzzles") from error
    except OSError as error:  # also a name that is too long for one, such as a puzzle itself
        raise InputError(f"{name[:80]}: cannot be read ({error.strerror})") from error


def of_text(text: str, name: str) -> Source:
    """Text that is at hand, as of a section of a file."""
    return Source(io.BytesIO(text.encode("utf-8", "surrogatepass")), name)
