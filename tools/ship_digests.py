"""Writes the size and the SHA-256 of each shipped file into trm_deploy/assets/models.toml; `make assets` ends with it.

    python tools/ship_digests.py

The rest of that table is written by hand: only lines such as `step = { file = "sudoku-step.onnx", ... }` change.
"""

from __future__ import annotations

import re
from pathlib import Path

from trm_deploy.artefacts.shipped import TABLE
from trm_deploy.support.files import sha256, write_atomic

ASSETS = Path(__file__).parent.parent / "trm_deploy" / "assets"
FILE = re.compile(r'^(?P<form>\w+ = )\{ file = "(?P<file>[^"]+)".*\}$', re.MULTILINE)


def with_digests(text: str, folder: Path) -> str:
    """The table's text with what the files of a folder are."""

    def line(match: re.Match[str]) -> str:
        path = folder / match["file"]
        size, digest = path.stat().st_size, sha256(path)
        return f'{match["form"]}{{ file = "{match["file"]}", bytes = {size}, sha256 = "{digest}" }}'

    return FILE.sub(line, text)


def main() -> None:
    """Write the table anew."""
    table = ASSETS / TABLE
    write_atomic(table, with_digests(table.read_text(), ASSETS))
    print(f"wrote {table}")


if __name__ == "__main__":
    main()
