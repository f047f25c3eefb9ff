"""The reference of a comparison: a checkpoint in PyTorch float32, and its ulp-perturbed controls."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trm_deploy.models.perturb import perturb_by_one_ulp
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.runtimes.backends.pytorch import TorchRuntime
from trm_deploy.runtimes.base import Int32, StepResult
from trm_deploy.runtimes.dividing import parts_of


def reference_and_controls(model: RecursiveReasoner, controls: int) -> tuple[TorchRuntime, list[TorchRuntime]]:
    """A model as the reference, and `controls` copies whose weights are one unit in the last place off."""
    return DividedTorch(model), [DividedTorch(perturb_by_one_ulp(model, seed)) for seed in range(controls)]


class DividedTorch(TorchRuntime):
    """PyTorch float32 on the processor, whose steps are computed in parts, see `parts_of`."""

    def step(
        self, tokens: Int32, reset: NDArray[np.bool_], y: Any, z: Any, puzzle_ids: Int32 | None = None
    ) -> StepResult:
        """See `StepRuntime.step`."""
        torch = self._torch
        threads = torch.get_num_threads()
        parts = parts_of(len(tokens), threads)
        if len(parts) == 1:
            return super().step(tokens, reset, y, z, puzzle_ids)

        def compute(rows: slice) -> StepResult:
            torch.set_num_threads(threads // len(parts))  # of this thread
            ids = None if puzzle_ids is None else puzzle_ids[rows]
            return TorchRuntime.step(self, tokens[rows], reset[rows], y[rows], z[rows], ids)

        results = list(_workers(len(parts)).map(compute, parts))
        torch.set_num_threads(threads)  # what threads to come begin with is what was set last, anywhere
        states = ([getattr(result, name) for result in results] for name in ("y", "z"))
        outputs = ([getattr(result, name) for result in results] for name in ("answer", "halt_logit", "logits"))
        return StepResult(*map(torch.cat, states), *map(np.concatenate, outputs))


@functools.cache
def _workers(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="reference")
