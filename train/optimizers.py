"""The optimisers: one for the network, and sign-SGD for a table of puzzle embeddings that is trained apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trm_deploy.errors import require
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.train.distributed import Ranks
from trm_deploy.train.recipe import OptimizerSection


def build_optimizer(model: nn.Module, section: OptimizerSection) -> torch.optim.Optimizer:
    """AdamW or Adam-atan2 over a model's parameters; matrices decay, vectors do not.

    Adam-atan2 (arXiv 2407.05872) moves a weight by lr * atan2(m, sqrt(v)) in place of lr * m / (sqrt(v) + eps):
    bounded, and blind to the gradient's scale. As in the published code, the angle is not scaled.

    Raises:
        MissingPackage: the recipe asks for Adam-atan2, and its package is not installed.
    """
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": section.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    first, second = section.betas
    if section.name == "adam-atan2":
        package = require("adam_atan2_pytorch", extra="train", purpose="for optimizer.name = 'adam-atan2'")
        made: torch.optim.Optimizer = package.AdamAtan2(groups, lr=section.learning_rate, betas=(first, second), a=1.0)
        return made
    return torch.optim.AdamW(groups, lr=section.learning_rate, betas=(first, second), fused=True)


class PuzzleTable:
    """A model's puzzle embeddings float32 [N, E], trained apart: only the rows of a batch are read and written.

    A row of a batch changes as in the published code (models/sparse_embedding.py of TRM and HRM), by

        w <- w * (1 - learning rate * weight decay) - learning rate * sign(g)

    with g the sum of its gradients over the global batch: where a row occurs so rarely, Adam would come to the same.
    There is no state beside the table, and no moving average of it: the published average leaves it out too,
    since a row is touched once in thousands of steps and an average over all steps would only drag behind.
    """

    def __init__(self, model: RecursiveReasoner, section: OptimizerSection, ranks: Ranks) -> None:
        # Beside the module from here on, not in it: no optimiser, average or DistributedDataParallel walks over it.
        self.weight = model.puzzles.detach()
        del model.puzzles
        self._learning_rate = section.puzzle_learning_rate or 0.0
        self._weight_decay = section.puzzle_weight_decay
        self._ranks = ranks

    def share_with(self, model: RecursiveReasoner) -> None:
        """Let the model look rows up, as evaluation does."""
        model.puzzles = self.weight  # type: ignore[assignment]

    def rows(self, puzzle_ids: Tensor) -> Tensor:
        """A copy of the rows [B, E] of int64 [B], which gathers the gradient."""
        return self.weight[puzzle_ids].requires_grad_()

    @torch.no_grad()
    def update(self, puzzle_ids: Tensor, gradient: Tensor, factor: float) -> None:
        """One step; every process must call it and ends with the same table.

        Args:
            puzzle_ids: int64 [b] of this process's samples.
            gradient: [b, E] of this process's mean loss.
            factor: share of the peak learning rate.
        """
        ids, places = torch.unique(self._ranks.gather(puzzle_ids), return_inverse=True)
        # A matrix product and no scattered addition: that one adds in any order on a GPU, a sum near zero then
        # changes its sign from process to process, and the tables drift apart.
        members = nn.functional.one_hot(places, len(ids)).T.to(gradient.dtype)  # [rows, B]
        total = members @ self._ranks.gather(gradient)
        rate = self._learning_rate * factor
        self.weight[ids] = self.weight[ids] * (1 - rate * self._weight_decay) - rate * total.sign()
