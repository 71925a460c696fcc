"""What would fail in training is said before it, in one line; what would not fail is let through."""

from __future__ import annotations

import copy
import warnings
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ltmed.data.samplers.repeat_factor import RepeatFactorSampler
from ltmed.data.samplers.single import InstanceSampler, PowerSampler, ProgressiveSampler
from ltmed.errors import UserError
from ltmed.losses.classification import cross_entropy
from ltmed.losses.margins import logit_adjusted
from ltmed.losses.multilabel import logit_adjusted_bce
from ltmed.losses.sigmoid import bce
from ltmed.methods.erm import ERM
from ltmed.methods.posthoc import PostHocLogitAdjustment
from ltmed.nn.adjusted import LogitAdjusted
from ltmed.nn.encoder import timm_encoder
from ltmed.nn.heads import Linear
from ltmed.nn.network import Network
from ltmed.training.preflight import require_batch_statistics, require_images_fit, warn_of_two_corrections
from tests.methods.small import Encoder, K, context


class Fixed(nn.Module):
    """A stand-in for a network of one input size."""

    num_features = 4

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.layer = nn.Conv2d(channels, 4, 24)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert images.shape[-1] == 24, f"Input height ({images.shape[-1]}) doesn't match model (24)."
        return self.layer(images).flatten(1)


@pytest.mark.parametrize(("channels", "size", "reason"), [(3, 32, r"match model \(24\)"), (1, 24, "1 channels")])
def test_what_a_network_cannot_compute_is_refused(channels: int, size: int, reason: str) -> None:
    require_images_fit(Network(Fixed(), Linear, K), 24, "fixed")
    with pytest.raises(UserError, match=rf"'fixed'.*3 x {size} x {size}.*{reason}") as refused:
        require_images_fit(Network(Fixed(channels), Linear, K), size, "fixed")
    assert "image_size" in refused.value.hint


def test_the_network_is_left_as_it_was() -> None:
    network = Network(Encoder(), Linear, K)
    network.encoder.eval()
    before = copy.deepcopy(network.state_dict())
    require_images_fit(network, 16, "small")
    assert network.training
    assert not network.encoder.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet", "test_nfnet"])
def test_kinds_of_backbones_at_their_own_size_pass(name: str) -> None:
    network = Network(timm_encoder(name), Linear, K)
    require_images_fit(network, 160, name)


def stage(norm: bool) -> ERM:
    return ERM(Network(Encoder(norm), Linear, K), context(), loss=SimpleNamespace())  # pyright: ignore[reportArgumentType]


def test_batchnorm_needs_two_images() -> None:
    require_batch_statistics(stage(norm=True), 2)
    require_batch_statistics(stage(norm=False), 1)
    with pytest.raises(UserError, match="'train'.*BatchNorm") as refused:
        require_batch_statistics(stage(norm=True), 1)
    assert "batch_size" in refused.value.hint
    frozen = stage(norm=True)
    frozen.network.encoder.eval()
    require_batch_statistics(frozen, 1)


LABELS = np.repeat(np.arange(K), (900, 80, 20))


@pytest.mark.parametrize(
    ("loss", "sampler", "warned"),
    [
        (logit_adjusted, InstanceSampler, False),
        (logit_adjusted, partial(PowerSampler, q=1.0), False),
        (cross_entropy, partial(PowerSampler, q=0.0), False),
        (partial(logit_adjusted, tau=0.5), partial(PowerSampler, q=0.0), True),
        (logit_adjusted, partial(PowerSampler, q=0.5), True),
        (logit_adjusted, ProgressiveSampler, True),
    ],
)
def test_a_prior_that_the_sampler_has_removed_is_warned_of(loss: Any, sampler: Any, warned: bool) -> None:
    assert warnings_of(loss, sampler, LABELS) == [TWO] * warned


# Label 0 on 90 of 100 images, label 1 on 10 of those, label 2 on 2 of the others, and unknown on one image.
SEVERAL = np.zeros((1000, K))
SEVERAL[:900, 0], SEVERAL[:100, 1], SEVERAL[900:920, 2] = 1, 1, 1
SEVERAL[950, 2] = np.nan


@pytest.mark.parametrize(
    ("loss", "sampler", "warned"),
    [
        (logit_adjusted_bce, InstanceSampler, False),
        (bce, partial(PowerSampler, q=0.0), False),
        (logit_adjusted_bce, partial(PowerSampler, q=0.0), True),
        (logit_adjusted_bce, partial(RepeatFactorSampler, threshold=0.01), False),
        (logit_adjusted_bce, partial(RepeatFactorSampler, threshold=1.0), True),
    ],
)
def test_of_several_labels_likewise(loss: Any, sampler: Any, warned: bool) -> None:
    assert warnings_of(loss, sampler, SEVERAL) == [TWO] * warned


@pytest.mark.parametrize(
    ("loss", "tau", "warned"),
    [(cross_entropy, 1.0, False), (logit_adjusted, 1.0, True), (logit_adjusted, None, False)],
)
def test_a_prior_in_the_loss_and_in_the_predictions_is_warned_of(loss: Any, tau: float | None, warned: bool) -> None:
    """A selected tau finds that nothing is left to correct."""
    stage = PostHocLogitAdjustment(Network(Encoder(), LogitAdjusted, K), context(), loss=loss, tau=tau)
    found = warnings_of_stage(stage, InstanceSampler, LABELS)
    assert ["in its loss and again in its predictions" in text for text in found] == [True] * warned


TWO = (
    "Stage 'train' corrects for the class counts, and so does its sampler: frequent classes are neglected. "
    "Use sampler=instance, or another loss"
)


def warnings_of(loss: Any, sampler: Any, labels: np.ndarray) -> list[str]:
    return warnings_of_stage(ERM(Network(Encoder(), Linear, K), context(), loss=loss), sampler, labels)


def warnings_of_stage(stage: ERM, sampler: Any, labels: np.ndarray) -> list[str]:
    told = SimpleNamespace(sampler=sampler, batch_size=10, epochs=5, seed=0)
    data: Any = SimpleNamespace(
        stage_data=told, manifest=SimpleNamespace(labels=labels), split=SimpleNamespace(train=np.arange(len(labels)))
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_two_corrections(stage, data)
    return [str(w.message) for w in caught]
