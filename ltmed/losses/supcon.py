"""Supervised contrast (Khosla et al., NeurIPS 2020). `ltmed/methods/supcon.py` has the citation.

Letters: A anchors (this process's samples), M samples that they are compared with, E embedding width. A sample is one
view of an image; features f have norm 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ltmed.losses.precision import full_precision


@full_precision
def supcon_loss(
    anchors: Tensor,
    anchor_labels: Tensor,
    features: Tensor,
    labels: Tensor,
    *,
    first: int = 0,
    temperature: float = 0.1,
) -> Tensor:
    """L_out (Eq. 2 of the paper), the mean over positives outside the logarithm; mean over the anchors with positives.

        loss_i = - 1 / |P(i)| sum_{p in P(i)} log( exp(f_i.f_p / tau) / sum_{j != i} exp(f_i.f_j / tau) )

    P(i) are the other samples of the anchor's class. Anchors without positives are ignored; if
    no anchor has positives, the loss is 0.

    Args:
        anchors: f `[A, E]`.
        anchor_labels: int64 `[A]`.
        features: f of all samples `[M, E]`, the anchors among them; gets a gradient as well.
        labels: int64 `[M]`; -1 marks a row without a sample, which is ignored.
        first: row of `features` that is anchor 0; the others follow it.
        temperature: tau.

    Returns:
        a scalar >= 0.
    """
    log_share = similarity_to_others(anchors, features, labels, first, temperature).log_softmax(1)
    positives = (labels == anchor_labels[:, None]).to(log_share.dtype)
    positives.diagonal(first).zero_()
    number = positives.sum(1)
    losses = -(positives * log_share).sum(1) / number.clamp_min(1)
    return losses.sum() / number.count_nonzero().clamp_min(1)


def similarity_to_others(anchors: Tensor, features: Tensor, labels: Tensor, first: int, temperature: float) -> Tensor:
    """f_i.f_j / tau `[A, M]`; for an anchor itself and for rows with label -1 a score whose softmax is 0.

    That score is finite, so that its product with a weight of 0 is 0. Arguments as in `supcon_loss`.
    """
    similarity = (anchors / temperature) @ features.T
    excluded = torch.finfo(similarity.dtype).min / 2
    similarity.diagonal(first).fill_(excluded)
    return similarity.masked_fill_(labels < 0, excluded)
