"""Each choice of a supervision step computes what its formula says, and a whole run takes it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import random_model, tiny_spec
from tests.train.test_trainer import SMALL, TINY, parsed
from trm_deploy import checkpoints
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.models.solve import solve
from trm_deploy.train.gradients import GRADIENTS, INITIAL_STATES
from trm_deploy.train.losses import log_stablemax, step_loss
from trm_deploy.train.runlog import read_metrics
from trm_deploy.train.trainer import SupervisedStep, Trainer


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRM_DEPLOY_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


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


def test_stablemax_is_the_naive_formula() -> None:
    logits = torch.tensor([[-3e4, -2.5, -1e-3, 0.0, 1e-3, 2.5, 3e4]], requires_grad=True)
    wide = logits.detach().double().requires_grad_()
    s = torch.where(wide >= 0, wide + 1, 1 / (1 - wide))
    expected = (s / s.sum(-1, keepdim=True)).log()
    got = log_stablemax(logits)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), expected, rtol=1e-6, atol=1e-6)
    for index in range(logits.shape[-1]):
        (gradient,) = torch.autograd.grad(got[0, index], logits, retain_graph=True)
        (expected_gradient,) = torch.autograd.grad(expected[0, index], wide, retain_graph=True)
        torch.testing.assert_close(gradient.double(), expected_gradient, rtol=1e-5, atol=1e-7)


def nothing() -> Tensor:
    raise AssertionError("binary cross entropy looks no step ahead")


def test_the_answer_s_loss_is_the_mean_over_tokens() -> None:
    logits = torch.tensor([[[2.0, 0.0], [0.0, 1.0]], [[0.0, 3.0], [1.0, 0.0]]])
    labels = torch.tensor([[0, 1], [0, 0]])
    q, last = torch.tensor([[0.5, 9.0], [-1.0, 9.0]]), torch.zeros(2, dtype=torch.bool)
    got = step_loss(logits, q, labels, last, nothing, loss="softmax", rule="halt")
    cross = nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none").mean(-1)
    torch.testing.assert_close(got.answer, cross)
    assert got.correct.tolist() == [True, False]
    p = torch.tensor([0.5, -1.0]).sigmoid()
    torch.testing.assert_close(got.halting, torch.stack((-p[0].log(), -(1 - p[1]).log())))
    stable = step_loss(logits, q, labels, last, nothing, loss="stablemax", rule="halt")
    # 2 and 0 are weighed 3 : 1, 0 and 1 1 : 2; then 0 and 3 1 : 4, 1 and 0 2 : 1.
    expected = -torch.tensor([[3 / 4, 2 / 3], [1 / 5, 2 / 3]]).log().mean(-1)
    torch.testing.assert_close(stable.answer, expected)


def test_q_learning_takes_the_better_of_halting_and_continuing_one_step_later() -> None:
    logits = torch.tensor([[[1.0, 0.0]]]).repeat(3, 1, 1)
    labels = torch.tensor([[0], [1], [0]])  # right, wrong, right
    q = torch.tensor([[0.3, -0.2], [0.1, 0.4], [0.0, 0.0]])
    later = torch.tensor([[0.7, 1.5], [2.0, -1.0], [-0.5, 3.0]])
    last = torch.tensor([False, False, True])
    got = step_loss(logits, q, labels, last, lambda: later, loss="softmax", rule="halt-continue")
    # The third sample's last step: halting is all that is left, though continuing looks better.
    for row, (correct, worth) in enumerate([(1.0, 1.5), (0.0, 2.0), (1.0, -0.5)]):
        target = torch.tensor(worth).sigmoid()
        p_halt, p_continue = q[row].sigmoid()
        halting = -(correct * p_halt.log() + (1 - correct) * (1 - p_halt).log())
        continuing = -(target * p_continue.log() + (1 - target) * (1 - p_continue).log())
        torch.testing.assert_close(got.halting[row], halting + continuing)


def test_q_continue_learns_from_one_more_step_without_gradient() -> None:
    model = trainable("hrm")
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


def trained(tmp_path: Path, text: str) -> Trainer:
    """After three optimiser steps, with its checkpoint."""
    trainer = Trainer(parsed(text), tmp_path / "run")
    for trainer.step in range(3):
        trainer._optimize()
    trainer.save()
    return trainer


@pytest.mark.parametrize(
    "setting",
    [
        'gradient = "one-step"',
        'gradient = "whole"\ninitial_state = "learned"',
        'loss = "stablemax"',
        'initial_state = "zero"',
    ],
)
def test_a_run_takes_each_training_choice(tmp_path: Path, setting: str) -> None:
    trainer = trained(tmp_path, TINY.replace("[training]", f"[training]\n{setting}"))
    torch.manual_seed(trainer.recipe.training.seed)
    constant = torch.equal(trainer.model.y_init, RecursiveReasoner(trainer.recipe.spec).y_init)
    assert constant == ("initial_state" not in setting)
    assert checkpoints.load(tmp_path / "run" / "ema.pt").model().y_init.any() == ("zero" not in setting)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("hidden_size = 16", "hidden_size = 16, latents = 0"),
        ("hidden_size = 16", "hidden_size = 16, latents = 2"),
        ("hidden_size = 16", 'hidden_size = 16, networks = "separate", positions = "learned"'),
        ("max_steps = 8", 'max_steps = 8, rule = "halt-continue"'),
    ],
)
def test_a_run_takes_each_choice_of_the_model(tmp_path: Path, old: str, new: str) -> None:
    assert old in TINY
    trainer = trained(tmp_path, TINY.replace(old, new))
    loaded = checkpoints.load(tmp_path / "run" / "ema.pt")
    assert loaded.spec == trainer.recipe.spec
    tokens = torch.ones(2, 16, dtype=torch.int32)
    assert solve(loaded.model(), tokens, max_steps=3, halt_threshold=0.0).steps.max() <= 3


def test_without_averaging_the_checkpoint_holds_the_weights_as_they_are(tmp_path: Path) -> None:
    trainer = trained(tmp_path, TINY.replace("ema = 0.99", "ema = 0.0"))
    weights = checkpoints.load(tmp_path / "run" / "ema.pt").ema
    assert all(torch.equal(weights[name], value) for name, value in trainer.model.state_dict().items())


HRM = (
    SMALL.replace('"trm-mlp"', '"hrm"')
    # The MLP: attention has not found rows and boxes after 500 steps yet.
    .replace("hidden_size = 64,", 'hidden_size = 32, layers = 1, mixer = "mlp", positions = "none",')
    .replace("puzzle_embedding_size = 64", "puzzle_embedding_size = 32")
    .replace("steps = 600", 'steps = 250\ngradient = "one-step"')
    .replace("min_clues = 4", "min_clues = 9")
    .replace("max_clues = 10", "max_clues = 12")
    .replace("puzzles = 4000", "puzzles = 1000")
    .replace("puzzles = 256", "puzzles = 64")
)


@pytest.mark.slow
def test_hrm_learns_to_solve_unseen_puzzles(tmp_path: Path) -> None:
    Trainer(parsed(HRM), tmp_path / "run").run()
    last = [line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if "held_out_solved" in line][-1]
    assert last["held_out_solved"] >= 0.4  # guessing solves a quarter
