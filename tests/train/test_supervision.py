"""One supervised step: its loss, and where its gradient comes from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from torch import nn

from tests.conftest import random_model, tiny_spec
from tests.train.conftest import TINY, parsed
from trm_deploy.models.layers import AttentionMixer
from trm_deploy.train.gradients import GRADIENTS
from trm_deploy.train.supervision import SupervisedStep
from trm_deploy.train.trainer import Trainer


def test_q_continue_learns_from_one_more_step_without_gradient() -> None:
    model = random_model(tiny_spec("hrm")).requires_grad_(True)
    settings = dataclasses.replace(parsed().training, gradient="one-step", halting_weight=1.0)
    step = SupervisedStep(model, settings, torch.float32)
    tokens = torch.ones(2, 16, dtype=torch.int64)
    fresh, last = torch.tensor([True, True]), torch.tensor([False, True])
    y, z = (torch.zeros(2, 18, 32) for _ in range(2))
    result = step(tokens, tokens, fresh, last, y, z, 2)
    first = model.step(tokens, *model.initial_state(2))
    second = model.step(tokens, first.y, first.z)
    worth = torch.where(last, second.q[:, 0], second.q.max(-1).values).sigmoid()
    bce = nn.functional.binary_cross_entropy_with_logits
    expected = (bce(first.q[:, 0], result.correct.float()) + bce(first.q[:, 1], worth)).detach()
    torch.testing.assert_close(result.halting_loss, expected)
    # The same loss with the target as a constant has the same gradient: none flows through the step ahead.
    x = model.embed(tokens)
    y_out, _ = GRADIENTS["one-step"](model, x, *model.initial_state(2), 2)
    logits, _, q = model.heads(y_out)
    constant = nn.functional.cross_entropy(logits.transpose(1, 2), tokens)
    constant = constant + bce(q[:, 0], result.correct.float()) + bce(q[:, 1], worth.detach())
    parameters = [*model.networks.parameters(), *model.halt_head.parameters()]
    got = torch.autograd.grad(result.loss, parameters)
    for one, other in zip(got, torch.autograd.grad(constant, parameters), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_training_on_a_cpu_takes_plain_products_and_what_is_evaluated_does_not(tmp_path: Path) -> None:
    text = TINY.replace('"trm-mlp"', '"trm-att"').replace("hidden_size = 16", "hidden_size = 16, heads = 2")
    trainer = Trainer(parsed(text), tmp_path / "run")
    for model, fused in ((trainer.model, False), (trainer.averaged, True)):
        assert {module.fused for module in model.modules() if isinstance(module, AttentionMixer)} == {fused}
