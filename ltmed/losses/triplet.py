"""Metric losses of PCCT (Chen et al., JBHI 2023). `ltmed/methods/pcct.py` has the citation and the training procedure.

Two forms of each loss: between the images of a batch (`sample_...`, first stage) and between images and class centres
(`centre_...`, second stage). All losses of a form share one signature. Where no pair or triplet is formed the loss is 0
and has a gradient, which is 0.
Letters: B images of the batch, K classes, E embedding width, f an embedding, d Euclidean distance, a anchor,
p positive (another image of the anchor's class), n negative (an image of another class), c centre.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from ltmed.losses.precision import full_precision

MetricLoss = Literal["triplet", "pairwise", "quadruplet"]


@full_precision
def distances(first: Tensor, second: Tensor) -> Tensor:
    """Euclidean distances, not squared, of all rows: `[n, E]`, `[m, E]` -> `[n, m]`.

    Exact to rounding relative to the farthest row from the first of `second`; where two rows coincide, the gradient
    is 0.
    """
    # d is invariant to translation and proportional to the scale. Subtracting one row avoids cancellation where all
    # rows share a large offset, and dividing by the scale keeps squares within the range of floats.
    origin, same_rows = second[:1].detach(), second is first
    second = second - origin
    first = second if same_rows else first - origin
    scale = torch.maximum(*(rows.detach().abs().amax() for rows in (first, second)))
    scale = scale.clamp_min(torch.finfo(second.dtype).tiny)
    second = second / scale
    first = second if same_rows else first / scale
    inner = first @ second.T
    norms = [inner.diagonal()] * 2 if same_rows else [rows.square().sum(1) for rows in (first, second)]
    squared = norms[0][:, None] + norms[1] - 2 * inner
    apart = squared > 0
    return scale * torch.where(apart, torch.where(apart, squared, 1).sqrt(), 0)


def sample_violators(distance: Tensor, labels: Tensor, draws: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """Random-hard negatives: for every ordered pair (a, p) one n, uniformly from those with d(a, n) < d(a, p) + margin.

    The violators of a pair are the first of the anchor's negatives sorted by distance, so that B^2 binary searches
    give their number, and no tensor has B^3 elements.

    Args:
        distance: d `[B, B]`, symmetric.
        labels: int64 `[B]`.
        draws: `[B, B]`, uniform in [0, 1), one for each pair.
        margin: alpha.

    Returns:
        n int64 `[B, B]`, any index where there is none, and bool `[B, B]`: for which (a, p) a triplet is formed.
    """
    distance = distance.detach()
    same = labels[:, None] == labels
    nearest, order = distance.masked_fill(same, torch.inf).sort(1)
    violators = torch.searchsorted(nearest, distance + margin)
    # In float32 the product may be rounded up to the number itself.
    index = (draws * violators).long().minimum(violators - 1).clamp_min(0)
    return order.gather(1, index), _other_positives(same) & (violators > 0)


def sample_third_class(labels: Tensor, negatives: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Second negatives of quadruplets: uniform over the images of neither the anchor's class nor the first negative's.

    Args:
        labels: int64 `[B]`.
        negatives: first negatives, int64 `[B, B]`, of other classes than the anchor (the row).
        draws: `[B, B]`, uniform in [0, 1).

    Returns:
        int64 `[B, B]`, any index where there is none, and bool `[B, B]`: whether the batch has a third class.
    """
    ordered, by_class = labels.sort()
    first, end = torch.searchsorted(ordered, labels), torch.searchsorted(ordered, labels, right=True)
    size = end - first
    # In `by_class` each class is contiguous: to exclude two classes, the index skips two intervals, in order.
    anchor = torch.arange(len(labels), device=labels.device)[:, None].expand_as(negatives)
    swap = first[anchor] > first[negatives]
    lower, upper = torch.where(swap, negatives, anchor), torch.where(swap, anchor, negatives)
    eligible = len(labels) - size[lower] - size[upper]
    index = (draws * eligible).long().minimum(eligible - 1).clamp_min(0)
    index = index + size[lower] * (index >= first[lower])
    index = index + size[upper] * (index >= first[upper])
    return by_class[index.clamp_max(len(labels) - 1)], eligible > 0


@full_precision
def sample_triplet(embeddings: Tensor, labels: Tensor, draws: Tensor, margin: float, beta: float) -> Tensor:
    """Class-balanced triplet loss (Eq. 1, 2): mean over the triplets formed of [d(a, p) + alpha - d(a, n)]_+.

    One n is sampled for every ordered pair (a, p), see `sample_violators`; a pair without a violator forms no triplet.

    Args:
        embeddings: f `[B, E]`.
        labels: int64 `[B]`.
        draws: `[2, B, B]`, uniform in [0, 1); the second half is not used.
        margin: alpha.
        beta: not used, part of the common signature.
    """
    distance = distances(embeddings, embeddings)
    negatives, formed = sample_violators(distance, labels, draws[0], margin)
    return _mean_where(distance + margin - distance.gather(1, negatives), formed)


@full_precision
def sample_pairwise(embeddings: Tensor, labels: Tensor, draws: Tensor, margin: float, beta: float) -> Tensor:
    """Pairwise ranking loss (Eq. 4): mean of d(a, p) plus mean of [alpha - d(a, n)]_+ over its non-zero terms.

    Args:
        embeddings: f `[B, E]`.
        labels: int64 `[B]`.
        draws: not used (all pairs contribute), part of the common signature.
        margin: alpha.
        beta: not used, likewise.
    """
    distance = distances(embeddings, embeddings)
    same = labels[:, None] == labels
    violating = ~same & (distance.detach() < margin)
    return _mean_where(distance, _other_positives(same)) + _mean_where(margin - distance, violating)


@full_precision
def sample_quadruplet(embeddings: Tensor, labels: Tensor, draws: Tensor, margin: float, beta: float) -> Tensor:
    """Quadruplet loss (Eq. 5), mean over the quadruplets formed, one for each triplet of `sample_triplet`:

        [d(a, p) + alpha - d(a, n1)]_+ + [d(a, p) + beta - d(n1, n2)]_+

    n2 is sampled uniformly from the images of a third class; in a batch without one the second term is 0.

    Args:
        embeddings: f `[B, E]`.
        labels: int64 `[B]`.
        draws: `[2, B, B]`, uniform in [0, 1), for n1 and n2.
        margin: alpha.
        beta: the second margin, smaller than alpha.
    """
    distance = distances(embeddings, embeddings)
    first, formed = sample_violators(distance, labels, draws[0], margin)
    second, third_class = sample_third_class(labels, first, draws[1])
    between = distance.flatten()[first * len(labels) + second]
    loss = distance + margin - distance.gather(1, first)
    return _mean_where(loss + torch.where(third_class, (distance + beta - between).relu(), 0), formed)


@full_precision
def centre_triplet(embeddings: Tensor, labels: Tensor, centres: Tensor, margin: float, beta: float) -> Tensor:
    """Class-centre triplet loss (Eq. 3): mean of [d(a, c_y) + alpha - d(a, c_j)]_+, j != y, over its non-zero terms.

    Args:
        embeddings: f `[B, E]`.
        labels: y, int64 `[B]`.
        centres: c `[K, E]`.
        margin: alpha.
        beta: not used, part of the common signature.
    """
    distance, to_label, is_other = _to_centres(embeddings, labels, centres)
    loss = to_label + margin - distance
    return _mean_where(loss, is_other & (loss.detach() > 0))


@full_precision
def centre_pairwise(embeddings: Tensor, labels: Tensor, centres: Tensor, margin: float, beta: float) -> Tensor:
    """Pairwise ranking with centres (Eq. 6): mean of d(a, c_y) plus mean of [alpha - d(a, c_j)]_+, non-zero terms.

    Args:
        embeddings: f `[B, E]`.
        labels: y, int64 `[B]`.
        centres: c `[K, E]`.
        margin: alpha.
        beta: not used, part of the common signature.
    """
    distance, to_label, is_other = _to_centres(embeddings, labels, centres)
    return to_label.mean() + _mean_where(margin - distance, is_other & (distance.detach() < margin))


@full_precision
def centre_quadruplet(embeddings: Tensor, labels: Tensor, centres: Tensor, margin: float, beta: float) -> Tensor:
    """Quadruplet with centres (Eq. 7), mean over the non-zero ones of all (a, j, k) of three classes y, j and k:

        [d(a, c_y) + alpha - d(a, c_j)]_+ + [d(a, c_y) + beta - d(c_j, c_k)]_+

    Args:
        embeddings: f `[B, E]`.
        labels: y, int64 `[B]`.
        centres: c `[K, E]`; K >= 3, or the loss is 0.
        margin: alpha.
        beta: the second margin, smaller than alpha.
    """
    distance, to_label, is_other = _to_centres(embeddings, labels, centres)
    first = (to_label + margin - distance).relu()
    loss = first[:, :, None] + (to_label[:, :, None] + beta - distances(centres, centres)).relu()
    distinct = ~torch.eye(len(centres), dtype=torch.bool, device=centres.device)
    return _mean_where(loss, is_other[:, :, None] & is_other[:, None] & distinct & (loss.detach() > 0))


SampleLoss = Callable[[Tensor, Tensor, Tensor, float, float], Tensor]
SAMPLE_LOSSES: dict[MetricLoss, SampleLoss] = {
    "triplet": sample_triplet,
    "pairwise": sample_pairwise,
    "quadruplet": sample_quadruplet,
}
CENTRE_LOSSES: dict[MetricLoss, SampleLoss] = {
    "triplet": centre_triplet,
    "pairwise": centre_pairwise,
    "quadruplet": centre_quadruplet,
}


def _to_centres(embeddings: Tensor, labels: Tensor, centres: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """d(a, c) `[B, K]`, d(a, c_y) `[B, 1]`, and bool `[B, K]`: which centres are of another class."""
    distance = distances(embeddings, centres)
    to_label = distance.gather(1, labels[:, None])
    return distance, to_label, labels[:, None] != torch.arange(len(centres), device=labels.device)


def _other_positives(same: Tensor) -> Tensor:
    """Ordered pairs of different images of one class, bool `[B, B]`."""
    return same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)


def _mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the entries where `mask` is true; 0 if there is none."""
    return torch.where(mask, values, 0).sum() / mask.sum().clamp_min(1)
