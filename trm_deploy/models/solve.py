"""Runs a reasoner in PyTorch until every sample has halted: the reference that every runtime is compared with."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from trm_deploy.models.recursive import RecursiveReasoner


class Halted(NamedTuple):
    """Each sample as it stood at the step at which it halted, or at the last one."""

    answer: Tensor  # int32 [B, L]
    steps: Tensor  # int32 [B], from 1
    halt_logit: Tensor  # float32 [B]
    logits: Tensor  # float32 [B, L, V]


@torch.inference_mode()
def solve(
    model: RecursiveReasoner,
    tokens: Tensor,
    puzzle_ids: Tensor | None = None,
    *,
    max_steps: int,
    halt_threshold: float,
) -> Halted:
    """Supervision steps until every sample's halting logit has exceeded the threshold, or `max_steps` are done.

    A sample that has halted leaves the batch: it is frozen and costs nothing any more.

    Args:
        model: the reasoner; its parameters' device and dtype are used.
        tokens: int32 [B, L], on the model's device.
        puzzle_ids: int32 [B] or None.
        max_steps: at least 1.
        halt_threshold: +inf never halts.
    """
    batch, length = tokens.shape
    device = tokens.device
    answer = torch.empty((batch, length), dtype=torch.int32, device=device)
    steps = torch.empty(batch, dtype=torch.int32, device=device)
    halt_logit = torch.empty(batch, dtype=torch.float32, device=device)
    logits = torch.empty((batch, length, len(model.spec.task.vocabulary)), dtype=torch.float32, device=device)
    active = torch.arange(batch, device=device)
    y, z = model.initial_state(batch)
    for step in range(1, max_steps + 1):
        ids = None if puzzle_ids is None else puzzle_ids[active]
        out = model.step(tokens[active], y, z, ids)
        done = out.halt_logit > halt_threshold if step < max_steps else torch.ones_like(active, dtype=torch.bool)
        rows = active[done]
        answer[rows] = out.logits[done].argmax(-1).to(torch.int32)
        steps[rows] = step
        halt_logit[rows] = out.halt_logit[done]
        logits[rows] = out.logits[done]
        active, y, z = active[~done], out.y[~done], out.z[~done]
        if not len(active):
            break
    return Halted(answer, steps, halt_logit, logits)
