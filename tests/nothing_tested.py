"""For tests of special machines: skips what a machine lacks, and ends with exit code 5 where that is everything."""

from __future__ import annotations

import pytest

NOTHING_TESTED = 5


class NothingTested:
    """A pytest plugin that counts the tests of one marker."""

    def __init__(self, marker: str, title: str) -> None:
        self._marker, self._title = marker, title
        self._tested = self._skipped = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self._marker not in report.keywords:
            return
        if report.skipped:
            self._skipped += 1
        elif report.when == "call" or report.failed:
            self._tested += 1

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if self._skipped and not self._tested and exitstatus == 0:
            session.exitstatus = NOTHING_TESTED
            print(f"\nnothing tested: every {self._title} test was skipped, see the reasons")
