"""Standardisation of a linear probe, against NumPy and scikit-learn."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler

from ltmed.data.batch import Batch
from ltmed.errors import UserError
from ltmed.losses.classification import cross_entropy
from ltmed.methods import probe
from ltmed.nn.frozen import Frozen
from ltmed.nn.heads import Linear
from ltmed.nn.network import Network
from ltmed.nn.standardised import StandardisedLinear
from tests.methods.small import Encoder, K, context, updated

FEATURES = 3 + 5 * torch.randn(40, 6, generator=torch.Generator().manual_seed(0)) * torch.arange(6)


def make(head=StandardisedLinear) -> probe.Probe:
    torch.manual_seed(0)
    return probe.Probe(Network(Frozen(Encoder()), head, K), context(), loss=cross_entropy)


def test_features_are_standardised_as_scikit_learn_does(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = make()
    labels = torch.zeros(len(FEATURES), dtype=torch.long)
    parts = [Batch(part, labels[: len(part)], labels[: len(part)]) for part in FEATURES.split(16)]
    monkeypatch.setattr(probe.feature_pass, "over_training_part", lambda _: iter(parts))
    stage._standardise()
    head = stage.network.require_head(StandardisedLinear)
    expected = StandardScaler().fit_transform(FEATURES.double().numpy())
    actual = ((FEATURES - head.centre) / head.scale).numpy()
    assert np.abs(actual - expected).max() < 1e-4
    assert (actual[:, 0] == 0).all(), "a constant feature"
    logits = head.linear(torch.from_numpy(expected).float())
    assert torch.allclose(stage.network(FEATURES), logits, atol=1e-4)


def test_only_the_classifier_is_trained() -> None:
    stage = make()
    updated(stage, Batch(FEATURES, torch.arange(len(FEATURES)) % K, torch.arange(len(FEATURES))))
    assert {name for name, p in stage.named_parameters() if p.requires_grad} == {
        "network.classifier.linear.weight", "network.classifier.linear.bias",
    }  # fmt: skip


def test_another_head_is_refused() -> None:
    with pytest.raises(UserError, match="StandardisedLinear"):
        make(partial(Linear))
