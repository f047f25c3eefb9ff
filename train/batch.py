"""The persistent batch: samples that stay for several optimiser steps and carry their state along.

Shapes: B samples, L tokens, S = P + L positions, D hidden size.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.train.data.sources import Source
from trm_deploy.train.distributed import Ranks


class Batch(NamedTuple):
    """The rows of one process."""

    tokens: Tensor  # int64 [B, L]
    labels: Tensor  # int64 [B, L]
    puzzles: Tensor  # int64 [B], puzzle identifiers
    y: Tensor  # [B, S, D]
    z: Tensor  # [B, S, D]
    steps: Tensor  # int64 [B] supervision steps done
    halted: Tensor  # bool [B]: the slot is free

    @classmethod
    def empty(cls, model: RecursiveReasoner, size: int, state_dtype: torch.dtype, device: torch.device) -> Batch:
        """`size` free slots."""
        y, z = (torch.zeros_like(state, dtype=state_dtype) for state in model.initial_state(size))
        tokens = torch.zeros(size, model.spec.task.sequence_length, dtype=torch.int64, device=device)
        numbers = tokens.new_zeros(size)
        return cls(tokens, tokens.clone(), numbers, y, z, numbers.clone(), numbers == 0)

    def refilled(self, source: Source, ranks: Ranks, *, stagger: int = 0) -> Batch:
        """The batch with fresh samples in its free slots; their state is reset inside the supervised step.

        Args:
            source: gives the samples, of which each process keeps those in its rows.
            ranks: the processes; all must call it.
            stagger: start the samples with 0 to `stagger` - 1 supervision steps done, in turn. For the first samples,
                so that slots come free evenly ever after: in lockstep, every gradient would be of one supervision step
                only.
        """
        every = ranks.gather(self.halted).cpu()  # bool [B], of all processes
        if not every.any():
            return self
        samples = source.take(int(every.sum()))
        free = ranks.share(every)
        rows = ranks.share(every.cumsum(0) - 1)[free]  # which of the samples are this process's
        start = torch.arange(len(every)) % stagger if stagger else torch.zeros(len(every))
        device = self.halted.device
        slots = free.to(device)

        def fill(old: Tensor, fresh: Tensor) -> Tensor:
            return old.index_put((slots,), fresh.long().to(device))

        tokens, labels, puzzles = (torch.from_numpy(array)[rows] for array in samples)
        return self._replace(
            tokens=fill(self.tokens, tokens),
            labels=fill(self.labels, labels),
            puzzles=fill(self.puzzles, puzzles),
            steps=fill(self.steps, ranks.share(start)[free]),
        )
