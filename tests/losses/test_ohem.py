"""Hard example mining against a sorted list."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ltmed.losses.ohem import ohem
from tests.losses import baseline_oracles as oracle
from tests.losses.test_every_loss import COUNTS

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(10, 4, dtype=torch.float64, generator=GENERATOR)
LABELS = torch.randint(4, (10,), generator=GENERATOR)


@pytest.mark.parametrize(("keep", "kept"), [(0.7, 7), (0.75, 7), (0.29, 2), (0.05, 1), (0.0, 1), (1.0, 10)])
def test_is_the_mean_of_the_largest(keep: float, kept: int) -> None:
    costs = sorted(oracle.focal(LOGITS.tolist(), LABELS.tolist(), 0), reverse=True)
    assert ohem(LOGITS, LABELS, COUNTS, keep=keep).item() == pytest.approx(sum(costs[:kept]) / kept)


def test_easy_images_have_no_gradient() -> None:
    logits = LOGITS.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(ohem(logits, LABELS, COUNTS), logits)
    easiest = F.cross_entropy(LOGITS, LABELS, reduction="none").argsort()[:3]
    assert (gradient == 0).all(1).nonzero().flatten().tolist() == sorted(easiest.tolist())
