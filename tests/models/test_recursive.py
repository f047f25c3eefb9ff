"""The reasoner does the published recursion: against the golden checkpoints, and against a plain rewriting."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import GOLDEN, golden_halting_steps, random_model, tiny_spec
from trm_deploy import checkpoints
from trm_deploy.models.layers import init_normal, rms_norm
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.models.solve import solve
from trm_deploy.spec import Architecture, Halting, ModelSpec


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_checkpoints(name: str, published_data: Path) -> None:
    folder = published_data / "golden" / name
    model = checkpoints.load(folder).model()
    recorded = np.load(folder / "io.npz")
    tokens = torch.from_numpy(recorded["inputs"])
    ids = torch.from_numpy(recorded["puzzle_identifiers"])
    y, z = model.initial_state(len(tokens))
    compared = 0
    with torch.inference_mode():
        for step in range(1, 17):
            out = model.step(tokens, y, z, ids)
            y, z = out.y, out.z
            np.testing.assert_allclose(out.q[:, 0].numpy(), recorded["q_halt"][step - 1], atol=1e-3)
            np.testing.assert_allclose(out.q[:, 1].numpy(), recorded["q_continue"][step - 1], atol=1e-3)
            if step in recorded["steps"]:
                index = list(recorded["steps"]).index(step)
                np.testing.assert_allclose(out.logits.numpy(), recorded["logits"][index], atol=1e-3)
                np.testing.assert_array_equal(out.logits.argmax(-1).numpy(), recorded["argmax"][index])
                compared += 1
    assert compared == 4
    steps = solve(model, tokens, ids, max_steps=16, halt_threshold=0.0).steps
    np.testing.assert_array_equal(steps.numpy(), golden_halting_steps(name, recorded))


def test_the_latent_is_updated_n_times_and_then_the_answer_once() -> None:
    """Not alternately, as some circulating pseudo-code has it."""
    model = random_model(tiny_spec("trm-mlp"))
    calls: list[str] = []
    model.update = lambda x, y, z, index: calls.append("z") or z  # type: ignore[method-assign, func-returns-value, assignment, misc]
    model.close = lambda x, y, z, inner: calls.append("y") or (y, z)  # type: ignore[method-assign, func-returns-value]
    y, z = model.initial_state(1)
    model.deep_recursion(y, y, z)
    assert "".join(calls) == "zzyzzy"
    assert model.spec.recursion.network_calls == len(calls)


def test_separate_networks_and_the_continue_logit_are_settings() -> None:
    base = tiny_spec("trm-att")
    architecture = Architecture(**{**base.architecture.__dict__, "networks": "separate"})
    spec = ModelSpec(
        task=base.task, architecture=architecture, recursion=base.recursion, halting=Halting(rule="halt-continue")
    )
    model = RecursiveReasoner(spec)
    assert len(model.networks) == 2
    y, _ = model.initial_state(3)
    _, halt_logit, q = model.heads(y)
    torch.testing.assert_close(halt_logit, q[:, 0] - q[:, 1])


def test_rms_norm_is_computed_in_float32_and_keeps_the_dtype() -> None:
    x = torch.tensor([[1e-3, 2e-3, 300.0]], dtype=torch.float16)
    out = rms_norm(x, 1e-5)
    assert out.dtype == torch.float16
    # 300 squared overflows float16; the norm must not.
    torch.testing.assert_close(out[0, 2].float(), torch.tensor(math.sqrt(3.0)), rtol=1e-3, atol=0)


def test_initialisation_has_the_standard_deviation_it_names() -> None:
    torch.manual_seed(0)
    sample = init_normal(torch.empty(100_000), 0.25)
    assert sample.std().item() == pytest.approx(0.25, rel=0.02)


def test_an_initial_puzzle_embedding_fills_the_front_of_the_prefix() -> None:
    model = random_model(tiny_spec("trm-mlp", identifiers=3))
    tokens = torch.ones(2, 16, dtype=torch.int32)
    x = model.embed(tokens, torch.tensor([2, 0], dtype=torch.int32))
    assert x.shape == (2, 18, 32)
    prefix = x[:, :2].flatten(1) / model.embedding_scale
    torch.testing.assert_close(prefix[:, :40], model.puzzles[[2, 0]])
    assert (prefix[:, 40:] == 0).all()


def test_solve_freezes_what_has_halted() -> None:
    model = random_model(tiny_spec("trm-mlp"))
    tokens = torch.randint(1, 6, (6, 16), dtype=torch.int32, generator=torch.Generator().manual_seed(0))
    free = [solve(model, tokens, max_steps=k, halt_threshold=math.inf) for k in range(1, 7)]
    threshold = float(torch.stack([out.halt_logit for out in free]).median())
    out = solve(model, tokens, max_steps=6, halt_threshold=threshold)
    for row, steps in enumerate(out.steps.tolist()):
        torch.testing.assert_close(out.logits[row], free[steps - 1].logits[row], atol=1e-5, rtol=1e-5)
        assert steps == 6 or out.halt_logit[row] > threshold
        assert all(free[earlier].halt_logit[row] <= threshold for earlier in range(steps - 1))
