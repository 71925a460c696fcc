"""PCCT's losses against loops and against each other, and their edge cases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy import stats
from scipy.spatial.distance import cdist
from torch import Tensor

from ltmed.losses import triplet
from ltmed.losses.triplet import CENTRE_LOSSES, SAMPLE_LOSSES, MetricLoss
from tests.losses import triplet_oracle as oracle

KINDS: list[MetricLoss] = ["triplet", "pairwise", "quadruplet"]
ALPHA, BETA = 0.5, 0.25


def points(size: int, width: int = 3, seed: int = 0, scale: float = 0.5) -> Tensor:
    return scale * torch.randn(size, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def draws(size: int, seed: int = 1) -> Tensor:
    return torch.rand(2, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


LABELS = [
    [0, 1, 2, 0, 1, 2, 0, 1, 2, 3, 3, 0], [0, 0, 1, 1, 1, 0], [2, 0, 2, 0, 2], [0, 1, 2, 3], [5, 0, 0], [1, 1, 1], [0],
]  # fmt: skip


@pytest.mark.parametrize("scale", [0.05, 0.5, 3.0])
@pytest.mark.parametrize("labels", LABELS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_sample_form_is_the_equation(kind: MetricLoss, labels: list[int], scale: float) -> None:
    f, u = points(len(labels), scale=scale), draws(len(labels))
    actual = SAMPLE_LOSSES[kind](f, torch.tensor(labels), u, ALPHA, BETA)
    expected, _ = oracle.sample(kind, f.tolist(), labels, u.tolist(), ALPHA, BETA)
    assert actual.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("scale", [0.05, 0.5, 3.0])
@pytest.mark.parametrize("kind", KINDS)
def test_centre_form_is_the_equation(kind: MetricLoss, scale: float, classes: int) -> None:
    f, c = points(7, scale=scale), points(classes, seed=2, scale=scale)
    labels = [i % classes for i in (0, 1, 2, 2, 1, 1, 4)]
    actual = CENTRE_LOSSES[kind](f, torch.tensor(labels), c, ALPHA, BETA)
    expected = oracle.centre(kind, f.tolist(), labels, c.tolist(), ALPHA, BETA)
    assert actual.item() == pytest.approx(expected, rel=1e-9)


def test_some_pairs_of_the_oracle_form_no_triplet() -> None:
    f, u, labels = points(12, scale=3.0), draws(12), LABELS[0]
    pairs = sum(labels.count(label) ** 2 - labels.count(label) for label in set(labels))
    assert 0 < oracle.sample("triplet", f.tolist(), labels, u.tolist(), ALPHA, BETA)[1] < pairs


def test_distances_are_scipys_whatever_the_offset() -> None:
    a, b = points(6, 5), points(4, 5, seed=1)
    torch.testing.assert_close(triplet.distances(a, b), torch.from_numpy(cdist(a, b)))
    torch.testing.assert_close(
        triplet.distances((a + 1000).float(), (b + 1000).float()).double(), torch.from_numpy(cdist(a, b)), rtol=1e-3,
        atol=0,
    )  # fmt: skip


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-4, 1.0, 1e4, 1e30])
def test_distances_are_finite_with_gradients_and_zero_at_zero(scale: float) -> None:
    rows = (points(5) * scale).float()
    rows = torch.cat([rows, rows[:2]]).requires_grad_()
    distance = triplet.distances(rows, rows)
    distance.sum().backward()
    assert torch.isfinite(distance).all()
    assert rows.grad is not None
    assert torch.isfinite(rows.grad).all()
    assert rows.grad.abs().max() < 100
    assert torch.equal(distance[0, 0], torch.tensor(0.0))


def test_the_gradient_between_equal_rows_is_zero() -> None:
    a = torch.ones(2, 3, requires_grad=True)
    triplet.distances(a, torch.ones(1, 3)).sum().backward()
    assert a.grad is not None
    assert not a.grad.any()


def test_every_violator_is_drawn_equally_often_and_no_other() -> None:
    f, labels = points(9, seed=4), torch.tensor([0, 0, 1, 1, 1, 2, 2, 2, 2])
    distance = triplet.distances(f, f)
    expected = oracle.violators(f.tolist(), labels.tolist(), 0, 1, ALPHA)
    assert 2 < len(expected) < 7
    generator = torch.Generator().manual_seed(0)
    observed = torch.stack(
        [
            triplet.sample_violators(distance, labels, torch.rand(9, 9, generator=generator), ALPHA)[0][0, 1]
            for _ in range(1000)
        ]
    )
    counts = observed.bincount(minlength=9)
    assert set(counts.nonzero()[:, 0].tolist()) == set(expected)
    assert stats.chisquare(counts[expected]).pvalue > 1e-3


def test_every_image_of_a_third_class_is_drawn_equally_often() -> None:
    labels = torch.tensor([3, 0, 1, 3, 1, 0, 2, 2, 3, 5])
    negatives = torch.tensor([[m if labels[m] != labels[a] else (a + 1) % 10 for m in range(10)] for a in range(10)])
    generator = torch.Generator().manual_seed(0)
    observed = torch.stack(
        [
            triplet.sample_third_class(labels, negatives, torch.rand(10, 10, generator=generator))[0]
            for _ in range(700)
        ]
    )  # fmt: skip
    for a, m in ((0, 1), (1, 0), (4, 6), (6, 4), (9, 0)):
        others = oracle.third_class(labels.tolist(), a, m)
        counts = observed[:, a, m].bincount(minlength=10)
        assert set(counts.nonzero()[:, 0].tolist()) == set(others)
        assert stats.chisquare(counts[others]).pvalue > 1e-4


def test_the_largest_draw_chooses_the_last_violator() -> None:
    f, labels = points(7, seed=4).float(), torch.tensor([0, 0, 1, 1, 1, 2, 2])
    last = torch.full((2, 7, 7), 1 - 2**-24)
    negatives, formed = triplet.sample_violators(triplet.distances(f, f), labels, last[0], ALPHA)
    for a, p in formed.nonzero().tolist():
        assert negatives[a, p] == oracle.violators(f.tolist(), labels.tolist(), a, p, ALPHA)[-1]


def both_forms(kind: MetricLoss, f: Tensor, labels: Tensor, c: Tensor, u: Tensor) -> list[Tensor]:
    return [SAMPLE_LOSSES[kind](f, labels, u, ALPHA, BETA), CENTRE_LOSSES[kind](f, labels, c, ALPHA, BETA)]


@pytest.mark.parametrize("kind", KINDS)
def test_gradients(kind: MetricLoss) -> None:
    labels, u = torch.tensor([0, 1, 2, 0, 1, 2, 0]), draws(7)
    function: Callable[..., Any] = lambda f, c: tuple(both_forms(kind, f, labels, c, u))  # noqa: E731
    assert torch.autograd.gradcheck(function, [points(7).requires_grad_(), points(3, seed=2).requires_grad_()])


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_is_that_of_the_oracle(kind: MetricLoss) -> None:
    labels, u, f, step = [0, 1, 2, 0, 1, 2, 0], draws(7), points(7), 1e-6
    leaf = f.clone().requires_grad_()
    SAMPLE_LOSSES[kind](leaf, torch.tensor(labels), u, ALPHA, BETA).backward()
    assert leaf.grad is not None
    for row, column in ((0, 0), (3, 2), (6, 1)):
        values = []
        for sign in (1, -1):
            moved = f.clone()
            moved[row, column] += sign * step
            values.append(oracle.sample(kind, moved.tolist(), labels, u.tolist(), ALPHA, BETA)[0])
        assert leaf.grad[row, column].item() == pytest.approx((values[0] - values[1]) / (2 * step), abs=1e-6)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4, 1e15])
@pytest.mark.parametrize("case", ["random", "one class", "all different", "one image", "equal", "repeated"])
@pytest.mark.parametrize("kind", KINDS)
def test_finite_value_and_gradient_for_finite_input(kind: MetricLoss, case: str, scale: float) -> None:
    labels = {"one class": [1] * 6, "all different": [0, 1, 2, 3, 4, 5], "one image": [2]}.get(case, [0, 1, 2, 0, 1, 2])
    f = points(len(labels)).float() * scale
    if case in ("equal", "repeated"):
        f = f[:1].expand(6, -1) if case == "equal" else f[:3].repeat(2, 1)
    inputs = [f.clone().requires_grad_(), (points(6, seed=2).float() * scale).requires_grad_()]
    for loss in both_forms(kind, inputs[0], torch.tensor(labels), inputs[1], draws(len(labels)).float()):
        loss.backward()
        assert torch.isfinite(loss)
        assert loss >= 0
    for tensor in inputs:
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()


@pytest.mark.parametrize("kind", ["triplet", "quadruplet"])
def test_nothing_formed_is_zero_with_a_zero_gradient(kind: MetricLoss) -> None:
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    c = 100 * torch.eye(3, dtype=torch.float64)
    f = (c[labels] + 0.01 * points(6)).requires_grad_()
    for loss in both_forms(kind, f, labels, c, draws(6)):
        f.grad = None
        loss.backward()
        assert loss == 0
        assert f.grad is not None
        assert not f.grad.any()


def test_without_a_third_class_a_quadruplet_is_a_triplet() -> None:
    f, labels, u = points(6), torch.tensor([0, 1, 0, 1, 0, 1]), draws(6)
    one, other = (SAMPLE_LOSSES[kind](f, labels, u, ALPHA, BETA) for kind in ("quadruplet", "triplet"))
    torch.testing.assert_close(one, other)
    assert one > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_autocast_are_computed_in_float32(kind: MetricLoss, dtype: torch.dtype) -> None:
    labels, f, c, u = torch.tensor([0, 1, 2, 0, 1, 2]), points(6).to(dtype), points(3, seed=2).to(dtype), draws(6)
    with torch.autocast("cpu", torch.bfloat16):
        half = both_forms(kind, f, labels, c, u.float())
    full = both_forms(kind, f.float(), labels, c.float(), u.float())
    for one, other in zip(half, full, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other)
