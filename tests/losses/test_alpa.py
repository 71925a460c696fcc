"""The ALPA loss against the paper's formula in loops, the released form, Taylor series, and its edge cases."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.polynomial import polynomial
from torch import Tensor

from ltmed.errors import UserError
from ltmed.losses.alpa import LARGEST_ORDER, alpa, pade_ratio

COUNTS = torch.tensor([50, 3, 1, 7, 2])
V1 = {"alpha": 1.0, "beta": 1.0, "gamma_pos": 0.0, "gamma_neg": 4.0}
V2 = {"alpha": 0.875, "beta": 1.625, "gamma_pos": 0.0, "gamma_neg": 4.0}
V3 = {"alpha": 1.25, "beta": 2.0, "gamma_pos": 3.0, "gamma_neg": 2.0, "hill": 1.5}
OPTIONS = [
    V1, V2, V3, {**V2, "clip": 0.05}, {**V3, "clip": 0.05}, {**V3, "clip": 0.3},
    {"alpha": 1.0, "beta": 2.0, "gamma_pos": 0.3, "gamma_neg": 0.6}, {**V3, "clip": 0.2, "gamma_neg": 0.5},
]  # fmt: skip


def make(batch: int = 7, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(batch)
    logits = 3 * torch.randn(batch, 5, dtype=dtype, generator=generator)
    return logits, torch.randint(5, (batch,), generator=generator)


def log_like(y: float, paper: tuple[float, float], order: tuple[int, int] | None) -> float:
    """L+ or L- at the probability `y` of being right."""
    if order is None:
        return paper[0] + paper[1] * y
    if order == (1, 1):
        return 2 * (y - 1) / (y + 1)
    assert order == (2, 0)
    return (y - 1) - (y - 1) ** 2 / 2


def expected(
    logits: Tensor, targets: Tensor, *, alpha: float, beta: float, gamma_pos: float, gamma_neg: float,
    hill: float | None = None, clip: float = 0.0, order: tuple[int, int] | None = None,
) -> float:  # fmt: skip
    """The formula as printed, with loops; the released code's shift of 1 - p by `clip`."""
    total = 0.0
    for row, wanted in zip(logits.tolist(), targets.tolist(), strict=True):
        for z, y in zip(row, wanted, strict=True):
            p = 1 / (1 + math.exp(-z))
            q = min(1 - p + clip, 1)
            plus, minus = log_like(p, (-1.5, 1.5), order), log_like(q, (-1.0, 1.0), order)
            minus = minus if hill is None else minus * (hill - p)
            pt, g = (p, gamma_pos) if y else (q, gamma_neg)
            weight = (1 - pt) ** g
            total -= (alpha * y * q**gamma_pos * plus + beta * (1 - y) * p**gamma_neg * minus) * weight
    return total / len(logits)


@pytest.mark.parametrize("options", OPTIONS)
def test_single_labels_are_the_papers(options: dict[str, Any]) -> None:
    logits, labels = make()
    actual = alpa(logits, labels, COUNTS, **options)
    assert actual.item() == pytest.approx(expected(logits, F.one_hot(labels, 5), **options), rel=1e-9)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("dtype", [torch.int64, torch.float32])
def test_several_labels_are_the_papers(options: dict[str, Any], dtype: torch.dtype) -> None:
    logits, _ = make()
    targets = torch.tensor(
        [[1, 0, 1, 1, 0], [0] * 5, [1] * 5, [0, 0, 0, 0, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 0], [0] * 5]
    )
    actual = alpa(logits, targets.to(dtype), COUNTS, **options)
    assert actual.item() == pytest.approx(expected(logits, targets, **options), rel=1e-9)


def test_one_label_and_its_one_hot_row_are_the_same() -> None:
    logits, labels = make()
    for options in OPTIONS:
        single, several = logits.clone().requires_grad_(), logits.clone().requires_grad_()
        one, other = alpa(single, labels, COUNTS, **options), alpa(several, F.one_hot(labels, 5), COUNTS, **options)
        one.backward()
        other.backward()
        torch.testing.assert_close(one, other)
        torch.testing.assert_close(single.grad, several.grad)


def test_the_defaults_are_version_two() -> None:
    logits, labels = make()
    assert torch.equal(alpa(logits, labels, COUNTS), alpa(logits, labels, COUNTS, **V2))


@pytest.mark.parametrize("order", [(1, 1), (2, 0)])
@pytest.mark.parametrize("options", [V2, V3, {**V2, "clip": 0.05}])
def test_pade_coefficients_of_low_order_are_the_ones_by_hand(order: tuple[int, int], options: dict[str, Any]) -> None:
    logits, labels = make()
    actual = alpa(logits, labels, COUNTS, coefficients="pade", order=order, **options)
    assert actual.item() == pytest.approx(expected(logits, F.one_hot(labels, 5), order=order, **options), rel=1e-9)


@pytest.mark.parametrize("m", range(1, LARGEST_ORDER + 1))
@pytest.mark.parametrize("n", range(LARGEST_ORDER + 1))
def test_every_approximant_has_the_series_of_the_logarithm_and_no_pole(m: int, n: int) -> None:
    numerator, denominator = (np.array(side)[::-1] for side in pade_ratio(m, n))
    assert (len(numerator), len(denominator)) == (m, n + 1)
    series = np.array([1 / k for k in range(1, m + n + 1)])  # -log(1 - e) / e
    product = polynomial.polymul(series, denominator)[: m + n]
    np.testing.assert_allclose(product, np.pad(numerator, (0, n)), atol=1e-8)
    e = torch.linspace(0, 1, 100_001)
    values = alpa(torch.logit(e)[:, None], torch.ones(len(e), 1), COUNTS, coefficients="pade", order=(m, n))
    assert torch.isfinite(values)
    below = np.polynomial.Polynomial(denominator)(e.double().numpy())
    assert below.min() > 0


def test_a_high_order_with_equal_weights_is_binary_cross_entropy() -> None:
    logits, labels = make()
    logits = logits / 3
    options: dict[str, Any] = {"alpha": 1, "beta": 1, "gamma_pos": 0, "gamma_neg": 0, "coefficients": "pade"}
    actual = alpa(logits, labels, COUNTS, order=(5, 5), **options)
    wanted = F.binary_cross_entropy_with_logits(logits, F.one_hot(labels, 5).double(), reduction="sum") / len(logits)
    assert actual.item() == pytest.approx(wanted.item(), rel=1e-3)


@pytest.mark.parametrize("options", [*OPTIONS, {**V2, "coefficients": "pade", "order": (2, 2)}])
@pytest.mark.parametrize("several", [False, True])
def test_gradients(options: dict[str, Any], several: bool) -> None:
    logits, labels = make(4)
    targets = F.one_hot(labels, 5) if several else labels
    assert torch.autograd.gradcheck(lambda z: alpa(z, targets, COUNTS, **options), logits.requires_grad_())


@pytest.mark.parametrize(
    "options", [*OPTIONS, {**V2, "coefficients": "pade", "order": (5, 5), "clip": 0.05}, {**V1, "gamma_neg": 0.0}]
)
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("values", [[1e4, -1e4], [0.0, 0.0], [100.0, -100.0], [17.0, -90.0]])
def test_finite_value_and_gradient_for_finite_input(
    options: dict[str, Any], several: bool, values: list[float]
) -> None:
    logits = torch.tensor([values, values[::-1], values[:1] * 2], requires_grad=True)
    labels = torch.tensor([0, 0, 0])
    loss = alpa(logits, F.one_hot(labels, 2) if several else labels, COUNTS[:2], **options)
    loss.backward()
    assert logits.grad is not None
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_autocast_are_computed_in_float32(dtype: torch.dtype) -> None:
    logits, labels = make()
    with torch.autocast("cpu", torch.bfloat16):
        loss = alpa(logits.to(dtype), labels, COUNTS)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, alpa(logits.to(dtype).float(), labels, COUNTS))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma_neg": -1.0}, "gamma_neg=-1.0"),
        ({"gamma_pos": -1.0}, "gamma_pos=-1.0"),
        ({"clip": 1.0}, "clip=1.0"),
        ({"coefficients": "pad"}, "no choice 'pad'.*'pade'"),
        ({"coefficients": "pade", "order": (0, 1)}, r"order \[0, 1\]"),
        ({"coefficients": "pade", "order": (1, 9)}, r"order \[1, 9\]"),
    ],
)
def test_wrong_options_are_user_errors(options: dict[str, Any], message: str) -> None:
    logits, labels = make()
    with pytest.raises(UserError, match=message):
        alpa(logits, labels, COUNTS, **options)
