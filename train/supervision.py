"""One supervision step in training: from the state y, z through the recursion to losses and gradient.

Shapes: B samples, L tokens, S = P + L positions, D hidden size, E puzzle embedding.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from trm_deploy.models.layers import AttentionMixer
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.train.gradients import GRADIENTS, whole
from trm_deploy.train.losses import step_loss
from trm_deploy.train.recipe import TrainingSection


class SupervisionResult(NamedTuple):
    """What one supervised step of a batch gives; all detached but `loss`."""

    loss: Tensor  # float32 []
    answer_loss: Tensor  # float32 []
    halting_loss: Tensor  # float32 []
    correct: Tensor  # bool [B]
    halt_logit: Tensor  # float32 [B]
    y: Tensor  # [B, S, D]
    z: Tensor  # [B, S, D]


class SupervisedStep(nn.Module):
    """One supervision step with its loss; gradient flows as far back as the recipe says."""

    def __init__(self, model: RecursiveReasoner, training: TrainingSection, state_dtype: torch.dtype) -> None:
        super().__init__()
        self.model = model
        self.training_section = training  # nn.Module has a `training` of its own
        self.state_dtype = state_dtype
        for module in model.modules():
            if isinstance(module, AttentionMixer):
                module.fused = model.y_init.device.type != "cpu"

    def forward(
        self,
        tokens: Tensor,
        labels: Tensor,
        fresh: Tensor,
        last: Tensor,
        y: Tensor,
        z: Tensor,
        deep: int,
        puzzle_embedding: Tensor | None = None,
    ) -> SupervisionResult:
        """One step.

        Args:
            tokens, labels: int64 [B, L].
            fresh: bool [B]: these rows start from the initial state.
            last: bool [B]: these rows take their last supervision step.
            y, z: [B, S, D].
            deep: T, latent recursions in all.
            puzzle_embedding: float32 [B, E]; None where the model looks its rows up itself.
        """
        model, training = self.model, self.training_section
        y_init, z_init = model.initial_state(len(tokens))
        y = torch.where(fresh[:, None, None], y_init.to(y.dtype), y)
        z = torch.where(fresh[:, None, None], z_init.to(z.dtype), z)
        # Autocast narrows matrix products only; a narrow x keeps the sums and norms between them narrow too.
        x = model.embed(tokens, puzzle_embedding=puzzle_embedding).to(self.state_dtype)
        y, z = GRADIENTS[training.gradient](model, x, y, z, deep)
        logits, halt_logit, q = model.heads(y)

        def next_q() -> Tensor:
            with torch.no_grad():
                later, _ = whole(model, x, y, z, deep)
                return model.heads(later)[2]

        losses = step_loss(logits, q, labels, last, next_q, loss=training.loss, rule=model.spec.halting.rule)
        answer_loss, halting_loss = losses.answer.mean(), losses.halting.mean()
        return SupervisionResult(
            answer_loss + training.halting_weight * halting_loss,
            answer_loss.detach(),
            halting_loss.detach(),
            losses.correct,
            halt_logit.detach(),
            y.detach(),
            z.detach(),
        )
