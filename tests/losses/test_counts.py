"""Class weights, priors and margins; and that they are made once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from ltmed.errors import UserError
from ltmed.losses.counts import effective_number, inverse_frequency, log_mitigation, log_prior, margins, once_per_counts
from tests.losses import baseline_oracles as oracle

COUNTS = torch.tensor([6705, 1113, 115, 1])
F64 = torch.float64


def test_inverse_frequency_is_scikit_learns() -> None:
    labels = np.repeat(np.arange(4), COUNTS.numpy())
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    assert inverse_frequency(COUNTS, F64).tolist() == pytest.approx(expected.tolist())


@pytest.mark.parametrize("beta", [0.5, 0.99, 0.9999])
def test_effective_number_also_in_float32(beta: float) -> None:
    expected = oracle.effective_number(COUNTS.tolist(), beta)
    assert effective_number(COUNTS, F64, beta).tolist() == pytest.approx(expected)
    assert effective_number(COUNTS, torch.float32, beta).tolist() == pytest.approx(expected, rel=1e-6)


def test_effective_number_goes_from_equal_weights_to_inverse_frequency() -> None:
    assert effective_number(COUNTS, F64, 0.0).tolist() == [1] * 4
    inverse = inverse_frequency(COUNTS, F64)
    almost = effective_number(COUNTS, F64, 1 - 1e-12)
    torch.testing.assert_close(almost, 4 * inverse / inverse.sum(), rtol=1e-6, atol=0)


def test_prior_margins_and_mitigation() -> None:
    counts = COUNTS.tolist()
    assert log_prior(COUNTS, F64).exp().tolist() == pytest.approx([n / sum(counts) for n in counts])
    actual = margins(COUNTS, F64, 0.5)
    assert actual[3] == 0.5
    assert actual.tolist() == pytest.approx([0.5 * n**-0.25 for n in counts])
    mitigation = log_mitigation(COUNTS, F64, 0.8).exp()
    for i, own in enumerate(counts):
        expected = [(n / own) ** 0.8 if n < own else 1 for n in counts]
        assert mitigation[i].tolist() == pytest.approx(expected)


def test_made_once_per_tensor_and_options_and_anew_after_a_change() -> None:
    calls = []

    @once_per_counts
    def double(counts: Tensor, factor: float = 2.0) -> Tensor:
        calls.append(factor)
        return factor * counts

    counts, other = torch.tensor([1, 2]), torch.tensor([1, 2])
    first = double(counts, torch.float32)
    assert double(counts, torch.float32) is first
    assert len(calls) == 1
    double(other, torch.float32)
    double(counts, F64)
    assert double(counts, torch.float32, 3.0).tolist() == [3, 6]
    assert len(calls) == 4
    counts[0] = 5
    assert double(counts, torch.float32).tolist() == [10, 4]


def test_results_of_counts_that_are_gone_are_not_found_again() -> None:
    @once_per_counts
    def same(counts: Tensor) -> Tensor:
        return counts.clone()

    for number in range(1, 20):
        counts = torch.tensor([number, 1])
        assert same(counts, F64).tolist() == [number, 1], "a new tensor at the address of an old one"


def test_made_in_inference_mode_and_used_in_training() -> None:
    counts = torch.tensor([3, 1])
    with torch.inference_mode():
        log_prior(counts, torch.float32)
    logits = torch.zeros(1, 2, requires_grad=True)
    (logits * log_prior(counts, torch.float32)).sum().backward()
    assert logits.grad is not None


def test_empty_classes_are_named() -> None:
    with pytest.raises(UserError, match="class number 0, 2: "):
        log_prior(torch.tensor([0, 1, 0]), F64)
