"""Losses with one sigmoid per label that use the frequency of each label. Letters: B images, K labels.

n_c and m_c are the training images with and without label c. All are summed over the labels and averaged
over the batch like those of `ltmed.losses.sigmoid`, with the same targets: class numbers `[B]`, or 0/1/NaN `[B, K]`,
where a NaN (unknown) does not contribute and has gradient 0. Counts are `[K]`, or n and m as `[2, K]`.

Distribution-balanced loss: T. Wu, Q. Huang, Z. Liu, Y. Wang, D. Lin, "Distribution-Balanced Loss for Multi-Label
Classification in Long-Tailed Datasets", ECCV 2020. Logit adjustment: A. K. Menon et al., "Long-tail learning via logit
adjustment", ICLR 2021, section 4, here with the log odds of each label, which are the offset of its sigmoid.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ltmed.errors import require_between
from ltmed.losses.counts import inverse_positives, log_odds, odds_against
from ltmed.losses.fused import mean_of
from ltmed.losses.power import power
from ltmed.losses.precision import full_precision
from ltmed.losses.sigmoid import targets, weights_by_target
from ltmed.losses.traits import adds_log_prior, multilabel


@multilabel
@full_precision
def weighted_bce(logits: Tensor, labels: Tensor, counts: Tensor, *, largest: float | None = None) -> Tensor:
    """Binary cross-entropy whose positives count m_c / n_c times: -w_c y log p - (1 - y) log(1 - p).

    Args:
        logits: z `[B, K]`, any float type; half precision is computed in float32.
        labels: int64 `[B]`, or 0/1/NaN `[B, K]`.
        counts: training images `[K]`, or with and without each label `[2, K]`.
        largest: upper limit of the weights; None for no limit.

    Raises:
        UserError: `largest` below 1, or a class without images among counts `[K]`.
    """
    if largest is not None:
        require_between("loss.largest", largest, 1, 1e6)
    target, mask = targets(logits, labels)
    weights = odds_against(counts, logits.dtype, largest)
    total = F.binary_cross_entropy_with_logits(logits, target, mask, reduction="sum", pos_weight=weights)
    return total / len(logits)


@multilabel
@adds_log_prior
@full_precision
def logit_adjusted_bce(logits: Tensor, labels: Tensor, counts: Tensor, *, tau: float = 1.0) -> Tensor:
    """Binary cross-entropy of p = sigmoid(z + tau b), b_c = log(n_c / m_c): z does not have to model the prior.

    At test time the sigmoids of z alone are balanced: every label is decided as if its prevalence were 0.5.

    Args:
        logits: z `[B, K]`.
        labels: int64 `[B]`, or 0/1/NaN `[B, K]`.
        counts: training images `[K]`, or with and without each label `[2, K]`.
        tau: >= 0, factor of the prior; 0 is binary cross-entropy.

    Raises:
        UserError: `tau` out of range, or a class without images among counts `[K]`.
    """
    require_between("loss.tau", tau, 0, 100)
    target, mask = targets(logits, labels)
    adjusted = logits + tau * log_odds(counts, logits.dtype)
    return F.binary_cross_entropy_with_logits(adjusted, target, mask, reduction="sum") / len(logits)


@multilabel
@full_precision
def distribution_balanced(
    logits: Tensor,
    labels: Tensor,
    counts: Tensor,
    *,
    gamma: float = 0.0,
    balance: float = 1.0,
    alpha: float = 0.1,
    beta: float = 10.0,
    mu: float = 0.2,
    neg_scale: float = 2.0,
    bias: float = 0.05,
) -> Tensor:
    """Re-balanced weighting and negative-tolerant regularisation (Wu et al., Eq. 3 to 8), its focal form for gamma > 0.

    With r_c = (1 / n_c) / sum over the image's labels j of 1 / n_j, and the logit q_c = z_c + (k / l) b_c,
    b_c = log(n_c / m_c):

        w_c = alpha + sigmoid(beta (r_c - mu))
        loss = sum_c w_c [ -y_c f log sigmoid(q_c) - (1 - y_c) f (1 / l) log(1 - sigmoid(l q_c)) ]

    f is (1 - pt)^gamma with pt = sigmoid(q_c) for positives and 1 - sigmoid(l q_c) for negatives. The shift is that of
    the released code, k / l for both sides; the weights have no gradient. An image without labels has r = infinity, as
    there, so w = alpha + 1. Released settings: COCO-MLT mu 0.2 and l 2, VOC-MLT mu 0.3 and l 5.

    Args:
        logits: z `[B, K]`.
        labels: int64 `[B]`, or 0/1/NaN `[B, K]`; an unknown label is not among the image's labels.
        counts: training images `[K]`, or with and without each label `[2, K]`.
        gamma: >= 0; 0 is the loss without the focal factor.
        balance: factor of the whole loss, 2 in the released focal form.
        alpha: >= 0, the lowest weight.
        beta: >= 0, steepness of the weights.
        mu: in [0, 1], the r at which the sigmoid of the weight is 0.5.
        neg_scale: l >= 1, how much less a negative counts and how much steeper its sigmoid is.
        bias: k >= 0, share of the prior in the shift.

    Raises:
        UserError: an option out of range, or a class without images among counts `[K]`.
    """
    for name, value, low, high in (
        ("gamma", gamma, 0, 100), ("balance", balance, 0, 1e6), ("alpha", alpha, 0, 100), ("beta", beta, 0, 1e4),
        ("mu", mu, 0, 1), ("neg_scale", neg_scale, 1, 1e4), ("bias", bias, 0, 100),
    ):  # fmt: skip
        require_between(f"loss.{name}", value, low, high)
    target, mask = targets(logits, labels)
    rarity = inverse_positives(counts, logits.dtype)
    # Of an image without labels the quotient is infinite (0 / 0 for a label without images, which is left out).
    label_rarity = (target @ rarity).clamp_min_(torch.finfo(logits.dtype).tiny)
    weights = (rarity / label_rarity[:, None]).sub_(mu).mul_(beta).sigmoid_().add_(alpha)
    weights *= weights_by_target(target, mask, balance, balance / neg_scale)
    shift = (bias / neg_scale) * log_odds(counts, logits.dtype)

    def formula(z: Tensor) -> tuple[Tensor, Tensor]:
        # The logit of an error: -q for a positive, l q for a negative.
        scale = weights_by_target(target, None, -1.0, neg_scale)
        error_logit = (z + shift).mul_(scale)
        error, cost = error_logit.sigmoid(), F.softplus(error_logit)
        if not gamma:
            return (weights * cost).sum(1), error.mul_(weights).mul_(scale)
        focus = power(error, gamma) * weights
        # d/ds e^g softplus(s) = e^g (e + g (1 - e) softplus(s)).
        slope = torch.addcmul(error, 1 - error, cost, value=gamma).mul_(focus).mul_(scale)
        return cost.mul_(focus).sum(1), slope

    return mean_of(logits, formula)
