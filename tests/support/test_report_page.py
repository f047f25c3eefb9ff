"""Reports as pages: one file, whatever is in the names that they show."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trm_deploy.support.report_page import page, write_page

REPORT = """# A & B

**Holds** for `<b>.onnx`.

| name | share |
| --- | --- |
| <script>alert(1)</script> | 1.0% |

![a "curve"](1-a%20b.png)
"""


def test_pictures_are_inside_and_names_are_text(tmp_path: Path) -> None:
    (tmp_path / "1-a b.png").write_bytes(b"\x89PNG\r\n")
    write_page(tmp_path / "report.html", REPORT)
    text = (tmp_path / "report.html").read_text()
    assert "<title>A &amp; B</title>" in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert '<img src="data:image/png;base64,iVBORw0K" alt="a &quot;curve&quot;">' in text
    assert text.count("<script>") == 1
    assert not re.search(r"https?://", text)
    assert '<div class="scroll" role="region" aria-label="table" tabindex="0"><table>' in text


def test_a_picture_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"1-a b\.png"):
        page(REPORT, tmp_path)
