"""The one recursive reasoner: TRM and HRM are this class with different settings.

One supervision step, with x the embedded question, y the answer (HRM's z_H) and z the latent (HRM's z_L)
(TRM, arXiv 2510.04871, figure 3; HRM, arXiv 2506.21734, section 2):

    T times:    n times  z <- net_z(x + y + z);    once  y <- net_y(y + z)
    then:       logits = answer_head(y),           halting logit from y's first position

Which states there are besides y is a setting, see `trm_deploy.models.states`; which number decides about halting is
one too, see `trm_deploy.models.halting`.

Shapes: B samples, P prefix tokens, L tokens, S = P + L positions, D hidden size, V vocabulary.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from trm_deploy.models.halting import HALTING
from trm_deploy.models.layers import Linear, Network, init_normal
from trm_deploy.models.states import states_for
from trm_deploy.spec import ModelSpec


class StepOutput(NamedTuple):
    """What one supervision step gives."""

    y: Tensor  # [B, S, D] answer state
    z: Tensor  # [B, S, D] latent state
    logits: Tensor  # float32 [B, L, V]
    halt_logit: Tensor  # float32 [B]; the sample halts where it exceeds the threshold
    q: Tensor  # float32 [B, 2]: q_halt and q_continue as the halting head gives them


class OutsideTable:
    """A puzzle-embedding table [puzzles, E] that is not part of the module: whatever copies, casts, moves or alters the
    module's weights leaves it as it is, usually mapped from a file.
    """

    def __init__(self, table: Tensor) -> None:
        self.table = table

    def __deepcopy__(self, memo: object) -> OutsideTable:
        return self

    def rows(self, puzzle_ids: Tensor) -> Tensor:
        """float32 [B, E] on the ids' device, from integer [B]."""
        return self.table[puzzle_ids.cpu()].to(puzzle_ids.device, torch.float32)


class RecursiveReasoner(nn.Module):
    """A recursive reasoner as its `ModelSpec` describes it.

    The methods are the pieces from which training, evaluation and export compose their loops: `embed`,
    `initial_state`, `latent_recursion` (which is `states.open`, n times `update`, and `close`), `heads`, and `step`
    that does one whole supervision step.
    """

    y_init: Tensor
    z_init: Tensor

    def __init__(self, spec: ModelSpec, *, table: Tensor | None = None) -> None:
        """With random weights.

        Args:
            spec: what the model is.
            table: a puzzle-embedding table [puzzles, E] to use as it is, outside the module's own weights.
        """
        super().__init__()
        self.spec = spec
        task, architecture = spec.task, spec.architecture
        size = architecture.hidden_size
        self.positions = spec.positions  # S
        self.embedding_scale = math.sqrt(size)

        self.tokens = nn.Embedding(len(task.vocabulary), size)
        init_normal(self.tokens.weight, 1 / self.embedding_scale)
        self.outside_table = None if table is None else OutsideTable(table)
        if architecture.puzzle_embedding_size and table is None:
            # Zero at first, as published: a puzzle's row is learned from nothing.
            self.puzzles = nn.Parameter(torch.zeros(task.puzzle_identifiers, architecture.puzzle_embedding_size))
        if architecture.positions == "learned":
            self.position = nn.Parameter(torch.empty(self.positions, size))
            init_normal(self.position, 1 / self.embedding_scale)

        # One network serves both updates (TRM) or each has its own (HRM): the first is z's, the last is y's.
        count = {"shared": 1, "separate": 2}[architecture.networks]
        self.networks = nn.ModuleList(Network(architecture, self.positions) for _ in range(count))
        self.states = states_for(architecture.latents)

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
            puzzle_ids: integer [B]; None means puzzle 0 for every sample.
            puzzle_embedding: float32 [B, E], the puzzles' rows themselves, in place of their ids.

        Returns:
            [B, S, D]; the P prefix positions carry the puzzle embedding.
        """
        architecture = self.spec.architecture
        x = self.tokens(tokens)
        if architecture.prefix_length:
            shape = (tokens.shape[0], architecture.prefix_length, architecture.hidden_size)
            x = torch.cat((self._prefix(tokens, puzzle_ids, puzzle_embedding).to(x.dtype).expand(shape), x), dim=1)
        if architecture.positions == "learned":
            # Halves the variance of the sum, so that its scale stays that of the tokens alone.
            x = math.sqrt(0.5) * (x + self.position)
        embedded: Tensor = self.embedding_scale * x
        return embedded

    def _prefix(self, tokens: Tensor, puzzle_ids: Tensor | None, rows: Tensor | None) -> Tensor:
        """The prefix [B or 1, P, D]: puzzle embeddings padded with zeros to P * D."""
        architecture = self.spec.architecture
        room = architecture.prefix_length * architecture.hidden_size
        if not architecture.puzzle_embedding_size:
            return torch.zeros(1, architecture.prefix_length, architecture.hidden_size, device=tokens.device)
        if rows is None and self.outside_table is not None:
            rows = self.outside_table.rows(tokens.new_zeros(1) if puzzle_ids is None else puzzle_ids)
        elif rows is None:
            rows = self.puzzles[:1] if puzzle_ids is None else nn.functional.embedding(puzzle_ids, self.puzzles)
        rows = nn.functional.pad(rows, (0, room - architecture.puzzle_embedding_size))
        return rows.reshape(-1, architecture.prefix_length, architecture.hidden_size)

    def initial_state(self, batch: int) -> tuple[Tensor, Tensor]:
        """The state y [batch, S, D] and z [batch, S, D] (k * S positions where it is split) that samples start from."""
        y_shape, z_shape = self.spec.state_shapes
        return self.y_init.expand(batch, *y_shape), self.z_init.expand(batch, *z_shape)

    def update(self, x: Tensor, y: Tensor, inner: Tensor, index: int = 0) -> Tensor:
        """Update `index` (from 0) of the inner state; all [B, S, D]. Only a split latent depends on the index."""
        return self.states.updated(inner, self.networks[0](self.states.update_input(x, y, inner)), index)

    def close(self, x: Tensor, y: Tensor, z: Tensor, inner: Tensor) -> tuple[Tensor, Tensor]:
        """The end of a latent recursion: the update of y, and z from the inner state; all [B, S, D]."""
        return self.networks[-1](self.states.answer_input(x, y, inner)), self.states.close(z, inner)

    def latent_recursion(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """n updates of z, then one of y; all [B, S, D]."""
        inner = self.states.open(y, z)
        for index in range(self.spec.recursion.latent):
            inner = self.update(x, y, inner, index)
        return self.close(x, y, z, inner)

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
        return logits, HALTING[self.spec.halting.rule](q), q

    def step(self, tokens: Tensor, y: Tensor, z: Tensor, puzzle_ids: Tensor | None = None) -> StepOutput:
        """One supervision step from the state y, z: integer [B, L] and twice [B, S, D]."""
        x = self.embed(tokens, puzzle_ids)
        y, z = self.deep_recursion(x, y, z)
        return StepOutput(y, z, *self.heads(y))
