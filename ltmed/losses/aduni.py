"""The loss of AdUni (Cong et al., MLMI 2022). `ltmed/methods/aduni.py` has the citation and the equations.

Letters: A anchors (this process's samples), M samples of all processes, K classes, E embedding width. A sample is one
view of an image; features f have norm 1.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ltmed.losses.precision import full_precision
from ltmed.losses.supcon import similarity_to_others

AlphaSchedule = Literal["recursive_cosine", "released_cosine", "cosine", "constant"]


@full_precision
def aduc_loss(
    logits: Tensor,
    anchors: Tensor,
    anchor_labels: Tensor,
    features: Tensor,
    labels: Tensor,
    *,
    alpha: float,
    first: int = 0,
    temperature: float = 0.1,
    log_prior: Tensor | None = None,
    normalize: bool = True,
    label_per_positive: bool = False,
    temper_logits: bool = False,
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """L_AduC, mean over the anchors: classification and supervised contrast in one softmax.

        s_i = [ g_i + log pi ; f_i.f_j / tau for every other sample j ],    log p_i = log softmax(s_i)
        loss_i = - ( log p_i[y_i] + alpha sum_{p in P(i)} log p_i[p] ) / (1 + alpha |P(i)|)

    P(i) are the other samples of the anchor's class. An anchor without positives has only the first term.
    As printed, the loss has neither the prior nor the division, sums the label's term over P(i) as well, and divides
    the logits by tau like the similarities:

        loss_i = - sum_{p in P(i)} ( log p_i[y_i] + alpha log p_i[p] ),    s_i = [ g_i / tau ; f_i.f_j / tau ]

    which is `normalize=False, label_per_positive=True, temper_logits=True` without a prior.

    Args:
        logits: g `[A, K]` of the anchors.
        anchors: their features `[A, E]`.
        anchor_labels: int64 `[A]`.
        features: f of all samples `[M, E]`, the anchors among them; gets a gradient as well.
        labels: int64 `[M]`; -1 marks a row without a sample (an empty slot of a queue), which is ignored.
        alpha: weight of a positive sample relative to the class, >= 0.
        first: row of `features` that is anchor 0; the others follow it.
        temperature: tau.
        log_prior: log pi `[K]`, logarithms of the class frequencies; None for none.
        normalize: whether loss_i is divided by its total weight, 1 + alpha |P(i)|.
        label_per_positive: whether the label's term counts |P(i)| times instead of once. An anchor without
            positives then has no loss.
        temper_logits: whether the logits are divided by tau like the similarities.
        reduction: "none" gives loss_i of each anchor.

    Returns:
        a scalar >= 0; or `[A]`.
    """
    classes = logits.shape[1]
    similarity = similarity_to_others(anchors, features, labels, first, temperature)
    logits = logits if log_prior is None else logits + log_prior
    scores = torch.cat([logits / temperature if temper_logits else logits, similarity], 1)
    # The weight of each log p_i[k]: 1 (or |P(i)|) at the label, alpha at the positives, 0 elsewhere.
    candidates = torch.cat([torch.arange(classes, device=labels.device), labels])
    weights = (candidates == anchor_labels[:, None]).to(scores.dtype)
    weights[:, classes:].diagonal(first).zero_()
    if label_per_positive:
        weights[:, :classes] *= weights[:, classes:].sum(1, keepdim=True)
    weights[:, classes:] *= alpha
    if normalize:
        # The total weight is 0 only for an anchor without positives whose label is weighted by |P(i)|.
        weights /= weights.sum(1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
    return F.cross_entropy(scores, weights, reduction=reduction)


@lru_cache
def alpha_at(
    epoch: int, schedule: AlphaSchedule = "recursive_cosine", highest: float = 1.0, lowest: float = 0.01,
    decay: float = 1000.0,
) -> float:  # fmt: skip
    """Weight alpha of positives in an epoch (Eq. 3), from `highest` in epoch 0 towards `lowest`.

    With w(t) = (1 + cos(pi t / decay)) / 2, up to epoch `decay` and 0 from there on:

    - "recursive_cosine": alpha_{t+1} = lowest + (alpha_t - lowest) w(t), from alpha_0 = highest; with the
      paper's t_decay = 1000 it reaches `lowest` by epoch 400, as the paper reports.
    - "released_cosine": alpha_t = lowest + (alpha_{t-1} - lowest) w(t), the same one epoch earlier, as in the
      released code.
    - "cosine": alpha_t = lowest + (highest - lowest) w(t); in epoch 400 still 0.66.
    - "constant": alpha = lowest.

    It depends on the epoch alone, so that a resumed run continues the schedule.

    Args:
        epoch: t, from 0.
        schedule: one of the above.
        highest: alpha_max.
        lowest: alpha_min.
        decay: t_decay in epochs, > 0.
    """

    def w(t: int) -> float:
        return (1 + math.cos(math.pi * min(t / decay, 1.0))) / 2

    factors = {
        "recursive_cosine": lambda: math.prod(w(t) for t in range(epoch)),
        "released_cosine": lambda: math.prod(w(t) for t in range(epoch + 1)),
        "cosine": lambda: w(epoch),
    }
    return lowest if schedule == "constant" else lowest + (highest - lowest) * factors[schedule]()
