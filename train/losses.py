"""The losses of one supervision step (TRM, arXiv 2510.04871, section 4; HRM, arXiv 2506.21734, section 2)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from trm_deploy.train.data import IGNORED


class StepLoss(NamedTuple):
    """Per-sample losses and what they were made from."""

    answer: Tensor  # float32 [B]: cross entropy, mean over the tokens that are asked for
    halting: Tensor  # float32 [B]: binary cross entropy of "the answer is right"
    correct: Tensor  # bool [B]: every token that is asked for is right


def step_loss(logits: Tensor, halt_logit: Tensor, labels: Tensor) -> StepLoss:
    """The losses of one supervision step.

    Args:
        logits: float32 [B, L, V].
        halt_logit: float32 [B].
        labels: int64 [B, L]; IGNORED where nothing is asked.
    """
    asked = labels != IGNORED
    entropy = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none")
    answer = entropy.view(labels.shape).sum(-1) / asked.sum(-1).clamp_min(1)
    with torch.no_grad():
        correct = ((logits.argmax(-1) == labels) | ~asked).all(-1)
    halting = F.binary_cross_entropy_with_logits(halt_logit, correct.to(halt_logit.dtype), reduction="none")
    return StepLoss(answer, halting, correct)
