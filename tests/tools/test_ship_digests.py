"""tools/ship_digests.py: the table's digests follow the files, and the rest of it stays."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.conftest import ASSETS, load_tool
from trm_deploy.artefacts.shipped import TABLE


def test_the_digests_follow_the_files(tmp_path: Path) -> None:
    tool = load_tool("ship_digests")
    before = 'card = "m.md"\n[m.files]\nstep = { file = "m.onnx", bytes = 0, sha256 = "" }\n# file = { file = "x" }\n'
    (tmp_path / "m.onnx").write_bytes(b"abc")
    digest = hashlib.sha256(b"abc").hexdigest()
    after = before.replace('bytes = 0, sha256 = ""', f'bytes = 3, sha256 = "{digest}"')
    assert tool.with_digests(before, tmp_path) == after
    with pytest.raises(FileNotFoundError, match=r"n\.onnx"):
        tool.with_digests(before.replace("m.onnx", "n.onnx"), tmp_path)


def test_the_table_is_as_the_tool_writes_it() -> None:
    text = (ASSETS / TABLE).read_text()
    assert load_tool("ship_digests").with_digests(text, ASSETS) == text
