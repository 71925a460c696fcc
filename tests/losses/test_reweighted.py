"""Weighted cross-entropy and focal losses against loops."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ltmed.losses.reweighted import class_balanced_ce, class_balanced_focal, focal, weighted_ce, weighted_focal
from tests.losses import baseline_oracles as oracle
from tests.losses.test_every_loss import COUNTS, make

LOGITS, LABELS = make()
ROWS, Y, N = LOGITS.tolist(), LABELS.tolist(), COUNTS.tolist()


def test_weighted_cross_entropy_divides_by_the_sum_of_the_weights() -> None:
    expected = oracle.mean(oracle.focal(ROWS, Y, 0), Y, oracle.inverse_frequency(N))
    assert weighted_ce(LOGITS, LABELS, COUNTS).item() == pytest.approx(expected)
    only = LABELS == 0
    rare_alone = weighted_ce(LOGITS[only], LABELS[only], COUNTS)
    torch.testing.assert_close(rare_alone, F.cross_entropy(LOGITS[only], LABELS[only]))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 3.0])
def test_focal(gamma: float) -> None:
    terms = oracle.focal(ROWS, Y, gamma)
    assert focal(LOGITS, LABELS, COUNTS, gamma=gamma).item() == pytest.approx(oracle.mean(terms, Y))
    expected = oracle.mean(terms, Y, oracle.inverse_frequency(N))
    assert weighted_focal(LOGITS, LABELS, COUNTS, gamma=gamma).item() == pytest.approx(expected)


@pytest.mark.parametrize("beta", [0.9, 0.9999])
def test_class_balanced(beta: float) -> None:
    weights = oracle.effective_number(N, beta)
    expected = oracle.mean(oracle.focal(ROWS, Y, 0), Y, weights)
    assert class_balanced_ce(LOGITS, LABELS, COUNTS, beta=beta).item() == pytest.approx(expected)
    expected = oracle.mean(oracle.focal(ROWS, Y), Y, weights)
    assert class_balanced_focal(LOGITS, LABELS, COUNTS, beta=beta).item() == pytest.approx(expected)
    expected = oracle.mean(oracle.sigmoid_focal(ROWS, Y, 2.0, None), Y, weights)
    assert class_balanced_focal(LOGITS, LABELS, COUNTS, beta=beta, form="sigmoid").item() == pytest.approx(expected)


def test_without_weights_they_are_the_plain_losses() -> None:
    plain = F.cross_entropy(LOGITS, LABELS)
    torch.testing.assert_close(class_balanced_ce(LOGITS, LABELS, COUNTS, beta=0), plain)
    torch.testing.assert_close(weighted_ce(LOGITS, LABELS, torch.full((4,), 9)), plain)
    torch.testing.assert_close(class_balanced_focal(LOGITS, LABELS, COUNTS, beta=0), focal(LOGITS, LABELS, COUNTS))
