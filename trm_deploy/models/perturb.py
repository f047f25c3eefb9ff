"""Weights moved by rounding alone: what such a model does differently is the model's own sensitivity to noise."""

from __future__ import annotations

import copy

import torch

from trm_deploy.models.recursive import RecursiveReasoner


def perturb_by_one_ulp(model: RecursiveReasoner, seed: int) -> RecursiveReasoner:
    """A copy whose every float32 weight is the next representable number above or below, by chance."""
    perturbed = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*perturbed.parameters(), *perturbed.buffers()):
            up = torch.rand(tensor.shape, generator=generator) < 0.5
            target = torch.where(up, torch.full_like(tensor, torch.inf), torch.full_like(tensor, -torch.inf))
            tensor.copy_(torch.nextafter(tensor, target))
    return perturbed
