"""Tables as spreadsheets and data frames write them: indices, labels, empty columns, grids in a field."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.puzzles.text.writers import LINE, cells, grid, rows
from trm_deploy.errors import InputError
from trm_deploy.puzzles import reading
from trm_deploy.puzzles.reading import Question
from trm_deploy.puzzles.sudoku import Sudoku

PUZZLE = Sudoku()
ZEROS = LINE.replace(".", "0")
HEAD_81 = ",".join(f"r{n // 9 + 1}c{n % 9 + 1}" for n in range(81))


def read(path: Path, content: str | bytes) -> list[Question]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(reading.read(str(path), PUZZLE))


def texts(found: list[Question]) -> list[str]:
    assert [question.error for question in found] == [""] * len(found)
    return [PUZZLE.text(question.tokens) for question in found if question.tokens is not None]


def indexed(line: str, head: str, first: int, blank: str = "") -> str:
    """A table with its columns' names above, and its rows' numbers beside."""
    body = [f"{n},{','.join(row).replace('.', blank)}" for n, row in enumerate(rows(line), start=first)]
    return "\n".join([f",{','.join(head)}", *body])


@pytest.mark.parametrize(
    "content",
    [
        indexed(LINE, "ABCDEFGHI", 1),
        indexed(LINE, "012345678", 0, "0"),
        indexed(LINE, "123456789", 1),
        f"id,{HEAD_81},label\n7,{','.join(ZEROS)},hard\n",
        f"{HEAD_81},difficulty\n{','.join(LINE).replace('.', '')},2.5\n",
        "\n".join(f"{','.join(row).replace('.', '')},," for row in rows(LINE)),
        "\n".join(f",,{','.join(row).replace('.', '')}" for row in rows(LINE)),
        "\n".join(f";{';'.join(row).replace('.', '0')};;" for row in rows(LINE)),
        f'name,puzzle\nx,"{grid(LINE)}"\n',
        f'puzzle,name\r\n"{grid(LINE, space=" ").replace(chr(10), chr(13) + chr(10))}",x\r\n',
        f"sep=;\npuzzle;solution\n{LINE};\n",
        f"sep=,\n{cells(LINE)}\n",
        f"{LINE}\r\n\x1a",
        f"{grid(LINE)}\r\n\x1a",
    ],
)
def test_one_puzzle(tmp_path: Path, content: str) -> None:
    assert texts(read(tmp_path / "p", content)) == [ZEROS]


def test_an_empty_column_on_either_side_could_be_one_of_the_grid(tmp_path: Path) -> None:
    """Which of the first and the last column is a blank one of the puzzle, nobody can tell."""
    open_first = "".join("." + row[1:] for row in rows(LINE))
    (found,) = read(tmp_path / "p", "\n".join(f"{','.join(row).replace('.', '')}," for row in rows(open_first)))
    assert "columns 1 to 9 or in columns 2 to 10" in found.error
    sure = "\n".join(f"{','.join(row).replace('.', '0')}," for row in rows(open_first))
    assert texts(read(tmp_path / "p", sure)) == [open_first.replace(".", "0")]


def test_labels_without_a_header_lose_no_row(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has 82 columns, expected 81 with a cell each"):
        read(tmp_path / "p", f"{','.join(ZEROS)},hard\n{','.join(ZEROS)},easy\n")


def test_a_quote_that_does_not_end_spoils_its_own_line_alone(tmp_path: Path) -> None:
    found = read(tmp_path / "p", f'id,puzzle\n1,"{LINE}\n2,{LINE}\n3,"{LINE}"\n')
    assert [bool(question.error) for question in found] == [True, False, False]
    assert "line 2: is not a CSV row" in found[0].error


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04" + bytes(60), "is a ZIP archive, as spreadsheets .* are; save the sheet as CSV"),
        (b"\x1f\x8b\x08\x00" + bytes(20), "is packed with gzip; unpack it: gunzip"),
        (LINE.encode("utf-16-le"), "UTF-16 without the mark"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "is a git-lfs pointer"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "is a PDF"),
    ],
)
def test_files_of_other_kinds_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path / "p", content)
    assert caught.match(message.split("; ")[0])
    if "; " in message:
        assert caught.value.hint is not None
        assert message.split("; ")[1] in caught.value.hint
