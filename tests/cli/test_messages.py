"""What the library logs, as the user sees it."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trm_deploy.cli import messages
from trm_deploy.support import progress as bars

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _level() -> Iterator[None]:
    before = messages.LOGGER.level
    yield
    messages.LOGGER.setLevel(before)
    messages.LOGGER.removeHandler(messages._HANDLER)


def told() -> None:
    log = logging.getLogger("trm_deploy.anything")
    log.debug("a detail")
    log.info("wrote x.onnx")
    log.warning("no table beside it")
    log.error("line 2 is no puzzle")


@pytest.mark.parametrize(
    ("level", "lines"),
    [
        (logging.INFO, ["wrote x.onnx", "note: no table beside it", "error: line 2 is no puzzle"]),
        (logging.WARNING, ["note: no table beside it", "error: line 2 is no puzzle"]),
        (
            logging.DEBUG,
            ["debug: a detail", "wrote x.onnx", "note: no table beside it", "error: line 2 is no puzzle"],
        ),
    ],
)
def test_messages_are_plain_lines_on_stderr(level: int, lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    messages.show(level)
    messages.show(level)  # a second call does not double them
    told()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == lines


def test_progress_without_a_terminal_is_a_line_now_and_then_and_hidden_by_quiet(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bars, "PLAIN_INTERVAL_S", 0.0)
    for level, expected in ((logging.INFO, "solving: 1/2 puzzles, 0 min remaining  fast\n"), (logging.WARNING, "")):
        messages.show(level)
        with bars.progress("solving", 2, unit="puzzles") as advance:
            advance(1, "fast")
        assert capsys.readouterr().err == expected


def test_the_library_alone_prints_nothing() -> None:
    code = (
        "import logging, sys\nfrom trm_deploy.support import progress as bars\nbars.PLAIN_INTERVAL_S = 0\n"
        "with bars.progress('solving', 2) as advance:\n    advance(1)\n"
        "logging.getLogger('trm_deploy.export').info('exporting')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert (done.stdout, done.stderr) == ("", "")
