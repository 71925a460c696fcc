"""Gaussian clouded logits against a loop, and the distribution of what is drawn."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from scipy import stats

from ltmed.errors import UserError
from ltmed.losses.gcl import cloud_sizes, gcl
from tests.losses.baseline_oracles import mean, softmax
from tests.losses.test_every_loss import COUNTS, make

LOGITS, LABELS = make()
NOISE = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)


@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_is_the_papers(scale: float, strength: float) -> None:
    cosines = (LOGITS / 4).clamp(-1, 1)
    distances = [math.log(500) - math.log(n) for n in COUNTS.tolist()]
    costs = []
    for row, draws, y in zip(cosines.tolist(), NOISE.tolist(), LABELS.tolist(), strict=True):
        clouded = [
            scale * (z - d / max(distances) * strength * abs(e))
            for z, d, e in zip(row, distances, draws, strict=True)
        ]  # fmt: skip
        costs.append(-math.log(softmax(clouded)[y]))
    actual = gcl(scale * cosines, LABELS, COUNTS, scale=scale, strength=strength, noise=NOISE)
    assert actual.item() == pytest.approx(mean(costs, LABELS.tolist()))


def test_gradient_with_given_noise() -> None:
    logits = LOGITS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: gcl(z, LABELS, COUNTS, scale=30.0, noise=NOISE), logits)


def test_smaller_classes_have_larger_clouds_and_the_largest_none() -> None:
    sizes = cloud_sizes(COUNTS, torch.float64)
    assert sizes.tolist() == pytest.approx([math.log(500 / n) / math.log(500) for n in COUNTS.tolist()])
    assert (sizes.min(), sizes.max()) == (0, 1)


@pytest.mark.parametrize("counts", [[7, 7, 7, 7], [1, 1, 1, 1]])
def test_classes_of_one_size_have_none(counts: list[int]) -> None:
    actual = gcl(LOGITS, LABELS, torch.tensor(counts), scale=30.0)
    torch.testing.assert_close(actual, F.cross_entropy(LOGITS, LABELS))


def test_noise_is_a_cut_normal_that_differs_between_images_and_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    observed = []
    monkeypatch.setattr(F, "cross_entropy", lambda logits, labels: observed.append(logits))
    torch.manual_seed(0)
    counts = torch.tensor([100, 1, 1])
    gcl(torch.zeros(20_000, 3), torch.zeros(20_000, dtype=torch.long), counts, scale=2.0, strength=0.5)
    noise = -observed[0][:, 1:]
    assert (observed[0][:, 0] == 0).all()
    assert noise.min() >= 0
    assert noise.max() == 1
    inside = noise[noise < 1].numpy()
    assert (noise == 1).double().mean() == pytest.approx(2 * stats.norm.sf(3), rel=0.3)
    cut = stats.truncnorm(0, 3, scale=1 / 3)
    assert stats.kstest(inside[:5000], cut.cdf).pvalue > 1e-3
    assert abs(torch.corrcoef(noise.T)[0, 1]) < 0.03


def test_draws_follow_torchs_seed() -> None:
    def value(seed: int) -> float:
        torch.manual_seed(seed)
        return gcl(LOGITS, LABELS, COUNTS, scale=30.0).item()

    assert value(1) == value(1) != value(2)


def test_a_head_without_scale_is_a_user_error() -> None:
    with pytest.raises(UserError, match="method=gcl"):
        gcl(LOGITS, LABELS, COUNTS, scale=None)
