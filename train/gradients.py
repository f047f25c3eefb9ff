"""What a recipe may choose of a supervision step: how far back gradient flows, and how y and z start.

Shapes: B samples, S = P + L positions, D hidden size; x, y and z are [B, S, D].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.train.recipe import Gradient, InitialState

DeepRecursion = Callable[[RecursiveReasoner, Tensor, Tensor, Tensor, int], tuple[Tensor, Tensor]]


def whole(model: RecursiveReasoner, x: Tensor, y: Tensor, z: Tensor, deep: int) -> tuple[Tensor, Tensor]:
    """`deep` latent recursions, all with gradient."""
    for _ in range(deep):
        y, z = model.latent_recursion(x, y, z)
    return y, z


def full(model: RecursiveReasoner, x: Tensor, y: Tensor, z: Tensor, deep: int) -> tuple[Tensor, Tensor]:
    """`deep` latent recursions, the last one with gradient (TRM, arXiv 2510.04871, section 4.1)."""
    with torch.no_grad():
        y, z = whole(model, x, y, z, deep - 1)
    return model.latent_recursion(x, y, z)


def one_step(model: RecursiveReasoner, x: Tensor, y: Tensor, z: Tensor, deep: int) -> tuple[Tensor, Tensor]:
    """`deep` latent recursions; gradient in the last update of z and of y alone (HRM, arXiv 2506.21734, section 2)."""
    last = model.spec.recursion.latent - 1
    with torch.no_grad():
        y, z = whole(model, x, y, z, deep - 1)
        inner = model.states.open(y, z)
        for index in range(last):
            inner = model.update(x, y, inner, index)
    return model.close(x, y, z, model.update(x, y, inner, last))


GRADIENTS: dict[Gradient, DeepRecursion] = {"full": full, "one-step": one_step, "whole": whole}


def fixed(model: RecursiveReasoner) -> None:
    """Random constants, as published: buffers of the model, which it has already."""


def zero(model: RecursiveReasoner) -> None:
    """Zeros that stay."""
    model.y_init.zero_()
    model.z_init.zero_()


def learned(model: RecursiveReasoner) -> None:
    """Random at first, then trained with the weights. A checkpoint looks the same."""
    for name in ("y_init", "z_init"):
        value = getattr(model, name)
        delattr(model, name)  # a buffer's name is taken
        setattr(model, name, nn.Parameter(value))


INITIAL_STATES: dict[InitialState, Callable[[RecursiveReasoner], None]] = {
    "fixed": fixed,
    "learned": learned,
    "zero": zero,
}
