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


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on `device`, without waiting for what a GPU has been given to do."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


class HostCopy:
    """A tensor that is copied to the CPU behind the work that a GPU has now, and not behind what it is given later."""

    def __init__(self, tensor: Tensor) -> None:
        self._event = torch.cuda.Event() if tensor.device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._tensor = tensor
        if self._event:
            self._tensor = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._tensor.copy_(tensor, non_blocking=True)
            self._event.record()

    def wait(self) -> Tensor:
        """The tensor, once it has come."""
        if self._event:
            self._event.synchronize()
        return self._tensor


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

    def refilled(self, source: Source, ranks: Ranks, free: Tensor, *, stagger: int = 0) -> Batch:
        """The batch with fresh samples in its free slots; their state is reset inside the supervised step.

        Args:
            source: gives the samples, of which each process keeps those in its rows.
            ranks: the processes; all must call it.
            free: bool [B] on the CPU, of all processes: the slots that are `halted`.
            stagger: start the samples with 0 to `stagger` - 1 supervision steps done, in turn. For the first samples,
                so that slots come free evenly ever after: in lockstep, every gradient would be of one supervision step
                only.
        """
        if not free.any():
            return self
        samples = source.take(int(free.sum()))
        mine = ranks.share(free)
        rows = ranks.share(free.cumsum(0) - 1)[mine]  # which of the samples are this process's
        start = torch.arange(len(free)) % stagger if stagger else torch.zeros(len(free))
        device = self.halted.device
        slots = moved(mine.nonzero().squeeze(1), device)

        def fill(old: Tensor, fresh: Tensor) -> Tensor:
            return old.index_put((slots,), moved(fresh.long(), device))

        tokens, labels, puzzles = (torch.from_numpy(array)[rows] for array in samples)
        return self._replace(
            tokens=fill(self.tokens, tokens),
            labels=fill(self.labels, labels),
            puzzles=fill(self.puzzles, puzzles),
            steps=fill(self.steps, ranks.share(start)[mine]),
        )
