"""Losses with one sigmoid per class, p = sigmoid(z). Letters: B images, K classes.

All are summed over the classes and averaged over the batch. The classes are ranked by z itself. Targets are class
numbers `[B]` or 0/1 `[B, K]`, any number of classes per image. A NaN among the latter is unknown: it adds nothing to
the sum over classes, and its logit has gradient 0. The batch is divided by its images, not by its known entries, so
that a batch computed in parts (processes, accumulation) has the same gradient as the whole.

Focal: T.-Y. Lin et al., ICCV 2017, Eq. 5. ASL: T. Ridnik, E. Ben-Baruch, N. Zamir, A. Noy, I. Friedman, M. Protter,
L. Zelnik-Manor, "Asymmetric Loss for Multi-Label Classification", ICCV 2021.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ltmed.errors import require_between
from ltmed.losses.fused import Formula, mean_of, sums_of
from ltmed.losses.power import power
from ltmed.losses.precision import full_precision
from ltmed.losses.traits import multilabel


@multilabel
@full_precision
def bce(logits: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    """Binary cross-entropy, -y log p - (1 - y) log(1 - p).

    Args:
        logits: z `[B, K]`, any float type; half precision is computed in float32.
        labels: int64 `[B]`, or 0/1/NaN `[B, K]`.
        counts: training images per class `[K]`; not used, part of the common signature.
    """
    wanted, known = targets(logits, labels)
    return F.binary_cross_entropy_with_logits(logits, wanted, known, reduction="sum") / len(logits)


def targets(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor | None]:
    """What the sigmoids should be, 0/1 `[B, K]` in the type of the logits, and 1 where that is known, else 0.

    Args:
        logits: z `[B, K]`.
        labels: int64 `[B]`, or 0/1/NaN `[B, K]`; of an unknown entry the target is 0.

    Returns:
        targets, and the mask in the type of the logits, None where everything is known: by the type of the labels, or
        because they have no NaN, which only a CPU is asked, since a GPU would have to be waited for.
    """
    if labels.ndim == 1:
        return torch.zeros_like(logits).scatter_(1, labels[:, None], 1.0), None
    if not labels.is_floating_point():
        return labels.to(logits.dtype), None
    if labels.device.type == "cpu" and not math.isnan(float(labels.sum())):
        return labels.to(logits.dtype), None
    # Without masks of bool, which cost several times as much as arithmetic: 0, 1 and 2 for absent, present and unknown.
    marked = labels.to(logits.dtype).nan_to_num(2.0)
    known = torch.rsub(marked, 2).clamp_max_(1)
    return marked * known, known


def signs(wanted: Tensor) -> Tensor:
    """-1 where a label is present, else 1, `[B, K]`: the logit times it is that of being wrong."""
    return torch.rsub(wanted, 1, alpha=2)


def sides(wanted: Tensor, known: Tensor | None, up: float, down: float) -> Tensor:
    """`up` where a label is present, `down` where it is absent, 0 where it is unknown, `[B, K]`.

    Args:
        wanted: 0/1 `[B, K]`, 0 where unknown.
        known: 0/1 `[B, K]`, or None where all is known.
        up: of positives.
        down: of negatives.
    """
    # Not `known * down + wanted * (up - down)`: where the two are far apart, that would round.
    if known is None:
        return (1 - wanted).mul_(down).add_(wanted, alpha=up)
    return (known - wanted).mul_(down).add_(wanted, alpha=up)


@multilabel
@full_precision
def sigmoid_focal(
    logits: Tensor, labels: Tensor, counts: Tensor, *, gamma: float = 2.0, alpha: float | None = 0.25
) -> Tensor:
    """-alpha y (1 - p)^g log p - (1 - alpha) (1 - y) p^g log(1 - p).

    Args:
        logits: z `[B, K]`.
        labels: int64 `[B]`, or 0/1/NaN `[B, K]`.
        counts: training images per class `[K]`; not used, part of the common signature.
        gamma: g >= 0.
        alpha: weight of positives in [0, 1], that of negatives is 1 - alpha; None: both count 1.

    Raises:
        UserError: an option out of range.
    """
    return mean_of(logits, _sigmoid_focal(logits, labels, gamma, alpha))


def focal_terms(logits: Tensor, labels: Tensor, gamma: float, alpha: float | None) -> Tensor:
    """The sum over classes of `sigmoid_focal`, `[B]`."""
    return sums_of(logits, _sigmoid_focal(logits, labels, gamma, alpha))


def _sigmoid_focal(logits: Tensor, labels: Tensor, gamma: float, alpha: float | None) -> Formula:
    require_between("loss.gamma", gamma, 0, 100)
    if alpha is not None:
        require_between("loss.alpha", alpha, 0, 1)
    return _focal(logits, labels, (gamma, gamma), (1.0, 1.0) if alpha is None else (alpha, 1 - alpha))


def _focal(logits: Tensor, labels: Tensor, gammas: tuple[float, float], weights: tuple[float, float]) -> Formula:
    """Sum over classes of w e^g softplus(s): the logit s of being wrong is -z of a positive and z of a negative.

    With e = sigmoid(s), d/ds e^g softplus(s) = e^g (e + g (1 - e) softplus(s)).

    Args:
        logits: z `[B, K]`.
        labels: int64 `[B]`, or 0/1/NaN `[B, K]`.
        gammas: g of positives and of negatives.
        weights: w of positives and of negatives.
    """
    wanted, known = targets(logits, labels)

    def formula(z: Tensor) -> tuple[Tensor, Tensor]:
        sign = signs(wanted)
        wrong = z * sign
        miss, cost = wrong.sigmoid(), F.softplus(wrong)
        weight, slope = sides(wanted, known, *weights), 1 - miss
        if gammas[0] == gammas[1]:
            weight *= power(miss, gammas[0])
            slope = torch.addcmul(miss, slope, cost, value=gammas[0])
        else:
            weight *= torch.lerp(power(miss, gammas[1]), power(miss, gammas[0]), wanted)
            slope.mul_(cost).mul_(sides(wanted, None, *gammas)).add_(miss)
        slope.mul_(weight).mul_(sign)
        return weight.mul_(cost).sum(1), slope

    return formula


@multilabel
@full_precision
def asl(
    logits: Tensor,
    labels: Tensor,
    counts: Tensor,
    *,
    gamma_pos: float = 0.0,
    gamma_neg: float = 4.0,
    margin: float = 0.05,
) -> Tensor:
    """-y (1 - p)^g+ log p - (1 - y) p_m^g- log(1 - p_m), p_m = max(p - m, 0).

    Args:
        logits: z `[B, K]`.
        labels: int64 `[B]`, or 0/1/NaN `[B, K]`.
        counts: training images per class `[K]`; not used, part of the common signature.
        gamma_pos: g+ >= 0.
        gamma_neg: g- >= 0.
        margin: m in [0, 1); negatives with a smaller p count nothing.

    Raises:
        UserError: an option out of range.
    """
    require_between("loss.gamma_pos", gamma_pos, 0, 100)
    require_between("loss.gamma_neg", gamma_neg, 0, 100)
    require_between("loss.margin", margin, 0, 1, below=True)

    if not margin:  # log(1 - p_m) would end at z = 17 in float32.
        return mean_of(logits, _focal(logits, labels, (gamma_pos, gamma_neg), (1.0, 1.0)))
    wanted, known = targets(logits, labels)

    def formula(z: Tensor) -> tuple[Tensor, Tensor]:
        wrong = z * signs(wanted)
        miss, cost = wrong.sigmoid(), F.softplus(wrong)  # Of negatives, the miss is p.
        flat = miss * (1 - miss)
        shifted = (miss - margin).clamp_min_(0)
        log_rest, fall = _log_of_rest(wrong, miss, flat, shifted, margin)
        # d/dz p_m^g log(1 - p_m) = g p_m^(g - 1) p (1 - p) log(1 - p_m) - p_m^g fall, and 0 where p_m is 0.
        if gamma_neg:
            lower = power(shifted, gamma_neg - 1) if gamma_neg >= 1 else _inverse_power(shifted, 1 - gamma_neg)
            focus = lower * shifted
            slope = fall.mul_(focus).addcmul_(flat.mul_(lower), log_rest, value=-gamma_neg)
        else:
            focus = (shifted > 0).to(z.dtype)
            slope = fall.mul_(focus)
        absent = (1 - wanted) if known is None else known - wanted
        terms, gradient = focus.mul_(log_rest).mul_(absent), slope.mul_(absent)
        steep = miss
        if gamma_pos:
            near = power(miss, gamma_pos)
            steep, cost = torch.addcmul(miss, 1 - miss, cost, value=gamma_pos).mul_(near), cost.mul_(near)
        return torch.addcmul(-terms, cost, wanted).sum(1), gradient.addcmul_(steep, wanted, value=-1)

    return mean_of(logits, formula)


def _log_of_rest(z: Tensor, p: Tensor, flat: Tensor, shifted: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """log(1 - p_m), and -d/dz of it where p_m > 0; `flat` is p (1 - p)."""
    if margin >= 1e-3:
        rest = 1 - shifted
        return rest.log(), flat / rest
    # log(1 - p + m) for any m > 0: in float32, 1 - p_m has no digits left once m is below some 1e-7.
    log_absent = F.logsigmoid(-z)
    log_rest = torch.logaddexp(log_absent, torch.full_like(z, math.log(margin)))
    return log_rest.clamp_max(0), p * (log_absent - log_rest).exp_()


def _inverse_power(x: Tensor, exponent: float) -> Tensor:
    """x^-exponent, 0 where x is 0."""
    return torch.where(x > 0, x, torch.inf) ** -exponent
