"""LDAM and logit adjustment against loops, and the mistakes that other code bases make with them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ltmed.losses.margins import ldam, logit_adjusted
from tests.losses import baseline_oracles as oracle
from tests.losses.test_every_loss import COUNTS, load, make

LOGITS, LABELS = make()
ROWS, Y, N = LOGITS.tolist(), LABELS.tolist(), COUNTS.tolist()


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_ldam_is_the_papers_on_cosines(scale: float) -> None:
    cosines = (LOGITS / 4).clamp(-1, 1)
    terms = oracle.ldam(cosines.tolist(), Y, N, scale)
    actual = ldam(scale * cosines, LABELS, COUNTS, scale=scale)
    assert actual.item() == pytest.approx(oracle.mean(terms, Y))
    actual = ldam(scale * cosines, LABELS, COUNTS, scale=scale, beta=0.9999)
    assert actual.item() == pytest.approx(oracle.mean(terms, Y, oracle.effective_number(N)))


def test_ldam_asks_more_of_smaller_classes() -> None:
    right = 30 * torch.eye(4)
    costs = [ldam(right[[c]], torch.tensor([c]), COUNTS, scale=30.0, max_margin=2.0).item() for c in (0, 1, 3, 2)]
    assert costs == sorted(costs)
    assert costs[0] < costs[-1]


def test_the_released_ldam_multiplies_by_the_scale_itself() -> None:
    cosines = LOGITS.clamp(-1, 1)
    margins = COUNTS.double() ** -0.25
    released = cosines - 0.5 * margins / margins.max() * F.one_hot(LABELS, 4)
    torch.testing.assert_close(ldam(30 * cosines, LABELS, COUNTS, scale=30.0), F.cross_entropy(30 * released, LABELS))


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, 2.0])
def test_logit_adjustment(tau: float) -> None:
    expected = oracle.mean(oracle.balanced_softmax(ROWS, Y, N, tau), Y)
    assert logit_adjusted(LOGITS, LABELS, COUNTS, tau=tau).item() == pytest.approx(expected)


def test_balanced_softmax_and_logit_adjustment_are_one_method() -> None:
    one, other = load("balanced_softmax"), load("logit_adjusted")
    assert torch.equal(one(LOGITS, LABELS, COUNTS), other(LOGITS, LABELS, COUNTS))
    log_counts = F.cross_entropy(LOGITS + COUNTS.log(), LABELS)
    torch.testing.assert_close(one(LOGITS, LABELS, COUNTS), log_counts)


def test_logit_adjustment_has_the_right_sign() -> None:
    # Without any evidence, labels as frequent as in training teach logits without preference; cross-entropy the prior.
    prior = COUNTS / COUNTS.sum()
    labels = torch.arange(4).repeat_interleave(COUNTS)
    for tau, expected in ((1.0, torch.zeros(4)), (0.0, prior.log() - prior.log().mean())):
        offsets = expected.clone().requires_grad_()
        logit_adjusted(offsets.expand(len(labels), 4), labels, COUNTS, tau=tau).backward()
        assert offsets.grad is not None
        assert offsets.grad.abs().max() < 1e-6
    equal = torch.zeros(1, 4)
    rare, frequent = (logit_adjusted(equal, torch.tensor([y]), COUNTS) for y in (2, 0))
    assert rare > frequent
