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
    target, mask = targets(logits, labels)
    return F.binary_cross_entropy_with_logits(logits, target, mask, reduction="sum") / len(logits)


def targets(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor | None]:
    """Targets of the sigmoids, 0/1 `[B, K]` in the type of the logits, and a mask: 1 where the target is known, else 0.

    Args:
        logits: z `[B, K]`.
        labels: int64 `[B]`, or 0/1/NaN `[B, K]`; of an unknown entry the target is 0.

    Returns:
        targets, and the mask in the type of the logits. The mask is None where all entries are known: the labels are
        integers, or they hold no NaN. The latter is checked on a CPU only, since it would synchronise with a GPU.
    """
    if labels.ndim == 1:
        return torch.zeros_like(logits).scatter_(1, labels[:, None], 1.0), None
    if not labels.is_floating_point():
        return labels.to(logits.dtype), None
    if labels.device.type == "cpu" and not math.isnan(float(labels.sum())):
        return labels.to(logits.dtype), None
    # Arithmetic is several times faster than boolean masks: 0, 1 and 2 stand for absent, present and unknown.
    marked = labels.to(logits.dtype).nan_to_num(2.0)
    mask = torch.rsub(marked, 2).clamp_max_(1)
    return marked * mask, mask


def error_signs(target: Tensor) -> Tensor:
    """-1 where a label is present, else 1, `[B, K]`: times the logit it is the logit of an error."""
    return torch.rsub(target, 1, alpha=2)


def weights_by_target(target: Tensor, mask: Tensor | None, positive: float, negative: float) -> Tensor:
    """`positive` where a label is present, `negative` where it is absent, 0 where it is unknown, `[B, K]`.

    Args:
        target: 0/1 `[B, K]`, 0 where unknown.
        mask: 1 where the target is known, else 0, `[B, K]`; None where all are known.
        positive: of positives.
        negative: of negatives.
    """
    # Not `mask * negative + target * (positive - negative)`, which loses digits where the two differ much in size.
    if mask is None:
        return (1 - target).mul_(negative).add_(target, alpha=positive)
    return (mask - target).mul_(negative).add_(target, alpha=positive)


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
    """Sum over classes of w e^g softplus(s), with the logit s of an error: -z of a positive and z of a negative.

    With e = sigmoid(s), d/ds e^g softplus(s) = e^g (e + g (1 - e) softplus(s)).

    Args:
        logits: z `[B, K]`.
        labels: int64 `[B]`, or 0/1/NaN `[B, K]`.
        gammas: g of positives and of negatives.
        weights: w of positives and of negatives.
    """
    target, mask = targets(logits, labels)

    def formula(z: Tensor) -> tuple[Tensor, Tensor]:
        sign = error_signs(target)
        error_logit = z * sign
        error, cost = error_logit.sigmoid(), F.softplus(error_logit)
        weight, slope = weights_by_target(target, mask, *weights), 1 - error
        if gammas[0] == gammas[1]:
            weight *= power(error, gammas[0])
            slope = torch.addcmul(error, slope, cost, value=gammas[0])
        else:
            weight *= torch.lerp(power(error, gammas[1]), power(error, gammas[0]), target)
            slope.mul_(cost).mul_(weights_by_target(target, None, *gammas)).add_(error)
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
        margin: m in [0, 1); negatives with a smaller p are ignored.

    Raises:
        UserError: an option out of range.
    """
    require_between("loss.gamma_pos", gamma_pos, 0, 100)
    require_between("loss.gamma_neg", gamma_neg, 0, 100)
    require_between("loss.margin", margin, 0, 1, below=True)

    if not margin:  # In float32, log(1 - p_m) overflows at z = 17.
        return mean_of(logits, _focal(logits, labels, (gamma_pos, gamma_neg), (1.0, 1.0)))
    target, mask = targets(logits, labels)

    def formula(z: Tensor) -> tuple[Tensor, Tensor]:
        error_logit = z * error_signs(target)
        error, cost = error_logit.sigmoid(), F.softplus(error_logit)  # For negatives the error is p.
        flat = error * (1 - error)
        shifted = (error - margin).clamp_min_(0)
        log_complement, fall = _log_complement(error_logit, error, flat, shifted, margin)
        # d/dz p_m^g log(1 - p_m) = g p_m^(g - 1) p (1 - p) log(1 - p_m) - p_m^g fall, and 0 where p_m is 0.
        if gamma_neg:
            lower = power(shifted, gamma_neg - 1) if gamma_neg >= 1 else _inverse_power(shifted, 1 - gamma_neg)
            focus = lower * shifted
            slope = fall.mul_(focus).addcmul_(flat.mul_(lower), log_complement, value=-gamma_neg)
        else:
            focus = (shifted > 0).to(z.dtype)
            slope = fall.mul_(focus)
        absent = (1 - target) if mask is None else mask - target
        terms, gradient = focus.mul_(log_complement).mul_(absent), slope.mul_(absent)
        steep = error
        if gamma_pos:
            near = power(error, gamma_pos)
            steep, cost = torch.addcmul(error, 1 - error, cost, value=gamma_pos).mul_(near), cost.mul_(near)
        return torch.addcmul(-terms, cost, target).sum(1), gradient.addcmul_(steep, target, value=-1)

    return mean_of(logits, formula)


def _log_complement(z: Tensor, p: Tensor, flat: Tensor, shifted: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """log(1 - p_m), and -d/dz of it where p_m > 0; `flat` is p (1 - p)."""
    if margin >= 1e-3:
        complement = 1 - shifted
        return complement.log(), flat / complement
    # log(1 - p + m) for any m > 0: in float32, 1 - p_m has no digits left once m is below about 1e-7.
    log_absent = F.logsigmoid(-z)
    log_complement = torch.logaddexp(log_absent, torch.full_like(z, math.log(margin)))
    return log_complement.clamp_max(0), p * (log_absent - log_complement).exp_()


def _inverse_power(x: Tensor, exponent: float) -> Tensor:
    """x^-exponent, 0 where x is 0."""
    return torch.where(x > 0, x, torch.inf) ** -exponent
