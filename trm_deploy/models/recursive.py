"""The one recursive reasoner: TRM and HRM are this class with different settings.

One supervision step, with x the embedded question, y the answer (HRM's z_H) and z the latent (HRM's z_L)
(TRM, arXiv 2510.04871, figure 3; HRM, arXiv 2506.21734, section 2):

    T times:    n times  z <- net_z(x + y + z);    once  y <- net_y(y + z)
    then:       logits = answer_head(y),           halting logit from y's first position

Shapes: B samples, P prefix tokens, L tokens, S = P + L positions, D hidden size, V vocabulary.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from trm_deploy.models.layers import Linear, Network, init_normal
from trm_deploy.spec import ModelSpec


class StepOutput(NamedTuple):
    """What one supervision step gives."""

    y: Tensor  # [B, S, D] answer state
    z: Tensor  # [B, S, D] latent state
    logits: Tensor  # float32 [B, L, V]
    halt_logit: Tensor  # float32 [B]; the sample halts where it exceeds the threshold
    q: Tensor  # float32 [B, 2]: q_halt and q_continue as the halting head gives them


class RecursiveReasoner(nn.Module):
    """A recursive reasoner as its `ModelSpec` describes it.

    The methods are the pieces from which training, evaluation and export compose their loops: `embed`,
    `initial_state`, `latent_recursion`, `heads`, and `step` that does one whole supervision step.
    """

    y_init: Tensor
    z_init: Tensor

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        task, architecture = spec.task, spec.architecture
        size = architecture.hidden_size
        self.positions = architecture.prefix_length + task.sequence_length  # S
        self.embedding_scale = math.sqrt(size)

        self.tokens = nn.Embedding(len(task.vocabulary), size)
        init_normal(self.tokens.weight, 1 / self.embedding_scale)
        if architecture.puzzle_embedding_size:
            # Zero at first, as published: a puzzle's row is learned from nothing.
            self.puzzles = nn.Parameter(torch.zeros(task.puzzle_identifiers, architecture.puzzle_embedding_size))
        if architecture.positions == "learned":
            self.position = nn.Parameter(torch.empty(self.positions, size))
            init_normal(self.position, 1 / self.embedding_scale)

        # One network serves both updates (TRM) or each has its own (HRM): the first is z's, the last is y's.
        count = {"shared": 1, "separate": 2}[architecture.networks]
        self.networks = nn.ModuleList(Network(architecture, self.positions) for _ in range(count))

        self.answer_head = Linear(size, len(task.vocabulary))
        self.halt_head = nn.Linear(size, 2)
        # Nearly "go on" at first: halting must be learned.
        nn.init.zeros_(self.halt_head.weight)
        nn.init.constant_(self.halt_head.bias, -5.0)
        self.register_buffer("y_init", init_normal(torch.empty(size), 1.0))
        self.register_buffer("z_init", init_normal(torch.empty(size), 1.0))

    def embed(self, tokens: Tensor, puzzle_ids: Tensor | None = None, puzzle_embedding: Tensor | None = None) -> Tensor:
        """The embedded question x.

        Args:
            tokens: integer [B, L].
            puzzle_ids: integer [B]; None stands for puzzle 0 throughout.
            puzzle_embedding: [B, E], the rows of the table themselves, in place of `puzzle_ids`.

        Returns:
            [B, S, D]; the P prefix positions carry the puzzle embedding.
        """
        architecture = self.spec.architecture
        x = self.tokens(tokens)
        if architecture.prefix_length:
            shape = (tokens.shape[0], architecture.prefix_length, architecture.hidden_size)
            x = torch.cat((self._prefix(puzzle_ids, puzzle_embedding, x).expand(shape), x), dim=1)
        if architecture.positions == "learned":
            # Halves the variance of the sum, so that its scale stays that of the tokens alone.
            x = math.sqrt(0.5) * (x + self.position)
        embedded: Tensor = self.embedding_scale * x
        return embedded

    def _prefix(self, puzzle_ids: Tensor | None, rows: Tensor | None, like: Tensor) -> Tensor:
        """The prefix [B or 1, P, D]: puzzle embeddings padded with zeros to P * D."""
        architecture = self.spec.architecture
        room = architecture.prefix_length * architecture.hidden_size
        if not architecture.puzzle_embedding_size:
            rows = like.new_zeros(1, room)
        else:
            if rows is None:
                rows = self.puzzles[:1] if puzzle_ids is None else nn.functional.embedding(puzzle_ids, self.puzzles)
            rows = nn.functional.pad(rows, (0, room - architecture.puzzle_embedding_size))
        return rows.reshape(-1, architecture.prefix_length, architecture.hidden_size).to(like.dtype)

    def initial_state(self, batch: int) -> tuple[Tensor, Tensor]:
        """The state y, z that every sample starts from, each [batch, S, D]."""
        shape = (batch, self.positions, self.spec.architecture.hidden_size)
        return self.y_init.expand(shape), self.z_init.expand(shape)

    def update_z(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """One update of the latent, all [B, S, D]."""
        # z + (y + x), not (x + y) + z: float addition does not associate, and the published code adds in this order.
        return self.networks[0](z + (y + x))  # type: ignore[no-any-return]

    def update_y(self, y: Tensor, z: Tensor) -> Tensor:
        """One update of the answer, all [B, S, D]."""
        return self.networks[-1](y + z)  # type: ignore[no-any-return]

    def latent_recursion(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """n updates of z, then one of y; all [B, S, D]."""
        for _ in range(self.spec.recursion.latent):
            z = self.update_z(x, y, z)
        return self.update_y(y, z), z

    def deep_recursion(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """T latent recursions; all [B, S, D]."""
        for _ in range(self.spec.recursion.deep):
            y, z = self.latent_recursion(x, y, z)
        return y, z

    def heads(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """logits float32 [B, L, V], halting logit float32 [B] and q float32 [B, 2] from the answer state [B, S, D]."""
        logits = self.answer_head(y[:, self.spec.architecture.prefix_length :]).float()
        # The halting head is float32 in every precision.
        q = self.halt_head(y[:, 0].to(self.halt_head.weight.dtype)).float()
        halt_logit = q[:, 0] - q[:, 1] if self.spec.halting.rule == "halt-continue" else q[:, 0]
        return logits, halt_logit, q

    def step(self, tokens: Tensor, y: Tensor, z: Tensor, puzzle_ids: Tensor | None = None) -> StepOutput:
        """One supervision step from the state y, z: integer [B, L] and twice [B, S, D]."""
        x = self.embed(tokens, puzzle_ids)
        y, z = self.deep_recursion(x, y, z)
        return StepOutput(y, z, *self.heads(y))
