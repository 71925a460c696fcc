"""ALPA: an asymmetric loss with Pade approximants in place of logarithms, one sigmoid per class.

P. Kashyap, P. Tandon, S. Gupta, A. Tiwari, R. Kulkarni, K. S. Jadhav, "Taming the Tail: Leveraging Asymmetric Loss and
Pade Approximation to Overcome Medical Image Long-Tailed Class Imbalance", BMVC 2024. With p = sigmoid(logit) and y in
{0, 1}, summed over classes, mean over the batch:

    loss = - [ alpha y (1 - p)^g+ L+ + beta (1 - y) p^g- L- ] W
    L+ = a0 + a1 p          (a0, a1) = (-1.5, 1.5), in place of log p
    L- = c0 + c1 (1 - p)    (c0, c1) = (-1, 1), in place of log(1 - p)
    W = (1 - pt)^g          pt = p and g = g+ for positives, pt = 1 - p and g = g- for negatives

Each half depends on one number only, the error e = 1 - pt of the sigmoid: L+ = -1.5 e and L- = -e.
The same loss without logarithms, bounded for every logit, is therefore

    loss = alpha y 1.5 e^(2 g+ + 1) + beta (1 - y) e^(2 g- + 1)

and with any rational function r, -log(1 - e) ~ e r(e), in place of 1.5 and 1. Letters: B images, K classes.
"""

from __future__ import annotations

from functools import lru_cache, reduce
from typing import Literal, get_args

import torch
from torch import Tensor

from ltmed.errors import UserError, require_between, require_choice
from ltmed.losses.fused import mean_of
from ltmed.losses.power import power
from ltmed.losses.precision import full_precision
from ltmed.losses.sigmoid import error_signs, targets, weights_by_target
from ltmed.losses.traits import multilabel

Coefficients = Literal["paper", "pade"]
Ratio = tuple[tuple[float, ...], tuple[float, ...]]
"""A rational function: coefficients of numerator and denominator, highest power first."""

LARGEST_ORDER = 5
"""Up to this order float32 is precise enough, and no approximant has a pole in [0, 1]."""


@multilabel
@full_precision
def alpa(
    logits: Tensor,
    labels: Tensor,
    counts: Tensor,
    *,
    alpha: float = 0.875,
    beta: float = 1.625,
    gamma_pos: float = 0.0,
    gamma_neg: float = 4.0,
    hill: float | None = None,
    clip: float = 0.0,
    coefficients: Coefficients = "paper",
    order: tuple[int, int] = (1, 1),
) -> Tensor:
    """The loss above; the defaults are v2, which the paper calls ALPA.

    Args:
        logits: `[B, K]`, any float type; half precision is computed in float32.
        labels: int64 `[B]`, one class per image, or 0/1 `[B, K]`, any number of classes per image; NaN is unknown and
            does not contribute.
        counts: training images per class `[K]`; not used, part of the common signature.
        alpha: weight of positives.
        beta: weight of negatives.
        gamma_pos: g+ >= 0; the larger, the less an easy positive counts.
        gamma_neg: g- >= 0, likewise for negatives.
        hill: lambda of v3, where L- is multiplied by (lambda - p) as in the Hill loss; None for v1 and v2.
        clip: in [0, 1); the released code adds it to 1 - p, capped at 1: in L-, in the W of negatives and in the
            (1 - p)^g+ of positives. Negatives with p below it are then ignored.
        coefficients: "paper": L+ and L- as above; "pade": both are the Pade approximant of the logarithm at 1.
        order: degrees M >= 1 and N of the numerator and denominator of the approximant; only for "pade".

    Returns:
        a scalar, >= 0 where `hill` is None or >= 1; finite for finite logits.

    Raises:
        UserError: an option out of its range.
    """
    _check(gamma_pos, gamma_neg, clip, coefficients)
    pade = pade_ratio(*order) if coefficients == "pade" else None

    def positive(error: Tensor) -> Tensor:
        if clip:
            focus = power(error, gamma_pos + 1) * power((error + clip).clamp_max(1), gamma_pos)
        else:
            focus = power(error, 2 * gamma_pos + 1)
        return focus * _evaluate(pade, error) if pade else focus

    def negative(error: Tensor) -> Tensor:
        clipped = (error - clip).relu() if clip else error
        focus = power(clipped, gamma_neg + 1) * power(error, gamma_neg) if clip else power(error, 2 * gamma_neg + 1)
        focus = focus if hill is None else focus * (hill - error)
        return focus * _evaluate(pade, clipped) if pade else focus

    positive_weight, negative_weight = (alpha, beta) if pade else (1.5 * alpha, beta)
    target, mask = targets(logits, labels)
    if pade is None and hill is None and not clip:
        return _of_powers(
            logits, target, mask, (2 * gamma_pos + 1, 2 * gamma_neg + 1), (positive_weight, negative_weight)
        )
    sign = error_signs(target)
    error = (logits * sign).sigmoid()
    terms = torch.lerp(negative(error), positive(error), target) * weights_by_target(
        target, mask, positive_weight, negative_weight
    )
    return terms.sum() / len(logits)


def _of_powers(
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    exponents: tuple[float, float],
    weights: tuple[float, float],
) -> Tensor:
    """The mean over images of the sum of w e^k, e = sigmoid(s), s the logit of an error; d/ds e^k = k e^k (1 - e).

    Args:
        logits: `[B, K]`.
        target: 0/1 `[B, K]`.
        mask: 1 where the target is known, else 0, `[B, K]`; None where all are known.
        exponents: k >= 1 of positives and of negatives.
        weights: w of positives and of negatives.
    """

    def formula(z: Tensor) -> tuple[Tensor, Tensor]:
        sign = error_signs(target)
        error = (z * sign).sigmoid_()
        absent = 1 - target if mask is None else mask - target
        present = (power(error, exponents[0]) * target).mul_(weights[0])
        absent.mul_(power(error, exponents[1])).mul_(weights[1])
        sums = present.sum(1) + absent.sum(1)
        slope = present.mul_(exponents[0]).add_(absent, alpha=exponents[1])
        return sums, slope.mul_(1 - error).mul_(sign)

    return mean_of(logits, formula)


@lru_cache
def pade_ratio(m: int, n: int) -> Ratio:
    """The [m/n] Pade approximant of -log(1 - e) at e = 0, divided by e.

    Of [1/1]: 2 / (2 - e), so that log y ~ 2 (y - 1) / (y + 1).

    Args:
        m: degree of the approximant's numerator.
        n: degree of its denominator.

    Raises:
        UserError: a degree out of range.
    """
    if not (1 <= m <= LARGEST_ORDER and 0 <= n <= LARGEST_ORDER):
        raise UserError(
            f"order [{m}, {n}] of the ALPA loss",
            f"Give [M, N] with M from 1 to {LARGEST_ORDER} and N from 0 to {LARGEST_ORDER}.",
        )
    from scipy.interpolate import pade  # Imported here, so that other losses do not load SciPy.

    numerator, denominator = pade([0.0] + [1 / k for k in range(1, m + n + 1)], n, m)
    # The numerator's constant is 0, and dropping it divides by e.
    return tuple(numerator.coef[:-1].tolist()), tuple(denominator.coef.tolist())


def _evaluate(ratio: Ratio, e: Tensor) -> Tensor | float:
    """The rational function at `e`, by Horner's rule; a number where it is constant."""
    numerator, denominator = (
        reduce(lambda value, c: value * e + c, coefficients_of[1:], coefficients_of[0]) for coefficients_of in ratio
    )
    return numerator / denominator


def _check(gamma_pos: float, gamma_neg: float, clip: float, coefficients: str) -> None:
    for name, value, high in (("gamma_pos", gamma_pos, 100), ("gamma_neg", gamma_neg, 100), ("clip", clip, 0.999)):
        require_between(f"loss.{name}", value, 0, high)
    require_choice("loss.coefficients", coefficients, get_args(Coefficients))
