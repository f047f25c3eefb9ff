"""Attention: two ways of computing it agree, and rotary positions see offsets alone."""

from __future__ import annotations

import pytest
import torch

from trm_deploy.models.layers import AttentionMixer
from trm_deploy.spec import Architecture

SIDE = 4


def mixer(positions: str, *, prefix: int = 1) -> AttentionMixer:
    """Attention over a grid of 4 x 4 cells behind the prefix."""
    torch.manual_seed(0)
    architecture = Architecture(
        hidden_size=32,
        mixer="attention",
        heads=2,
        positions=positions,  # type: ignore[arg-type]
        prefix_length=prefix,
        rope_theta=100.0,
    )
    return AttentionMixer(architecture, prefix + SIDE * SIDE)


@pytest.mark.parametrize("positions", ["learned", "rotary", "rotary-2d"])
def test_plain_products_give_what_the_fused_operation_gives(positions: str) -> None:
    module = mixer(positions)
    x = torch.randn(3, 1 + SIDE * SIDE, 32)
    found = []
    for module.fused in (True, False):
        given = x.clone().requires_grad_()
        out = module(given)
        found.append((out, *torch.autograd.grad(out[..., 0].sum(), [given, module.qkv.weight])))
    for fused, plain in zip(*found, strict=True):
        torch.testing.assert_close(plain, fused, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prefix", [1, 3])
def test_2d_positions_see_rows_and_columns_apart(prefix: int) -> None:
    """What a query and a key make of each other depends on the offset of their rows and of their columns alone."""
    module = mixer("rotary-2d", prefix=prefix)
    query, key = torch.randn(2, 16)
    turned = [module._rotate(vector.expand(prefix + SIDE * SIDE, 16)) for vector in (query, key)]
    scores = turned[0] @ turned[1].T
    cell = [[prefix + SIDE * row + column for column in range(SIDE)] for row in range(SIDE)]
    for rows, columns in ((1, 0), (0, 1), (2, -1)):
        offsets = [
            scores[cell[row][column], cell[row + rows][column + columns]]
            for row in range(SIDE - rows)
            for column in range(max(0, -columns), SIDE - max(0, columns))
        ]
        torch.testing.assert_close(torch.stack(offsets), offsets[0].expand(len(offsets)), rtol=1e-4, atol=1e-4)
    # One to the right is not one down, nor what follows in the flattened grid.
    assert abs(scores[cell[0][0], cell[0][1]] - scores[cell[0][0], cell[1][0]]) > 0.05
    assert abs(scores[cell[0][2], cell[0][3]] - scores[cell[0][3], cell[1][0]]) > 0.05
    # The prefix is on the grid's diagonal, before its first cell.
    torch.testing.assert_close(scores[prefix - 1, cell[0][0]], scores[cell[0][0], cell[1][1]], rtol=1e-4, atol=1e-4)
