"""Seesaw loss against loops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from ltmed.losses.seesaw import seesaw
from tests.losses import baseline_oracles as oracle
from tests.losses.test_every_loss import COUNTS, make

LOGITS, LABELS = make()


@pytest.mark.parametrize("options", [{}, {"eps": 0.0}, {"eps": 0.3}, {"p": 0.0}, {"q": 0.0}, {"p": 2.0, "q": 0.5}])
def test_is_the_papers(options: dict[str, Any]) -> None:
    expected = oracle.mean(oracle.seesaw(LOGITS.tolist(), LABELS.tolist(), COUNTS.tolist(), **options), LABELS.tolist())
    assert seesaw(LOGITS, LABELS, COUNTS, **options).item() == pytest.approx(expected)


def test_without_factors_or_imbalance_it_is_cross_entropy() -> None:
    plain = F.cross_entropy(LOGITS, LABELS)
    torch.testing.assert_close(seesaw(LOGITS, LABELS, COUNTS, p=0.0, q=0.0), plain)
    torch.testing.assert_close(seesaw(LOGITS, LABELS, torch.full((4,), 9), q=0.0), plain)


def test_gradient_is_that_of_constant_factors() -> None:
    logits = LOGITS.clone().requires_grad_()
    (actual,) = torch.autograd.grad(seesaw(logits, LABELS, COUNTS, eps=0.0), logits)
    s = LOGITS.softmax(1)
    own = s.gather(1, LABELS[:, None])
    factors = (s / own).clamp_min(1) ** 2 * (COUNTS / COUNTS[LABELS][:, None]).clamp_max(1) ** 0.8
    factors.scatter_(1, LABELS[:, None], 1.0)
    weighted = factors * LOGITS.exp()
    expected = (weighted / weighted.sum(1, keepdim=True) - F.one_hot(LABELS, 4)) / len(LABELS)
    torch.testing.assert_close(actual, expected)


def test_a_frequent_image_pushes_rare_classes_less_unless_taken_for_them() -> None:
    def push(rare: float, **options: float) -> float:
        logits = torch.tensor([[0.0, -9.0, rare, -9.0]], requires_grad=True)
        (gradient,) = torch.autograd.grad(seesaw(logits, torch.tensor([0]), COUNTS, **options), logits)
        return gradient[0, 2].item()

    assert push(-1.0) < 0.1 * push(-1.0, p=0.0)
    assert push(1.0) > 2 * push(1.0, q=0.0)
