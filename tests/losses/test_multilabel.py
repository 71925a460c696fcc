"""Losses of several labels per image against loops, with unknown entries, and with images without labels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ltmed.losses.multilabel import distribution_balanced, logit_adjusted_bce, weighted_bce
from ltmed.losses.sigmoid import asl, bce, sigmoid_focal
from ltmed.losses.traits import is_multilabel
from ltmed.losses.two_way import two_way
from tests.losses.test_every_loss import NAMES, load

COUNTS = torch.tensor([[500, 30, 1, 7], [100, 560, 640, 600]])
NAN = math.nan
TARGETS = torch.tensor(
    [[1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 1], [1, NAN, 0, NAN], [NAN, NAN, NAN, NAN], [NAN, 1, NAN, 0]]
)
LOGITS = 2 * torch.randn(7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
MULTILABEL = [name for name in NAMES if is_multilabel(load(name))]


def loop(term: Callable[[float, int, int, list[float]], float], logits: Tensor = LOGITS) -> float:
    """Sum over known entries of `term(z, y, k, targets of the image)`, over the number of images."""
    total = 0.0
    for row, expected in zip(logits.tolist(), TARGETS.tolist(), strict=True):
        total += sum(term(z, int(y), k, expected) for k, (z, y) in enumerate(zip(row, expected, strict=True)) if y == y)
    return total / len(logits)


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def cost(z: float, y: int) -> float:
    return -math.log(sigmoid(z) if y else 1 - sigmoid(z))


def odds(k: int) -> float:
    return math.log(COUNTS[0, k].item() / COUNTS[1, k].item())


def test_those_that_take_several_labels_say_so() -> None:
    assert MULTILABEL == [
        "alpa", "asl", "bce", "db_focal", "distribution_balanced", "logit_adjusted_bce", "sigmoid_focal",
        "two_way", "weighted_bce",
    ]  # fmt: skip


def test_bce_focal_and_asl_over_known_entries() -> None:
    assert bce(LOGITS, TARGETS, COUNTS).item() == pytest.approx(loop(lambda z, y, k, row: cost(z, y)))

    def focal(z: float, y: int, k: int, row: list[float]) -> float:
        miss = 1 - sigmoid(z) if y else sigmoid(z)
        return (0.25 if y else 0.75) * miss**2 * cost(z, y)

    assert sigmoid_focal(LOGITS, TARGETS, COUNTS).item() == pytest.approx(loop(focal))

    def asymmetric(z: float, y: int, k: int, row: list[float]) -> float:
        remaining = max(sigmoid(z) - 0.05, 0)
        return cost(z, 1) if y else -(remaining**4) * math.log(1 - remaining)

    assert asl(LOGITS, TARGETS, COUNTS).item() == pytest.approx(loop(asymmetric))


@pytest.mark.parametrize("largest", [None, 10.0])
def test_weighted_bce(largest: float | None) -> None:
    def term(z: float, y: int, k: int, row: list[float]) -> float:
        weight = COUNTS[1, k].item() / COUNTS[0, k].item()
        return (min(weight, largest or math.inf) if y else 1) * cost(z, y)

    assert weighted_bce(LOGITS, TARGETS, COUNTS, largest=largest).item() == pytest.approx(loop(term))


def test_logit_adjusted_bce() -> None:
    actual = logit_adjusted_bce(LOGITS, TARGETS, COUNTS, tau=0.7)
    assert actual.item() == pytest.approx(loop(lambda z, y, k, row: cost(z + 0.7 * odds(k), y)))
    torch.testing.assert_close(logit_adjusted_bce(LOGITS, TARGETS, COUNTS, tau=0), bce(LOGITS, TARGETS, COUNTS))


@pytest.mark.parametrize(
    "options", [{}, {"gamma": 2.0, "balance": 2.0}, {"gamma": 0.5, "mu": 0.3, "neg_scale": 5.0, "bias": 0.4}]
)
def test_distribution_balanced(options: dict[str, Any]) -> None:
    selected = {"gamma": 0.0, "balance": 1.0, "mu": 0.2, "neg_scale": 2.0, "bias": 0.05, **options}

    def term(z: float, y: int, k: int, row: list[float]) -> float:
        repeated = sum(1 / COUNTS[0, j].item() for j, other in enumerate(row) if other == 1)
        weight = 0.1 + (sigmoid(10 * (1 / COUNTS[0, k].item() / repeated - selected["mu"])) if repeated else 1)
        q = z + selected["bias"] * odds(k) / selected["neg_scale"]
        scale = 1 if y else selected["neg_scale"]
        right = sigmoid(q) if y else 1 - sigmoid(scale * q)
        return selected["balance"] * weight * (1 - right) ** selected["gamma"] * -math.log(right) / scale

    assert distribution_balanced(LOGITS, TARGETS, COUNTS, **options).item() == pytest.approx(loop(term))


@pytest.mark.parametrize("temperatures", [(4.0, 1.0), (1.0, 0.5)])
def test_two_way(temperatures: tuple[float, float]) -> None:
    up, down = temperatures

    def compared(logits: list[float], wanted: list[float]) -> float | None:
        own = [z for z, y in zip(logits, wanted, strict=True) if y == 1]
        others = [z for z, y in zip(logits, wanted, strict=True) if y == 0]
        if not own:
            return None
        if not others:
            return 0.0
        largest = down * math.log(sum(math.exp(z / down) for z in others))
        smallest = up * math.log(sum(math.exp(-z / up) for z in own))
        return math.log1p(math.exp(largest + smallest))

    expected = 0.0
    for logits, targets in ((LOGITS, TARGETS), (LOGITS.T, TARGETS.T)):
        actual = [compared(z, y) for z, y in zip(logits.tolist(), targets.tolist(), strict=True)]
        selected = [value for value in actual if value is not None]
        expected += sum(selected) / len(selected)
    value = two_way(LOGITS, TARGETS, COUNTS, positive_temperature=up, negative_temperature=down)
    assert value.item() == pytest.approx(expected)


def test_two_way_treats_images_and_labels_alike_and_contains_the_softmax_loss() -> None:
    labels, plain = torch.tensor([0, 2, 1, 0, 3, 3, 1]), {"positive_temperature": 1.0, "negative_temperature": 1.0}
    both = two_way(LOGITS, labels, COUNTS, **plain)
    torch.testing.assert_close(both, two_way(LOGITS.T, F.one_hot(labels, 4).T, COUNTS, **plain))
    single = two_way(LOGITS[:1], labels[:1], COUNTS, **plain)  # One image: its labels have no image to compare it with.
    torch.testing.assert_close(single, F.cross_entropy(LOGITS[:1], labels[:1]))


@pytest.mark.parametrize("name", MULTILABEL)
def test_gradient_and_that_of_unknown_entries_is_exactly_0(name: str) -> None:
    loss, logits = load(name), LOGITS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(z, TARGETS, COUNTS), logits)
    large = (100 * LOGITS).float().requires_grad_()
    for z in (logits, large):
        (gradient,) = torch.autograd.grad(loss(z, TARGETS, COUNTS), z)
        assert torch.isfinite(gradient).all()
        assert (gradient[TARGETS.isnan()] == 0).all()
    assert (torch.autograd.grad(loss(logits, TARGETS, COUNTS), logits)[0][TARGETS == 1] < 0).all()


@pytest.mark.parametrize("name", MULTILABEL)
def test_unknown_entries_add_nothing_whatever_their_logits(name: str) -> None:
    loss = load(name)
    other = torch.where(TARGETS.isnan(), 7.0, LOGITS)
    torch.testing.assert_close(loss(other, TARGETS, COUNTS), loss(LOGITS, TARGETS, COUNTS), rtol=0, atol=0)
    nothing = torch.full_like(TARGETS, NAN)
    assert loss(LOGITS, nothing, COUNTS) == 0


@pytest.mark.parametrize("name", [name for name in MULTILABEL if name != "two_way"])  # Which compares images.
def test_parts_of_a_batch_have_the_mean_of_the_whole(name: str) -> None:
    loss = load(name)
    whole = loss(LOGITS[:6], TARGETS[:6], COUNTS)
    parts = [loss(LOGITS[rows], TARGETS[rows], COUNTS) for rows in (slice(0, 3), slice(3, 6))]
    torch.testing.assert_close(torch.stack(parts).mean(), whole)


@pytest.mark.parametrize("name", MULTILABEL)
def test_a_label_without_positives_or_negatives_changes_no_other(name: str) -> None:
    loss = load(name)
    counts, targets = COUNTS.clone(), TARGETS.clone()
    counts[:, 1] = torch.tensor([0, 600])
    targets[:, 1] = NAN
    actual = loss(LOGITS, targets, counts)
    rest = [0, 2, 3]
    torch.testing.assert_close(actual, loss(LOGITS[:, rest], targets[:, rest], counts[:, rest]))


@pytest.mark.parametrize("name", MULTILABEL)
def test_class_numbers_and_one_hot_rows_of_either_kind_are_the_same(name: str) -> None:
    loss, labels = load(name), torch.tensor([0, 2, 1, 0, 3, 3, 1])
    counts = torch.tensor([500, 30, 1, 7])
    hot = F.one_hot(labels, 4)
    for other in (hot, hot.float()):
        torch.testing.assert_close(loss(LOGITS, other, counts), loss(LOGITS, labels, counts))


@pytest.mark.parametrize("name", [name for name in MULTILABEL if name not in ("bce", "weighted_bce", "two_way")])
def test_known_targets_cost_the_same_with_and_without_a_mask(name: str) -> None:
    """Without NaN no mask is made; in a batch with one, the other images must not notice."""
    loss, rows = load(name), TARGETS[:4]
    alone = loss(LOGITS[:4], rows, COUNTS) * 4
    with_unknown = loss(LOGITS[:5], torch.cat([rows, torch.full((1, 4), NAN)]), COUNTS) * 5
    torch.testing.assert_close(with_unknown, alone)


def test_a_fused_loss_has_no_second_derivative() -> None:
    logits = LOGITS.clone().requires_grad_()
    with pytest.raises(RuntimeError, match="second derivative"):
        torch.autograd.grad(sigmoid_focal(logits, TARGETS, COUNTS), logits, create_graph=True)
