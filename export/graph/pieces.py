"""The pieces of a reasoner without control flow, as one PyTorch module that `torch.onnx.export` traces in seconds.

`trm_deploy.export.graph.forms` makes the graph forms of them: recursion, halting and freezing are added there as ONNX,
so that a piece is traced once, however often a graph uses it.
Shapes: B samples, L tokens, S = P + L positions, D hidden size, V vocabulary.
"""

from __future__ import annotations

from torch import Tensor, nn

from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.signature import HALT_LOGIT, LOGITS

# Each piece with its results, by their names in the traced graph.
PIECES = {
    "embed": ("embedded",),  # tokens, and what tells puzzles apart -> x
    "start": ("y_start", "z_start"),  # tokens, for their batch size
    "open": ("opened",),  # y, z -> the inner state
    "update": ("updated",),  # x, y, inner -> the inner state
    "close": ("y_closed", "z_closed"),  # x, y, z, inner
    "heads": (LOGITS, HALT_LOGIT),  # y
}
RESULTS = tuple(name for names in PIECES.values() for name in names)


class Pieces(nn.Module):
    """All pieces side by side: no result depends on another."""

    def __init__(self, model: RecursiveReasoner) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        tokens: Tensor,
        puzzle_ids: Tensor | None,
        puzzle_embedding: Tensor | None,
        x: Tensor,
        y: Tensor,
        z: Tensor,
        inner: Tensor,
    ) -> tuple[Tensor, ...]:
        """int32 [B, L], int32 [B] or None, float32 [B, E] or None, [B, S, D] four times -> `RESULTS`."""
        model = self.model
        y_start, z_start = (state.clone() for state in model.initial_state(tokens.shape[0]))
        y_closed, z_closed = model.close(x, y, z, inner)
        logits, halt_logit, _ = model.heads(y)
        return (
            model.embed(tokens, puzzle_ids, puzzle_embedding),
            y_start,
            z_start,
            model.states.open(y, z).clone(),
            model.update(x, y, inner),
            y_closed,
            z_closed.clone(),
            logits,
            halt_logit,
        )
