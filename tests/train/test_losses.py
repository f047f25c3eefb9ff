"""The losses of a supervision step are what their formulas say."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trm_deploy.train.losses import log_stablemax, step_loss


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
