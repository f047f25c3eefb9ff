"""The optimisers do what their formulas say; the puzzle table touches only the rows of the batch."""

from __future__ import annotations

import torch
from torch import nn

from tests.conftest import tiny_spec
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.train.distributed import Ranks
from trm_deploy.train.optimizers import PuzzleTable, build_optimizer
from trm_deploy.train.recipe import OptimizerSection


def test_adam_atan2_moves_by_the_angle_and_decays_matrices_alone() -> None:
    module = nn.Linear(2, 2)
    nn.init.ones_(module.weight)
    nn.init.ones_(module.bias)
    settings = OptimizerSection(name="adam-atan2", learning_rate=0.1, weight_decay=0.5)
    optimizer = build_optimizer(module, settings)
    for parameter in module.parameters():
        parameter.grad = torch.full_like(parameter, 1e-12)
    optimizer.step()
    # At the first step both averages, corrected, are g and g**2: the angle is pi / 4 however small g is.
    step = 0.1 * torch.pi / 4
    torch.testing.assert_close(module.weight.detach(), torch.full((2, 2), 1 - 0.1 * 0.5 - step))
    torch.testing.assert_close(module.bias.detach(), torch.full((2,), 1 - step))


def test_only_the_rows_of_the_batch_change_by_the_sign_of_their_sum() -> None:
    model = RecursiveReasoner(tiny_spec("trm-mlp", identifiers=1000))
    settings = OptimizerSection(puzzle_learning_rate=0.1, puzzle_weight_decay=0.5)
    table = PuzzleTable(model, settings, Ranks())
    assert "puzzles" not in model.state_dict()
    table.weight.fill_(1.0)
    ids = torch.tensor([7, 3, 7])
    rows = table.rows(ids)
    assert rows.is_leaf
    assert rows.shape == (3, 40)
    gradient = torch.zeros(3, 40)
    gradient[:, 0] = torch.tensor([2.0, -1.0, -3.0])  # row 7: 2 - 3
    gradient[:, 1] = torch.tensor([2.0, 0.0, -1.0])  # row 7: 2 - 1
    table.update(ids, gradient, factor=0.5)
    rate, kept = 0.05, 1 - 0.05 * 0.5
    torch.testing.assert_close(table.weight[7, :3], torch.tensor([kept + rate, kept - rate, kept]))
    torch.testing.assert_close(table.weight[3, :3], torch.tensor([kept + rate, kept, kept]))
    others = torch.ones(1000, dtype=torch.bool)
    others[ids] = False
    assert (table.weight[others] == 1).all()


def test_the_gradient_reaches_the_rows_that_the_model_is_given() -> None:
    model = RecursiveReasoner(tiny_spec("trm-mlp", identifiers=5))
    nn.init.normal_(model.puzzles)
    tokens, ids = torch.ones(2, 16, dtype=torch.int64), torch.tensor([4, 2])
    expected = model.embed(tokens, ids)
    table = PuzzleTable(model, OptimizerSection(puzzle_learning_rate=0.1), Ranks())
    rows = table.rows(ids)
    embedded = model.embed(tokens, puzzle_embedding=rows)
    assert torch.equal(embedded, expected)
    embedded.sum().backward()  # type: ignore[no-untyped-call]
    assert rows.grad is not None
    assert (rows.grad != 0).all()
    table.share_with(model)
    assert torch.equal(model.embed(tokens, ids), expected)
