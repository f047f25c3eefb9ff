"""The graph forms of a reasoner, as PyTorch modules that `torch.onnx.export` turns into ONNX.

    step   one supervision step, state in and out
    loop   all supervision steps, as one loop that ends when every sample has halted

Recursions become ONNX Loops through `while_loop`; what a loop carries is an operand, all else it takes by closure.
Shapes: B samples, L tokens, S = P + L positions, D hidden size, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch._higher_order_ops import while_loop

from trm_deploy.models.recursive import RecursiveReasoner

STEP_OUTPUTS = ("y_next", "z_next", "answer", "halt_logit", "logits")
LOOP_OUTPUTS = ("answer", "steps", "halt_logit", "logits")


def answer_of(logits: Tensor) -> Tensor:
    """The answer int32 [B, L]: the likeliest token of float32 [B, L, V]."""
    return logits.argmax(-1).to(torch.int32)


def _zero() -> Tensor:
    # Each loop counts in a tensor of its own: `while_loop` refuses an operand that is also closed over.
    return torch.zeros((), dtype=torch.int64)


def deep_recursion_as_loops(model: RecursiveReasoner, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """`RecursiveReasoner.deep_recursion` with T and n as nested loops; all [B, S, D]."""
    recursion = model.spec.recursion

    def deep_body(index: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        def latent_body(index: Tensor, inner: Tensor) -> tuple[Tensor, Tensor]:
            return index + 1, model.update(x, y, inner)

        _, inner = while_loop(  # type: ignore[no-untyped-call]
            lambda index, inner: index < recursion.latent, latent_body, (_zero(), model.states.open(y, z))
        )
        return index + 1, *model.close(x, y, z, inner)

    _, y, z = while_loop(lambda index, y, z: index < recursion.deep, deep_body, (_zero(), y, z))  # type: ignore[no-untyped-call]
    return y, z


class StepGraph(nn.Module):
    """One supervision step. A row with `reset` starts from the stored initial state, whatever came in."""

    def __init__(self, model: RecursiveReasoner, *, unroll_inner: bool) -> None:
        super().__init__()
        self.model = model
        self.unroll_inner = unroll_inner

    def forward(
        self, tokens: Tensor, puzzle_ids: Tensor | None, reset: Tensor, y: Tensor, z: Tensor
    ) -> tuple[Tensor, ...]:
        """int32 [B, L], int32 [B] or None, bool [B], [B, S, D] twice -> `STEP_OUTPUTS`."""
        y_init, z_init = self.model.initial_state(tokens.shape[0])
        fresh = reset[:, None, None]
        y, z = torch.where(fresh, y_init, y), torch.where(fresh, z_init, z)
        x = self.model.embed(tokens, puzzle_ids)
        y, z = self.recurse(x, y, z)
        logits, halt_logit, _ = self.model.heads(y)
        return y, z, answer_of(logits), halt_logit, logits

    def recurse(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """One deep recursion, all [B, S, D]."""
        if self.unroll_inner:
            return self.model.deep_recursion(x, y, z)
        return deep_recursion_as_loops(self.model, x, y, z)


class LoopGraph(StepGraph):
    """All supervision steps, ending when every sample has halted or `max_steps` are done.

    A halted sample is frozen: its outputs stay as they stood when it halted, whatever shares its batch.
    """

    def forward(  # type: ignore[override]
        self, tokens: Tensor, puzzle_ids: Tensor | None, max_steps: Tensor, halt_threshold: Tensor
    ) -> tuple[Tensor, ...]:
        """int32 [B, L], int32 [B] or None, int32 [], float32 [] -> `LOOP_OUTPUTS`."""
        batch, length = tokens.shape
        x = self.model.embed(tokens, puzzle_ids)
        y, z = (state.clone() for state in self.model.initial_state(batch))

        def unfinished(index: Tensor, halted: Tensor, *_: Tensor) -> Tensor:
            return (index < max_steps) & ~halted.all()

        def body(
            index: Tensor, halted: Tensor, steps: Tensor, halt_logit: Tensor, logits: Tensor, y: Tensor, z: Tensor
        ) -> tuple[Tensor, ...]:
            y, z = self.recurse(x, y, z)
            new_logits, new_halt_logit, _ = self.model.heads(y)
            index = index + 1
            steps = torch.where(halted, steps, index)
            halt_logit = torch.where(halted, halt_logit, new_halt_logit)
            logits = torch.where(halted[:, None, None], logits, new_logits)
            return index, halted | (halt_logit > halt_threshold), steps, halt_logit, logits, y, z

        carried = (
            torch.zeros((), dtype=torch.int32),
            torch.zeros(batch, dtype=torch.bool),
            torch.zeros(batch, dtype=torch.int32),
            torch.zeros(batch, dtype=torch.float32),
            torch.zeros((batch, length, len(self.model.spec.task.vocabulary)), dtype=torch.float32),
            y,
            z,
        )
        _, _, steps, halt_logit, logits, _, _ = while_loop(unfinished, body, carried)  # type: ignore[no-untyped-call]
        # The answer follows from the frozen logits, so it need not be carried.
        return answer_of(logits), steps, halt_logit, logits
