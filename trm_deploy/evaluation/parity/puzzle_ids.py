"""Which puzzle id a comparison gives each question: with puzzle 0 for all, the other rows of a puzzle-embedding table
would never be compared.
"""

from __future__ import annotations

import numpy as np

from trm_deploy.runtimes.base import Int32


def puzzle_ids_of(tokens: Int32, puzzles: int) -> Int32:
    """A puzzle id int32 [B], below `puzzles`, for each question int32 [B, L].

    It follows from the question's tokens alone, whatever else is in the batch; 0 for a model of one puzzle id.
    """
    factors = np.random.default_rng(0).integers(1 << 31, size=tokens.shape[1], dtype=np.int64)
    return np.asarray((tokens * factors).sum(1) % puzzles, np.int32)
