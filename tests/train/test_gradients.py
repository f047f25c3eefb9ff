"""How far back gradient flows and how y and z start: each choice computes what its formula says."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from tests.conftest import random_model, tiny_spec
from tests.train.conftest import parsed
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.train.gradients import GRADIENTS, INITIAL_STATES
from trm_deploy.train.supervision import SupervisedStep


def trainable(name: str) -> RecursiveReasoner:
    return random_model(tiny_spec(name)).requires_grad_(True)


def state(model: RecursiveReasoner) -> list[Tensor]:
    """x, y and z of two samples, each a leaf."""
    generator = torch.Generator().manual_seed(1)
    y, _ = model.initial_state(2)
    return [torch.randn(y.shape, generator=generator).requires_grad_() for _ in range(3)]


def gradients(model: RecursiveReasoner, y: Tensor, z: Tensor) -> list[Tensor | None]:
    """Of something that depends on all of y and z, by the networks' weights."""
    loss = (y * y.detach().cos()).sum() + z.square().mean()
    return list(torch.autograd.grad(loss, list(model.networks.parameters()), allow_unused=True))


@pytest.mark.parametrize("name", ["trm-mlp", "hrm"])
def test_the_one_step_gradient_is_that_of_the_last_two_updates(name: str) -> None:
    model = trainable(name)  # n = 2, T = 2
    first, last = model.networks[0], model.networks[-1]
    x, y, z = state(model)
    got_y, got_z = GRADIENTS["one-step"](model, x, y, z, 2)
    with torch.no_grad():
        z_before = first(z + (y + x))
        z_before = first(z_before + (y + x))
        y_before = last(y + z_before)
        z_before = first(z_before + (y_before + x))
    expected_z = first(z_before + (y_before + x))
    expected_y = last(y_before + expected_z)
    assert torch.equal(got_y, expected_y)
    assert torch.equal(got_z, expected_z)
    through = torch.autograd.grad(got_y.sum(), (x, y, z), allow_unused=True, retain_graph=True)
    assert [gradient is not None for gradient in through] == [True, False, False]
    for got, expected in zip(gradients(model, got_y, got_z), gradients(model, expected_y, expected_z), strict=True):
        torch.testing.assert_close(got, expected)


def test_the_gradients_reach_as_far_back_as_they_say() -> None:
    model = trainable("trm-mlp")
    grads = {}
    values = []
    for kind, recursion in GRADIENTS.items():
        x, y, z = state(model)
        y_out, z_out = recursion(model, x, y, z, 2)
        values.append(y_out.detach())
        through = torch.autograd.grad(y_out.sum(), (y, z), allow_unused=True, retain_graph=True)
        grads[kind] = gradients(model, y_out, z_out)
        assert all((gradient is not None) == (kind == "whole") for gradient in through)
    # One forward, three gradients.
    assert all(torch.equal(value, values[0]) for value in values)
    for kind in ("one-step", "whole"):
        pairs = zip(grads["full"], grads[kind], strict=True)
        assert any(not torch.allclose(full, other) for full, other in pairs if full is not None and other is not None)


def test_the_initial_state_is_constant_learned_or_zero() -> None:
    models = {}
    for kind, apply in INITIAL_STATES.items():
        torch.manual_seed(3)
        models[kind] = RecursiveReasoner(tiny_spec("trm-mlp"))
        apply(models[kind])
    assert set(models["fixed"].state_dict()) == set(models["learned"].state_dict()) == set(models["zero"].state_dict())
    assert torch.equal(models["fixed"].y_init, models["learned"].y_init)
    assert not any(start.any() for start in models["zero"].initial_state(2))
    assert "y_init" not in dict(models["fixed"].named_parameters())
    tokens, fresh = torch.ones(2, 16, dtype=torch.int64), torch.tensor([True, True])
    settings = dataclasses.replace(parsed().training, gradient="whole", initial_state="learned")
    y, z = (torch.zeros(2, 18, 32) for _ in range(2))
    SupervisedStep(models["learned"], settings, torch.float32)(tokens, tokens, fresh, ~fresh, y, z, 2).loss.backward()
    for start in (models["learned"].y_init, models["learned"].z_init):
        assert start.grad is not None
        assert start.grad.abs().max() > 0
