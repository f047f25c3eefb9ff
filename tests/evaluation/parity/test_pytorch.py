"""The reference computes what PyTorch computes, in parts or whole."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from tests.conftest import random_model, tiny_spec
from trm_deploy.evaluation.parity.pytorch import reference_and_controls
from trm_deploy.runtimes.backends.pytorch import TorchRuntime
from trm_deploy.runtimes.base import StepRuntime, initial_numpy_state

TOKENS = np.random.default_rng(3).integers(1, 6, (4, 16)).astype(np.int32)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("name", ["trm-mlp", "hrm"])
def test_a_step_in_parts_is_a_step(name: str) -> None:
    model = random_model(tiny_spec(name))
    divided, controls = reference_and_controls(model, 1)
    runtimes: list[StepRuntime] = [TorchRuntime(model), divided, *controls]
    states = [initial_numpy_state(model.spec, len(TOKENS))] * 3
    for step in range(3):
        reset = np.arange(len(TOKENS)) == step
        results = [runtime.step(TOKENS, reset, *state) for runtime, state in zip(runtimes, states)]
        states = [(result.y, result.z) for result in results]
        for field in ("answer", "halt_logit", "logits", "y", "z"):
            whole, parts, control = (np.asarray(getattr(result, field)) for result in results)
            np.testing.assert_allclose(parts, whole, atol=1e-5)
            assert control.shape == whole.shape
    assert not np.array_equal(results[1].logits, results[2].logits)
    assert torch.get_num_threads() == 2
