"""A batch in parts for groups of threads: every row once, as many parts as divide the threads."""

from __future__ import annotations

import pytest

from trm_deploy.runtimes.dividing import parts_of


@pytest.mark.parametrize(
    ("batch", "threads", "sizes"),
    [
        (8, 1, [8]),
        (1, 2, [1]),
        (3, 2, [3]),
        (4, 2, [2, 2]),
        (9, 2, [9]),
        (8, 6, [4, 4]),  # four parts would not divide six threads
        (12, 6, [2, 2, 2, 2, 2, 2]),
        (8, 16, [2, 2, 2, 2]),
        (64, 4, [16, 16, 16, 16]),
        (5, 3, [5]),
    ],
)
def test_parts(batch: int, threads: int, sizes: list[int]) -> None:
    parts = parts_of(batch, threads)
    assert [part.stop - part.start for part in parts] == sizes
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(batch))
