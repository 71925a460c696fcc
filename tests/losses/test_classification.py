"""Cross-entropy against the definition."""

from __future__ import annotations

import math

import pytest
import torch

from ltmed.losses.classification import cross_entropy

COUNTS = torch.tensor([5, 3, 1])


def test_is_the_mean_of_minus_log_softmax_of_the_label() -> None:
    logits = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]])
    labels = torch.tensor([2, 0])
    expected = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        expected -= math.log(math.exp(row[label]) / sum(math.exp(value) for value in row)) / 2
    assert cross_entropy(logits, labels, COUNTS).item() == pytest.approx(expected, rel=1e-6)


def test_gradient() -> None:
    logits = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = torch.tensor([0, 2, 2, 1])
    assert torch.autograd.gradcheck(lambda z: cross_entropy(z, labels, COUNTS), (logits,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_summed_in_float32(dtype: torch.dtype) -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], dtype=dtype)
    loss = cross_entropy(logits, torch.tensor([1, 1]), COUNTS)
    assert loss.dtype == torch.float32
    difference = logits[0, 0].float() - logits[0, 1].float()
    assert loss.item() == pytest.approx(difference.item() / 2, rel=1e-6)
