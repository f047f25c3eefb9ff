"""The numbers of a run: means over the optimiser steps between two lines of metrics."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from trm_deploy.train.batch import Batch
from trm_deploy.train.distributed import Ranks
from trm_deploy.train.supervision import SupervisionResult


class Window:
    """Means over the optimiser steps since the last line of metrics."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.optimizer_steps = 0
        # Losses of the answer and of halting, samples that left, solved ones of them, their supervision steps; on the
        # device, so that a GPU is not waited for.
        self.totals: Tensor | None = None

    def add(self, result: SupervisionResult, batch: Batch) -> None:
        """Count one optimiser step with its result and the batch after it."""
        halted = batch.halted
        counts = (halted.sum(), (halted & result.correct).sum(), (halted * batch.steps).sum())
        added = torch.stack([value.double() for value in (result.answer_loss, result.halting_loss, *counts)])
        self.totals = added if self.totals is None else self.totals + added
        self.optimizer_steps += 1

    def line(self, ranks: Ranks) -> dict[str, Any]:
        """The metrics: losses, share solved and mean steps of the samples that left, optimiser steps a second.

        These are samples that the weights were just updated on; `held_out_solved` is measured on others.
        All processes must call it.
        """
        assert self.totals is not None, "no optimiser step was added"
        answer_loss, halting_loss, left, solved, steps = ranks.sum(self.totals.clone()).tolist()
        losses, left = self.optimizer_steps * ranks.count, max(left, 1)
        return {
            "answer_loss": answer_loss / losses,
            "halting_loss": halting_loss / losses,
            "solved": solved / left,
            "mean_steps": steps / left,
            "steps_per_second": self.optimizer_steps / (time.monotonic() - self.started),
        }


def note(line: dict[str, Any]) -> str:
    """A line of metrics in short, beside the progress bar."""
    return (
        f"loss {line['answer_loss']:.3f}  solved {line['solved']:.1%}  mean steps {line['mean_steps']:.1f}"
        f"  {line['steps_per_second']:.2f} steps/s"
    )
