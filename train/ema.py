"""The exponential moving average of the weights: the model that is evaluated and exported."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Average = Callable[[Sequence[Tensor], Sequence[Tensor], "Tensor | int"], None]


def warmed_average(decay: float) -> Average:
    """The averaging rule for `torch.optim.swa_utils.AveragedModel`.

    average <- d * average + (1 - d) * weights, with d = min(decay, (1 + n) / (10 + n)) after n updates: a fixed
    decay of 0.999 would still hold half of the initial weights after 700 updates.
    """

    @torch.no_grad()
    def update(averages: Sequence[Tensor], weights: Sequence[Tensor], updates: Tensor | int) -> None:
        count = int(updates)
        torch._foreach_lerp_(list(averages), list(weights), 1 - min(decay, (1 + count) / (10 + count)))

    return update
