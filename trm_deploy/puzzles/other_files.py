"""Files that hold no puzzles, called what they are by how they begin: of spreadsheets, archives, failed downloads."""

from __future__ import annotations

import re

from trm_deploy.errors import InputError

# How other kinds of files begin, what they are, what to do.
OTHERS = (
    (b"PK\x03\x04", "a ZIP archive, as spreadsheets (.xlsx, .ods) are", "save the sheet as CSV, or unpack the archive"),
    (b"\xd0\xcf\x11\xe0", "a file of Excel or Word in their old format", "save the sheet as CSV"),
    (b"\x1f\x8b", "packed with gzip", "unpack it: gunzip FILE"),
    (b"BZh", "packed with bzip2", "unpack it: bunzip2 FILE"),
    (b"\xfd7zXZ", "packed with xz", "unpack it: unxz FILE"),
    (b"PAR1", "a Parquet file", "write it anew: pandas.read_parquet(FILE).to_csv('puzzles.csv', index=False)"),
    (b"%PDF", "a PDF", "copy the puzzles out of it into a text file"),
    (b"version https://git-lfs.", "a git-lfs pointer, not the file itself", "type in its clone: git lfs pull"),
)
WEB_PAGE = re.compile(rb"(?is)(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html|head)\b")
AGAIN = "download the file that it links to"


def refuse_other_kind(name: str, head: bytes) -> None:
    """Raises `InputError` where a file, that begins with `head`, is of another kind, and says which."""
    for magic, what, cure in OTHERS:
        if head.startswith(magic):
            raise InputError(f"{name}: is {what}, expected a file with puzzles", hint=cure)
    if WEB_PAGE.match(head):
        raise InputError(f"{name}: is a web page, expected a file with puzzles", hint=AGAIN)
    for odd in (0, 1):  # every second byte is zero
        beginning = head[:40]
        if len(head) > 8 and not any(beginning[odd::2]) and all(beginning[1 - odd : len(beginning) - 1 : 2]):
            raise InputError(f"{name}: looks like UTF-16 without the mark that says so", hint="save it as UTF-8")
