"""The states of a latent recursion: how many latents there are beside the answer y, and how they are updated.

Shapes: B samples, S = P + L positions, D hidden size.
"""

from __future__ import annotations

import torch
from torch import Tensor


class States:
    """The states of a latent recursion: the published y and z.

    A latent recursion opens an inner state, changes it n times and closes it into y and z. Subclasses are the other
    settings of `Architecture.latents`. All tensors are [B, S, D], but for z where it is split.
    """

    def __init__(self, latents: int) -> None:
        self.latents = latents

    def open(self, y: Tensor, z: Tensor) -> Tensor:
        """The inner state: what the n updates change."""
        return z

    def update_input(self, x: Tensor, y: Tensor, inner: Tensor) -> Tensor:
        """What the network sees in an update of the inner state."""
        # z + (y + x), not (x + y) + z: float addition does not associate, and the published code adds in this order.
        return inner + (y + x)

    def updated(self, inner: Tensor, output: Tensor, index: int) -> Tensor:
        """The inner state after update `index` (from 0) has given `output`."""
        return output

    def answer_input(self, x: Tensor, y: Tensor, inner: Tensor) -> Tensor:
        """What the network sees in the last update, that of y."""
        return y + inner

    def close(self, z: Tensor, inner: Tensor) -> Tensor:
        """z after the latent recursion."""
        return inner


class OneState(States):
    """y alone: n + 1 times y <- net(x + y). z is carried along unused, so that every graph has the same signature."""

    def open(self, y: Tensor, z: Tensor) -> Tensor:
        """y."""
        return y

    def update_input(self, x: Tensor, y: Tensor, inner: Tensor) -> Tensor:
        """y + x, with y as the updates have left it."""
        return inner + x

    def answer_input(self, x: Tensor, y: Tensor, inner: Tensor) -> Tensor:
        """The same once more."""
        return inner + x

    def close(self, z: Tensor, inner: Tensor) -> Tensor:
        """z, untouched."""
        return z.clone()  # an exported loop may not return its own input


class SplitLatent(States):
    """y and k latents, which follow one another along the positions of z [B, k * S, D].

    Update i is of latent i mod k. The network sees the sum of all, in which it cannot tell them apart: they differ by
    when they were updated (TRM, arXiv 2510.04871, section 4.2, "multi-scale z", with k = n).
    """

    def _sum(self, inner: Tensor) -> Tensor:
        return torch.stack(inner.chunk(self.latents, dim=1)).sum(0)

    def update_input(self, x: Tensor, y: Tensor, inner: Tensor) -> Tensor:
        """The sum of the latents, y and x."""
        return self._sum(inner) + (y + x)

    def updated(self, inner: Tensor, output: Tensor, index: int) -> Tensor:
        """All latents, of which one is new."""
        parts = list(inner.chunk(self.latents, dim=1))
        parts[index % self.latents] = output
        return torch.cat(parts, dim=1)

    def answer_input(self, x: Tensor, y: Tensor, inner: Tensor) -> Tensor:
        """The sum of y and the latents."""
        return y + self._sum(inner)


def states_for(latents: int) -> States:
    """The states of a model with that many latents, see `trm_deploy.spec.Architecture`."""
    return {0: OneState, 1: States}.get(latents, SplitLatent)(latents)
