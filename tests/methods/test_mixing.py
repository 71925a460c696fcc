"""MixUp and CutMix against torchvision's, and against plain training at the two ends of lambda."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor
from torchvision.transforms import v2

from ltmed.errors import UserError
from ltmed.losses.classification import cross_entropy
from ltmed.losses.margins import logit_adjusted
from ltmed.losses.reweighted import weighted_ce
from ltmed.losses.sigmoid import bce
from ltmed.methods import mixing
from ltmed.methods.erm import ERM
from ltmed.methods.mixing import Mixing, cutmix, lambda_distribution, mixed_loss, mixup, sample_lambda
from ltmed.nn.heads import Linear
from ltmed.nn.network import Network
from tests.methods.small import Encoder, K, batch, context, updated
from tests.no_reading import NoReading

LOSSES = [cross_entropy, weighted_ce, partial(logit_adjusted, tau=1.0), bce]


def make(kind: type[ERM] = Mixing, **options: Any) -> ERM:
    torch.manual_seed(0)
    return kind(Network(Encoder(), Linear, K), context(), **{"loss": cross_entropy, **options})


def fix(monkeypatch: pytest.MonkeyPatch, share: float, roll: bool = False) -> None:
    """Every sample of lambda is `share`; with `roll` every image is paired with the one before it."""
    monkeypatch.setattr(mixing, "sample_lambda", lambda distribution: torch.tensor(share))
    if roll:
        monkeypatch.setattr(torch, "randperm", lambda size, device: torch.arange(size, device=device).roll(1))


@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
def test_updates_every_parameter(mix: str) -> None:
    updated(make(mix=mix), batch())


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
def test_lambda_one_is_plain_training(mix: str, loss: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fix(monkeypatch, 1.0)
    mixed, plain = (make(kind, loss=loss, **options) for kind, options in ((Mixing, {"mix": mix}), (ERM, {})))
    for stage in (mixed, plain):
        stage.training_step(batch(), 0).backward()
    for (name, one), two in zip(mixed.named_parameters(), plain.parameters(), strict=True):
        assert one.grad is not None
        assert torch.equal(one.grad, two.grad), name  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("loss", LOSSES)
def test_lambda_zero_is_plain_training_on_the_partners(loss: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fix(monkeypatch, 0.0, roll=True)
    data = batch()
    partners = data._replace(images=data.images.roll(1, 0), labels=data.labels.roll(1, 0))
    expected = make(ERM, loss=loss).training_step(partners, 0)
    torch.testing.assert_close(make(loss=loss).training_step(data, 0), expected, rtol=0, atol=0)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.6, 0.97, 1.0])
@pytest.mark.parametrize(("mix", "theirs"), [("mixup", v2.MixUp), ("cutmix", v2.CutMix)])
def test_images_and_soft_labels_are_those_of_torchvision(
    mix: str, theirs: Any, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    fix(monkeypatch, share, roll=True)
    transform, data = theirs(num_classes=K), batch()
    transform._dist = type("Fixed", (), {"sample": lambda self, shape: torch.tensor(share)})()
    stage = make(mix=mix)
    for seed in range(20):
        torch.manual_seed(seed)
        images, soft = transform(data.images, data.labels)
        expected = F.cross_entropy(stage(images), soft)
        torch.manual_seed(seed)
        torch.testing.assert_close(stage.training_step(data, 0), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_mixed_loss_is_cross_entropy_with_soft_labels(share: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (10 * torch.randn(6, K, generator=generator, dtype=torch.float64)).requires_grad_()
    labels, others = torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([0, 2, 1, 1, 1, 0])
    soft = share * F.one_hot(labels, K) + (1 - share) * F.one_hot(others, K)
    expected = torch.autograd.grad(F.cross_entropy(logits, soft), logits)[0]
    loss = mixed_loss(cross_entropy, logits, labels, others, torch.tensor(share, dtype=torch.float64), torch.ones(K))
    torch.testing.assert_close(loss, F.cross_entropy(logits, soft))
    torch.testing.assert_close(torch.autograd.grad(loss, logits)[0], expected)


def test_cutmix_takes_every_pixel_from_one_of_the_two_and_counts_them() -> None:
    torch.manual_seed(0)
    images, others = torch.zeros(2, 3, 20, 12), torch.ones(2, 3, 20, 12)
    for share in torch.linspace(0, 1, 30):
        mixed, remaining = cutmix(images, others, share)
        assert set(mixed.unique().tolist()) <= {0.0, 1.0}
        torch.testing.assert_close(remaining, (mixed == 0).float().mean())
        assert remaining >= share - 1e-6
        box = mixed[0, 0].nonzero()
        if len(box):
            height, width = (box.amax(0) - box.amin(0) + 1).tolist()
            assert mixed[0, 0].sum() == height * width


@pytest.mark.parametrize(("alpha", "beta"), [(0.2, 0.2), (0.2, 1.0), (0.6, 0.6), (0.05, 0.05), (0.01, 0.01)])
def test_lambda_is_beta_distributed(alpha: float, beta: float) -> None:
    torch.manual_seed(0)
    distribution = lambda_distribution("alpha", alpha, beta)
    sampled = distribution.sample((4000,))
    # In bins, since a small alpha puts much of the distribution closer to 0 and 1 than numbers are to each other.
    bins = np.array([0, 1e-9, 1e-2, 0.2, 0.5, 0.8, 1])
    observed = np.histogram(sampled.numpy(), bins)[0]
    assert stats.chisquare(observed, 4000 * np.diff(stats.beta(alpha, beta).cdf(bins))).pvalue > 1e-3
    torch.manual_seed(1)
    again = sample_lambda(distribution)
    torch.manual_seed(1)
    assert sample_lambda(distribution) == again
    assert (again.shape, again.dtype) == ((), torch.float32)


@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
def test_the_step_depends_on_the_global_generator_alone_and_reads_nothing(mix: str) -> None:
    stage, data = make(mix=mix, alpha=1.0).eval(), batch()

    def step(seed: int) -> Tensor:
        torch.manual_seed(seed)
        with NoReading():
            return stage.training_step(data, 0)

    assert torch.equal(step(3), step(3))
    assert not torch.equal(step(3), step(4))


@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
def test_autocast_and_large_pixels(mix: str) -> None:
    data = batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = make(mix=mix).training_step(data._replace(images=1e4 * data.images), 0)
    assert loss.dtype == torch.float32
    assert loss.isfinite()


def test_memory_layout_is_kept() -> None:
    images = torch.randn(4, 3, 8, 8).to(memory_format=torch.channels_last)
    for mix in (mixup, cutmix):
        assert mix(images, images.flip(0), torch.tensor(0.4))[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"mix": "mixupp"}, "'mixup'"), ({"alpha": 0.0}, r"module\.alpha=0.0"), ({"alpha": -1.0}, r"module\.alpha")],
)
def test_wrong_options_are_user_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(**options)
