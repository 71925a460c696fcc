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
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ltmed.errors import require_between
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
        targets, and the mask in the type of the logits, None where everything is known by the type of the labels.
    """
    if labels.ndim == 1:
        return torch.zeros_like(logits).scatter_(1, labels[:, None], 1.0), None
    if not labels.is_floating_point():
        return labels.to(logits.dtype), None
    return labels.nan_to_num(0.0).to(logits.dtype), (~labels.isnan()).to(logits.dtype)


def only_known(terms: Tensor, labels: Tensor) -> Tensor:
    """The terms `[B, K]` with 0 in place of those of unknown entries."""
    return terms.masked_fill(labels.isnan(), 0) if labels.is_floating_point() else terms


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
    return focal_terms(logits, labels, gamma, alpha).mean()


def focal_terms(logits: Tensor, labels: Tensor, gamma: float, alpha: float | None) -> Tensor:
    """The sum over classes of `sigmoid_focal`, `[B]`."""
    require_between("loss.gamma", gamma, 0, 100)
    if alpha is not None:
        require_between("loss.alpha", alpha, 0, 1)
    weights = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)
    return _per_image(logits, labels, lambda z: _focused(-z, gamma), lambda z: _focused(z, gamma), weights)


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

    def positive(z: Tensor) -> Tensor:
        return _focused(-z, gamma_pos)

    def minus_negative(z: Tensor) -> Tensor:
        shifted = (z.sigmoid() - margin).relu()  # The backward pass of `clamp` is several times slower.
        return power(shifted, gamma_neg) * (log_of_a_small_rest(z) if margin < 1e-3 else (1 - shifted).log())

    def log_of_a_small_rest(z: Tensor) -> Tensor:
        # log(1 - p + m) for any m > 0: in float32, 1 - p_m itself has no digits left once m is below some 1e-7.
        return torch.logaddexp(F.logsigmoid(-z), torch.full_like(z, math.log(margin))).clamp_max(0)

    if margin:
        return _per_image(logits, labels, positive, minus_negative, (1, -1)).mean()
    # Without a margin, log(1 - p) would end at z = 17 in float32.
    return _per_image(logits, labels, positive, lambda z: _focused(z, gamma_neg), (1, 1)).mean()


def _per_image(
    logits: Tensor,
    labels: Tensor,
    positive: Callable[[Tensor], Tensor],
    negative: Callable[[Tensor], Tensor],
    weights: tuple[float, float],
) -> Tensor:
    """Sum over classes of `positive(z)` where y is 1 and `negative(z)` where it is 0, times their weights, `[B]`."""
    up, down = weights
    if labels.ndim == 2:
        terms = torch.where(labels > 0, up * positive(logits), down * negative(logits))
        return only_known(terms, labels).sum(1)
    # Without B x K masks: the labels' logits on their own, and one that costs a negative nothing in their place.
    column = labels[:, None]
    right, others = logits.gather(1, column), logits.scatter(1, column, torch.finfo(logits.dtype).min)
    # Weights of sums, not of B x K terms.
    return up * positive(right).squeeze(1) + down * negative(others).sum(1)


def _focused(z: Tensor, gamma: float) -> Tensor:
    """-p^g log(1 - p) with p = sigmoid(z): of a negative with logit z, or of a positive with logit -z."""
    return power(z.sigmoid(), gamma) * F.softplus(z)
