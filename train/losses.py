"""The losses of one supervision step (TRM, arXiv 2510.04871, section 4; HRM, arXiv 2506.21734, section 2).

Shapes: B samples, L tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from trm_deploy.spec import HaltingRule
from trm_deploy.train.labels import IGNORED
from trm_deploy.train.recipe import Loss


class StepLoss(NamedTuple):
    """Per-sample losses and what they were made from."""

    answer: Tensor  # float32 [B]: cross entropy, mean over the tokens that the label names
    halting: Tensor  # float32 [B]: see `HALTING_LOSSES`
    correct: Tensor  # bool [B]: every token that the label names is right


def log_softmax(logits: Tensor) -> Tensor:
    """Logarithms of the probabilities that softmax gives; float32 [..., V]."""
    return F.log_softmax(logits, dim=-1)


def log_stablemax(logits: Tensor) -> Tensor:
    """Logarithms of the probabilities that stablemax gives; float32 [..., V].

    Stablemax (arXiv 2501.04697, section 4) is s(x) / sum s(x) with s(x) = x + 1 for x >= 0 and 1 / (1 - x) below:
    softmax whose exponential is replaced by something that grows no faster than its argument.
    """
    # log s(x) = +-log1p(|x|), so this is a log softmax of that. Clamped, because both branches get gradient.
    log_s = torch.where(logits >= 0, torch.log1p(logits.clamp(min=0)), -torch.log1p(-logits.clamp(max=0)))
    return F.log_softmax(log_s, dim=-1)


LOG_PROBABILITIES: dict[Loss, Callable[[Tensor], Tensor]] = {"softmax": log_softmax, "stablemax": log_stablemax}


def correctness_loss(q: Tensor, correct: Tensor, last: Tensor, next_q: Callable[[], Tensor]) -> Tensor:
    """Binary cross entropy of "the answer is right" (TRM); see `HALTING_LOSSES` for the arguments."""
    return F.binary_cross_entropy_with_logits(q[:, 0], correct.to(q.dtype), reduction="none")


def q_learning_loss(q: Tensor, correct: Tensor, last: Tensor, next_q: Callable[[], Tensor]) -> Tensor:
    """Binary cross entropies of q_halt and q_continue (HRM, section 2), added; see `HALTING_LOSSES` for the arguments.

    q_halt is to say whether the answer is right; q_continue what the better of halting and continuing will be worth one
    step later, or halting alone where no step would follow that one.
    """
    later = next_q()
    worth = torch.where(last, later[:, 0], later.max(-1).values).sigmoid()
    continuing = F.binary_cross_entropy_with_logits(q[:, 1], worth, reduction="none")
    return correctness_loss(q, correct, last, next_q) + continuing


# q float32 [B, 2] (q_halt, q_continue), the answer is right bool [B], it is the last supervision step bool [B], q one
# supervision step later, without gradient (computed only where it is used) -> float32 [B].
HALTING_LOSSES: dict[HaltingRule, Callable[[Tensor, Tensor, Tensor, Callable[[], Tensor]], Tensor]] = {
    "halt": correctness_loss,
    "halt-continue": q_learning_loss,
}


def step_loss(
    logits: Tensor,
    q: Tensor,
    labels: Tensor,
    last: Tensor,
    next_q: Callable[[], Tensor],
    *,
    loss: Loss,
    rule: HaltingRule,
) -> StepLoss:
    """The losses of one supervision step.

    Args:
        logits: float32 [B, L, V].
        q: float32 [B, 2]: q_halt and q_continue.
        labels: int64 [B, L]; IGNORED where there is nothing to learn.
        last: bool [B]: the sample's last supervision step.
        next_q: gives q one supervision step later, without gradient.
        loss: how logits become probabilities.
        rule: the model's halting rule.
    """
    wanted = labels != IGNORED
    chosen = LOG_PROBABILITIES[loss](logits).gather(-1, labels.where(wanted, 0)[..., None]).squeeze(-1)
    answer = -(chosen * wanted).sum(-1) / wanted.sum(-1).clamp_min(1)
    with torch.no_grad():
        correct = ((logits.argmax(-1) == labels) | ~wanted).all(-1)
    return StepLoss(answer, HALTING_LOSSES[rule](q, correct, last, next_q), correct)
