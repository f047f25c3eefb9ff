"""Each halting rule gives one number that is compared with the threshold."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from tests.conftest import random_model, tiny_spec
from trm_deploy.models.halting import HALTING
from trm_deploy.models.solve import solve
from trm_deploy.spec import HaltingRule

Q = torch.tensor([[2.0, 3.0], [-1.0, -4.0], [0.5, 0.5]])  # q_halt, q_continue


def test_every_rule_has_its_number() -> None:
    assert set(HALTING) == set(get_args(HaltingRule))
    assert HALTING["halt"](Q).tolist() == [2.0, -1.0, 0.5]
    assert HALTING["halt-continue"](Q).tolist() == [-1.0, 3.0, 0.0]


@pytest.mark.parametrize("rule", get_args(HaltingRule))
def test_a_model_halts_by_its_rule(rule: HaltingRule) -> None:
    model = random_model(tiny_spec("trm-mlp", halting={"rule": rule}))
    tokens = torch.randint(1, 6, (16, 16), dtype=torch.int32, generator=torch.Generator().manual_seed(0))
    out = model.step(tokens, *model.initial_state(16))
    assert torch.equal(out.halt_logit, HALTING[rule](out.q))
    threshold = float(out.halt_logit.median())
    steps = solve(model, tokens, max_steps=2, halt_threshold=threshold).steps
    assert torch.equal(steps == 1, HALTING[rule](out.q) > threshold)
    assert 0 < (steps == 1).sum() < 16
