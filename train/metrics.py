"""The numbers of a run: means over the optimiser steps between two lines of metrics."""

from __future__ import annotations

import time
from typing import Any

import torch

from trm_deploy.train.batch import Batch
from trm_deploy.train.distributed import Ranks
from trm_deploy.train.supervision import SupervisionResult


class Window:
    """Means over the optimiser steps since the last line of metrics."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.optimizer_steps = 0
        self.answer_loss = self.halting_loss = 0.0
        self.left = self.solved = self.steps = 0

    def add(self, result: SupervisionResult, batch: Batch) -> None:
        """Count one optimiser step with its result and the batch after it."""
        halted = batch.halted
        self.optimizer_steps += 1
        self.answer_loss += result.answer_loss.item()
        self.halting_loss += result.halting_loss.item()
        self.left += int(halted.sum())
        self.solved += int((halted & result.correct).sum())
        self.steps += int(batch.steps[halted].sum())

    def line(self, ranks: Ranks, device: torch.device) -> dict[str, Any]:
        """The metrics: losses, share solved and mean steps of the samples that left, optimiser steps a second.

        These are samples that the weights were just updated on; `held_out_solved` is measured on others.
        All processes must call it.
        """
        mine = (self.answer_loss, self.halting_loss, self.left, self.solved, self.steps)
        totals = ranks.sum(torch.tensor(mine, dtype=torch.float64, device=device)).tolist()
        answer_loss, halting_loss, left, solved, steps = totals
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
