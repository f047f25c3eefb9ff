"""The moving average forgets the initial weights."""

from __future__ import annotations

import pytest
import torch

from trm_deploy.train.ema import warmed_average


def test_the_average_is_warmed_up() -> None:
    update = warmed_average(0.9)
    average, weight = [torch.zeros(1)], [torch.ones(1)]
    update(average, weight, torch.tensor(0))
    assert average[0].item() == pytest.approx(0.9)  # after the first update nearly all of it is new
    average = [torch.zeros(1)]
    update(average, weight, torch.tensor(10_000))
    assert average[0].item() == pytest.approx(0.1)
