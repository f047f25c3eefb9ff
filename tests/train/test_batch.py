"""The persistent batch takes fresh samples into its free slots alone."""

from __future__ import annotations

import torch

from tests.train.conftest import parsed
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.train.batch import Batch
from trm_deploy.train.data import sources
from trm_deploy.train.distributed import Ranks


def test_the_first_batch_is_out_of_step_and_fresh_samples_start_at_zero() -> None:
    asked = parsed()
    source = sources.build(asked.data, seed=0, held_out=4)
    empty = Batch.empty(RecursiveReasoner(asked.spec), 32, torch.float32, torch.device("cpu"))
    assert empty.halted.all()
    first = empty.refilled(source, Ranks(), empty.halted, stagger=8)
    assert sorted(set(first.steps.tolist())) == list(range(8))
    halted = torch.zeros(32, dtype=torch.bool)
    halted[3] = True
    later = first._replace(halted=halted).refilled(source, Ranks(), halted)
    assert later.steps[3] == 0
    assert torch.equal(later.steps[4:], first.steps[4:])
    assert torch.equal(later.tokens[4:], first.tokens[4:])
