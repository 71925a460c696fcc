"""The class-balanced triplet loss as one writes it first: a loop over anchors, positives and negatives."""

from __future__ import annotations

import torch
from torch import Tensor


def loop_triplet(embeddings: Tensor, labels: Tensor, draws: Tensor, margin: float) -> Tensor:
    """`ltmed.losses.triplet.sample_triplet` with the same draws, one triplet after the other.

    Args:
        embeddings: `[B, E]`.
        labels: int64 `[B]`.
        draws: `[B, B]`, evenly in [0, 1), one for each ordered pair.
        margin: alpha.
    """
    distance = torch.cdist(embeddings, embeddings, compute_mode="donot_use_mm_for_euclid_dist")
    values, classes, chances = distance.tolist(), labels.tolist(), draws.tolist()
    terms = []
    for a in range(len(classes)):
        negatives = sorted((n for n in range(len(classes)) if classes[n] != classes[a]), key=values[a].__getitem__)
        for p in range(len(classes)):
            if p == a or classes[p] != classes[a]:
                continue
            violators = [n for n in negatives if values[a][n] < values[a][p] + margin]
            if violators:
                n = violators[int(chances[a][p] * len(violators))]
                terms.append(distance[a, p] + margin - distance[a, n])
    return torch.stack(terms).mean() if terms else 0 * distance.sum()
