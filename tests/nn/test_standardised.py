"""Standardised features: scikit-learn's, cut where they are rare, and none that was constant in training."""

from __future__ import annotations

import torch
from sklearn.preprocessing import StandardScaler

from ltmed.nn.standardised import StandardisedLinear

GENERATOR = torch.Generator().manual_seed(0)
FEATURES = 3 + 5 * torch.randn(400, 6, generator=GENERATOR) * torch.arange(6)
"""The first one is constant."""


def fitted(features: torch.Tensor) -> StandardisedLinear:
    torch.manual_seed(0)
    head = StandardisedLinear(features.shape[1], 3)
    head.set_moments(features.mean(0), features.var(0, unbiased=False))
    return head


def test_it_is_a_linear_classifier_on_the_features_of_scikit_learns_scaler() -> None:
    head = fitted(FEATURES)
    scaled = torch.from_numpy(StandardScaler().fit_transform(FEATURES.double().numpy())).float()
    assert scaled.abs().max() < 10
    torch.testing.assert_close(head(FEATURES), head.linear(scaled), rtol=1e-4, atol=1e-4)


def test_a_feature_that_was_constant_in_training_decides_nothing_on_other_images() -> None:
    head, images = fitted(FEATURES), FEATURES[:5].clone()
    expected = head(images)
    images[:, 0] += torch.tensor([0.0, 1e-3, 0.1, 5.0, 1e6])
    assert torch.equal(head(images), expected)


def test_a_feature_of_one_training_image_cannot_outweigh_all_others() -> None:
    features = FEATURES.clone()
    features[:, 1] = 0
    features[7, 1] = 1.0
    head, images = fitted(features), features[:5].clone()
    images[:, 1] = 100.0
    weight = head.linear.weight[:, 1]
    assert weight.abs().max() > 0
    torch.testing.assert_close(
        head(images) - head(features[:5]), (weight * (10 + 0.05)).expand(5, 3), rtol=2e-3, atol=1e-4
    )


def test_features_of_any_size_keep_their_weights() -> None:
    """A network with random weights has features of 1e-4: small is not constant."""
    head = fitted(FEATURES * 1e-5)
    assert (head.linear.weight[:, 1:] != 0).all()
    torch.testing.assert_close(head(FEATURES * 1e-5), fitted(FEATURES)(FEATURES), rtol=1e-3, atol=1e-3)
