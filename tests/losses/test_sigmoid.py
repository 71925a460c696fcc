"""Losses with one sigmoid per class against loops, PyTorch and torchvision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import sigmoid_focal_loss

from ltmed.losses.sigmoid import asl, bce, sigmoid_focal
from tests.losses import baseline_oracles as oracle
from tests.losses.test_every_loss import COUNTS, make

LOGITS, LABELS = make()
ROWS, Y = LOGITS.tolist(), LABELS.tolist()
TARGETS = F.one_hot(LABELS, 4)
SEVERAL = torch.tensor([[1, 0, 1, 1], [0] * 4, [1] * 4, [0, 0, 0, 1], [1, 1, 0, 0], [0, 1, 0, 1]])


def test_bce_is_summed_over_classes() -> None:
    expected = oracle.mean(oracle.sigmoid_focal(ROWS, Y, 0.0, None), Y)
    assert bce(LOGITS, LABELS, COUNTS).item() == pytest.approx(expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("alpha", [0.25, 0.9, None])
def test_sigmoid_focal(gamma: float, alpha: float | None) -> None:
    expected = oracle.mean(oracle.sigmoid_focal(ROWS, Y, gamma, alpha), Y)
    assert sigmoid_focal(LOGITS, LABELS, COUNTS, gamma=gamma, alpha=alpha).item() == pytest.approx(expected)
    reference = sigmoid_focal_loss(LOGITS, SEVERAL.double(), -1 if alpha is None else alpha, gamma, "sum") / len(LOGITS)
    torch.testing.assert_close(sigmoid_focal(LOGITS, SEVERAL, COUNTS, gamma=gamma, alpha=alpha), reference)


ASL = [
    {}, {"gamma_neg": 2.0, "gamma_pos": 1.0}, {"margin": 0.0}, {"margin": 0.3, "gamma_neg": 0.5}, {"gamma_neg": 0.0},
    {"margin": 5e-4},
]  # fmt: skip


@pytest.mark.parametrize("options", ASL)
def test_asl(options: dict[str, Any]) -> None:
    expected = oracle.mean(oracle.asl(ROWS, Y, **options), Y)
    assert asl(LOGITS, LABELS, COUNTS, **options).item() == pytest.approx(expected)


@pytest.mark.parametrize("options", ASL)
@pytest.mark.parametrize("several", [False, True])
def test_asl_gradients(options: dict[str, Any], several: bool) -> None:
    labels = SEVERAL if several else LABELS
    logits = LOGITS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: asl(z, labels, COUNTS, **options), logits)


@pytest.mark.parametrize("options", ASL)
@pytest.mark.parametrize("value", [1e4, -1e4, 17.0, 90.0, 0.0])
def test_asl_is_finite(options: dict[str, Any], value: float) -> None:
    for labels in (LABELS[:2], SEVERAL[:2]):
        logits = torch.full((2, 4), value, requires_grad=True)
        asl(logits, labels, COUNTS, **options).backward()
        assert logits.grad is not None
        assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("gamma_neg", [4.0, 0.5, 0.0])
@pytest.mark.parametrize("margin", [1e-300, 1e-45, 1e-12, 1e-8, 9.99e-4, 1e-3, 0.5, 1 - 1e-9])
def test_asl_with_any_margin_is_finite_and_as_in_double_precision(margin: float, gamma_neg: float) -> None:
    rows = [[30.0, 30.0, -2.0], [1e4, -1e4, 17.0], [90.0, -90.0, 0.0], [3.0, 0.5, -7.0]]
    labels, actual = torch.tensor([2, 1, 1, 0]), []
    for dtype in (torch.float32, torch.float64):
        logits = torch.tensor(rows, dtype=dtype, requires_grad=True)
        value = asl(logits, labels, COUNTS[:3], margin=margin, gamma_neg=gamma_neg)
        value.backward()
        assert logits.grad is not None
        assert torch.isfinite(value)
        assert torch.isfinite(logits.grad).all()
        actual.append((value.detach().double(), logits.grad.double()))
    torch.testing.assert_close(*actual, rtol=1e-3, atol=2e-5)  # The sigmoid of 17 is 1 in float32.


def test_asl_with_a_tiny_margin_is_nearly_that_without() -> None:
    ends = [asl(LOGITS, LABELS, COUNTS, margin=margin) for margin in (1e-12, 0.0)]
    torch.testing.assert_close(*ends)


def test_asl_without_focus_and_margin_is_bce_and_with_equal_focus_focal() -> None:
    plain = asl(LOGITS, LABELS, COUNTS, gamma_neg=0.0, margin=0.0)
    torch.testing.assert_close(plain, bce(LOGITS, LABELS, COUNTS))
    equal = asl(LOGITS, LABELS, COUNTS, gamma_pos=2.0, gamma_neg=2.0, margin=0.0)
    torch.testing.assert_close(equal, sigmoid_focal(LOGITS, LABELS, COUNTS, alpha=None))


def test_negatives_below_the_margin_have_no_gradient() -> None:
    logits = torch.tensor([[0.0, -3.0, -2.0]], requires_grad=True)  # p = .047 and .119
    asl(logits, torch.tensor([0]), COUNTS[:3]).backward()
    assert logits.grad is not None
    assert (logits.grad[0] != 0).tolist() == [True, False, True]


def test_class_numbers_and_their_one_hot_rows_are_the_same() -> None:
    for loss in (bce, sigmoid_focal, asl):
        one, other = LOGITS.clone().requires_grad_(), LOGITS.clone().requires_grad_()
        loss(one, LABELS, COUNTS).backward()
        loss(other, TARGETS, COUNTS).backward()
        torch.testing.assert_close(one.grad, other.grad)
