"""The states beside the answer: none, one, or a latent that is split and updated part by part."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from tests.conftest import random_model, tiny_spec
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.models.solve import solve
from trm_deploy.spec import Recursion


def with_latents(latents: int, name: str = "trm-mlp", latent: int = 4) -> RecursiveReasoner:
    """A tiny random model with other states; n = 4 unless said."""
    base = tiny_spec(name)
    architecture = dataclasses.replace(base.architecture, latents=latents)
    return random_model(
        dataclasses.replace(base, architecture=architecture, recursion=Recursion(latent=latent, deep=2))
    )


def random_state(model: RecursiveReasoner) -> tuple[Tensor, Tensor, Tensor]:
    """x, y and z of two samples."""
    generator = torch.Generator().manual_seed(1)
    y, z = (torch.randn(state.shape, generator=generator) for state in model.initial_state(2))
    return torch.randn(y.shape, generator=generator), y, z


@pytest.mark.parametrize("name", ["trm-mlp", "hrm"])
def test_without_latents_the_answer_is_updated_from_itself(name: str) -> None:
    model = with_latents(0, name)
    x, y, z = random_state(model)
    expected = y
    for network in [model.networks[0]] * 4 + [model.networks[-1]]:
        expected = network(x + expected)
    new_y, new_z = model.latent_recursion(x, y, z)
    torch.testing.assert_close(new_y, expected)
    assert torch.equal(new_z, z)


def test_a_split_latent_is_updated_part_by_part_and_seen_as_a_sum() -> None:
    model = with_latents(3)  # with n = 4 the first part is updated twice
    (net,) = model.networks
    x, y, z = random_state(model)
    a, b, c = z.chunk(3, dim=1)
    a = net(a + b + c + y + x)
    b = net(a + b + c + y + x)
    c = net(a + b + c + y + x)
    a = net(a + b + c + y + x)
    new_y, new_z = model.latent_recursion(x, y, z)
    torch.testing.assert_close(new_y, net(y + a + b + c))
    torch.testing.assert_close(new_z, torch.cat((a, b, c), dim=1))
    # PyTorch solves with it, whatever the number of states that the batch carries.
    tokens = torch.ones(2, 16, dtype=torch.int32)
    assert solve(model, tokens, max_steps=3, halt_threshold=math.inf).steps.tolist() == [3, 3]
