"""Supervised contrast against loops and another library, and its edge cases."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ltmed.losses.supcon import supcon_loss
from tests.no_reading import NoReading


def make(samples: int = 12, classes: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features of norm 1 and labels, float64."""
    generator = torch.Generator().manual_seed(seed)
    features = F.normalize(torch.randn(samples, 5, dtype=torch.float64, generator=generator), dim=1)
    return features, torch.randint(classes, (samples,), generator=generator)


def expected(features: Tensor, labels: Tensor, tau: float) -> list[float | None]:
    """Eq. 2 of the paper with loops, one number per sample; None for a sample without positives."""
    f, y = features.tolist(), labels.tolist()
    losses: list[float | None] = []
    for i in range(len(f)):
        e = {j: math.exp(sum(a * b for a, b in zip(f[i], f[j], strict=True)) / tau) for j in range(len(f)) if j != i}
        positives = [math.log(e[j] / sum(e.values())) for j in e if y[j] == y[i]]
        losses.append(-sum(positives) / len(positives) if positives else None)
    return losses


def mean(losses: list[float | None]) -> float:
    known = [loss for loss in losses if loss is not None]
    return sum(known) / len(known)


@pytest.mark.parametrize("tau", [0.1, 0.3, 1.0])
@pytest.mark.parametrize("samples", [2, 8, 12])
def test_is_the_papers(samples: int, tau: float) -> None:
    features, labels = make(samples, classes=1 if samples == 2 else 4)
    loss = supcon_loss(features, labels, features, labels, temperature=tau)
    assert loss.item() == pytest.approx(mean(expected(features, labels, tau)), rel=1e-9)


@pytest.mark.parametrize("labels", [[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 2], [5, 5, 5, 5, 5, 5], [0, 1, 2, 3, 4, 4]])
def test_a_class_of_one_sample_has_no_say_but_is_a_negative(labels: list[int]) -> None:
    (features, _), y = make(6), torch.tensor(labels)
    losses = expected(features, y, 0.1)
    assert (None in losses) == (min(labels.count(c) for c in labels) == 1)
    loss = supcon_loss(features, y, features, y)
    assert loss.item() == pytest.approx(mean(losses), rel=1e-9)


@pytest.mark.parametrize("samples", [1, 4])
def test_where_all_are_alone_the_loss_and_its_gradient_are_zero(samples: int) -> None:
    features, labels = make(samples)[0].requires_grad_(), torch.arange(samples)
    loss = supcon_loss(features, labels, features, labels)
    loss.backward()
    assert loss.item() == 0
    assert features.grad is not None
    assert not features.grad.any()


@pytest.mark.parametrize("labels", [None, [0, 1, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3]])
def test_agrees_with_pytorch_metric_learning(labels: list[int] | None) -> None:
    other = pytest.importorskip("pytorch_metric_learning.losses")
    features, y = make()
    y = y if labels is None else torch.tensor(labels)
    mine, theirs = ((3 * features).requires_grad_() for _ in range(2))
    unit = F.normalize(mine, dim=1)  # As the other one does by itself.
    loss, reference = supcon_loss(unit, y, unit, y), other.SupConLoss(temperature=0.1)(theirs, y)
    torch.testing.assert_close(loss, reference, rtol=1e-6, atol=0)
    loss.backward()
    reference.backward()
    torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-6, atol=1e-9)


def test_is_lowest_where_classes_are_points_far_apart() -> None:
    corners, labels = torch.eye(3, dtype=torch.float64), torch.arange(3).repeat(4)
    loss = supcon_loss(corners[labels], labels, corners[labels], labels)
    # Three positives with similarity 1 / tau, eight negatives with 0.
    assert loss.item() == pytest.approx(math.log(3 + 8 * math.exp(-10)))
    mixed = labels.sort().values
    assert supcon_loss(corners[labels], mixed, corners[labels], mixed) > loss + 5


@pytest.mark.parametrize("first", [0, 2, 8])
def test_a_block_of_anchors_gives_its_part_of_the_mean(first: int) -> None:
    features, labels = make()
    block = slice(first, first + 4)
    loss = supcon_loss(features[block], labels[block], features, labels, first=first)
    assert loss.item() == pytest.approx(mean(expected(features, labels, 0.1)[block]), rel=1e-9)


def test_rows_that_are_no_samples_are_left_out() -> None:
    features, labels = make()
    extra = torch.cat([features, 7 + torch.zeros(3, 5, dtype=torch.float64)])
    loss = supcon_loss(features, labels, extra, torch.cat([labels, torch.full((3,), -1)]))
    torch.testing.assert_close(loss, supcon_loss(features, labels, features, labels))


def test_gradients() -> None:
    features, labels = make(6, classes=3)

    def function(anchors: Tensor, others: Tensor) -> Tensor:
        return supcon_loss(anchors, labels[3:], torch.cat([others, anchors]), labels, first=3, temperature=0.4)

    assert torch.autograd.gradcheck(function, [t.clone().requires_grad_() for t in (features[3:], features[:3])])


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
@pytest.mark.parametrize("kind", ["random", "equal", "opposite", "one class", "alone"])
def test_finite_value_and_gradient_for_finite_input(scale: float, kind: str) -> None:
    features, labels = make(6)
    features = features[:1].expand(6, -1) if kind in ("equal", "opposite") else features
    features = features * torch.tensor([[1.0], [-1.0]] * 3) if kind == "opposite" else features
    labels = {"one class": labels * 0, "alone": torch.arange(6)}.get(kind, labels)
    features = (scale * features).float().requires_grad_()
    loss = supcon_loss(features, labels, features, labels, temperature=0.01)
    loss.backward()
    assert torch.isfinite(loss)
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()


def test_equal_features_of_one_class_share_evenly() -> None:
    features, labels = torch.ones(5, 3), torch.zeros(5, dtype=torch.long)
    assert supcon_loss(features, labels, features, labels).item() == pytest.approx(math.log(4))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_autocast_are_computed_in_float32(dtype: torch.dtype) -> None:
    features, labels = make()
    features = features.to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        loss = supcon_loss(features, labels, features, labels)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, supcon_loss(features.float(), labels, features.float(), labels))


def test_nothing_is_read_back_from_the_device() -> None:
    features, labels = make()
    with NoReading():
        supcon_loss(features.requires_grad_(), labels, features, labels).backward()
