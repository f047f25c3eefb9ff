"""Precision that the graph itself carries, so that a strongly typed engine has no choice.

float16: weights, activations and the state y, z. In float32 remain RMSNorm (the layers compute it so in every
precision), the halting head and all arithmetic on halting logits: a logit that crosses the threshold by a hair decides
how many steps a puzzle gets.
"""

from __future__ import annotations

import copy

import torch

from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.spec import Precision


def cast(model: RecursiveReasoner, precision: Precision) -> RecursiveReasoner:
    """The model in a precision; a copy, except for float32.

    Args:
        model: float32.
        precision: as the flag names it.
    """
    if precision == "fp32":
        return model
    narrow = copy.deepcopy(model).to(torch.float16)
    narrow.halt_head = copy.deepcopy(model.halt_head)  # casting it back would not bring its last bits back
    return narrow
