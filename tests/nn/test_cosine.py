"""The cosine head against its formula."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ltmed.errors import UserError
from ltmed.nn.cosine import Cosine


def test_logits_are_scaled_cosines() -> None:
    torch.manual_seed(0)
    head, features = Cosine(6, 4, scale=7.0), 5 * torch.randn(3, 6)
    logits = head(features)
    for b in range(3):
        for k in range(4):
            expected = 7 * F.cosine_similarity(features[b], head.weight[k], dim=0)
            assert logits[b, k].item() == pytest.approx(expected.item(), abs=1e-5)
    torch.testing.assert_close(head(9 * features), logits)
    with torch.no_grad():
        head.weight.mul_(3)
    torch.testing.assert_close(head(features), logits)


def test_starts_from_vectors_of_norm_one() -> None:
    torch.testing.assert_close(Cosine(6, 4).weight.norm(dim=1), torch.ones(4))


def test_zero_features_have_zero_logits_and_a_finite_gradient() -> None:
    features = torch.zeros(2, 6, requires_grad=True)
    logits = Cosine(6, 4)(features)
    assert (logits == 0).all()
    logits.sum().backward()
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()


def test_float32_under_autocast() -> None:
    head, features = Cosine(6, 4), torch.randn(3, 6)
    with torch.autocast("cpu", torch.bfloat16):
        logits = head(features)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, head(features))


def test_scale_must_be_positive() -> None:
    with pytest.raises(UserError, match="scale is 0"):
        Cosine(6, 4, scale=0)


def test_starts_anew_with_other_directions_of_norm_one() -> None:
    head = Cosine(5, 3)
    before = head.weight.detach().clone()
    head.reset_parameters()
    assert not torch.isclose(head.weight, before).any()
    torch.testing.assert_close(head.weight.norm(dim=1), torch.ones(3))
    assert head.weight.requires_grad
