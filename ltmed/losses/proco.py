"""The loss terms of ProCo (Yang et al., MICCAI 2022). `ltmed/methods/proco.py` has the citation and the equations.

Letters: B queries (images of the batch), M slots of the queue, K classes, E embedding width, g nearest negatives.
Queries G(x_j) and keys s have norm 1. A slot with label -1 is empty and is ignored.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ltmed.losses.precision import full_precision

Recalibration = Literal["bias", "broadcast", "none"]
QueueReduction = Literal["mean", "sum"]
MixedPrototypes = Literal["raw", "unit", "bounded"]


class Contrast(NamedTuple):
    """One set of items per query, H- or H+ of Eq. 7."""

    similarity: Tensor
    """G(x_j).s `[B, n]`."""
    present: Tensor
    """bool `[B, n]`: which of the n belong to the query's set."""


@full_precision
def contrast_queue(queries: Tensor, labels: Tensor, keys: Tensor, key_labels: Tensor) -> tuple[Contrast, Contrast]:
    """Q- and Q+: the queue's items of other classes, and those of the query's class.

    Args:
        queries: G(x_j) `[B, E]`.
        labels: int64 `[B]`.
        keys: s `[M, E]`.
        key_labels: int64 `[M]`, -1 in empty slots.
    """
    similarity = queries @ keys.T
    same = labels[:, None] == key_labels
    return Contrast(similarity, ~same & (key_labels >= 0)), Contrast(similarity, same)


def nearest_negatives(negatives: Contrast, gamma: int) -> tuple[Tensor, Tensor]:
    """Eq. 1 and 2: the items of Q- at the smallest distance d = 1 - cos(G(x_j), s) from each query.

    Args:
        negatives: Q-, n items.
        gamma: how many items; fewer are valid where a query has fewer negatives.

    Returns:
        slots int64 `[B, g]` with g = min(gamma, n), and bool `[B, g]`: which of them are valid negatives.
    """
    distance = (1 - negatives.similarity.detach()).masked_fill(~negatives.present, torch.inf)
    smallest, slots = distance.topk(min(gamma, distance.shape[1]), dim=1, largest=False, sorted=False)
    return slots, smallest.isfinite()


@full_precision
def prototypes_to_mix(prototypes: Tensor, norm: MixedPrototypes = "raw") -> Tensor:
    """The prototypes `[K, E]` as they enter Eq. 3, beside keys of norm 1.

    The paper requires a prototype to contribute less than the key, e |p| < 1 - e. For e < 0.5 that holds up to |p| = 1;
    at |p| = 2.5 it fails for e > 2/7.

    Args:
        prototypes: p `[K, E]`; get a gradient.
        norm: "raw": unchanged, "unit": p / |p|, "bounded": p / max(1, |p|).
    """
    if norm == "raw":
        return prototypes
    if norm == "unit":
        return F.normalize(prototypes, dim=1, eps=1e-6)
    return prototypes / prototypes.norm(dim=1, keepdim=True).clamp_min(1)


@full_precision
def proto_instances(keys: Tensor, prototypes: Tensor, mix: Tensor) -> Tensor:
    """Eq. 3: adversarial items normalise((1 - e) s + e p), between a key and a prototype.

    Args:
        keys: s `[..., E]`.
        prototypes: p `[..., E]`; gets a gradient.
        mix: e `[...]`, in [0, 1].
    """
    return F.normalize(torch.lerp(keys, prototypes, mix[..., None]), dim=-1, eps=1e-6)


@full_precision
def adversarial_negatives(
    queries: Tensor, labels: Tensor, keys: Tensor, negatives: Contrast, prototypes: Tensor, mix: Tensor
) -> Contrast:
    """Eq. 1 to 3: the nearest items of Q-, each moved towards the query's own ("positive") prototype.

    Args:
        queries: `[B, E]`.
        labels: int64 `[B]`.
        keys: `[M, E]`.
        negatives: Q-.
        prototypes: `[K, E]`.
        mix: e `[B, gamma]`, one number per query and item.
    """
    slots, present = nearest_negatives(negatives, mix.shape[1])
    instances = proto_instances(keys[slots], prototypes[labels][:, None], mix[:, : slots.shape[1]])
    return Contrast((queries[:, None] * instances).sum(2), present)


@full_precision
def adversarial_positives(
    queries: Tensor, keys: Tensor, misclassified: Tensor, positives: Contrast, prototypes: Tensor, mix: Tensor
) -> Contrast:
    """Eq. 3 for positives: the items of Q+ that were predicted as another class, each moved towards its prototype.

    Args:
        queries: `[B, E]`.
        keys: `[M, E]`.
        misclassified: bool `[M]`, whether an item was predicted as another class than its own.
        positives: Q+.
        prototypes: of the predicted class of each item, `[M, E]`.
        mix: e `[M]`, one number per item.
    """
    similarity = queries @ proto_instances(keys, prototypes, mix).T
    return Contrast(similarity, positives.present & misclassified)


@full_precision
def class_confidence(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. 4: per class the sum of sigmoid(F(x).p_y) over its images, and their number.

    Args:
        logits: F(x).p_c `[B, K]`.
        labels: int64 `[B]`.

    Returns:
        sums `[K]` and counts `[K]`, which add up over processes. No gradient.
    """
    members = _is_label(logits, labels).to(logits.dtype)
    return (members * logits.detach().sigmoid()).sum(0), members.sum(0)


def running_confidence(omega: Tensor, sums: Tensor, counts: Tensor, beta: float) -> Tensor:
    """Eq. 5: omega_c <- beta omega_c + (1 - beta) omega_c(batch) where class c is in the batch, else omega_c.

    Args:
        omega: `[K]`, in (0, 1).
        sums: `[K]`, of `class_confidence`, over all processes.
        counts: `[K]`, likewise.
        beta: weight of the old value.
    """
    return torch.where(counts > 0, torch.lerp(sums / counts.clamp_min(1), omega, beta), omega)


@full_precision
def recalibrate(embeddings: Tensor, prototypes: Tensor, omega: Tensor, reading: Recalibration = "bias") -> Tensor:
    """Eq. 6: logits F(x).p^_c `[B, K]` of prototypes recalibrated by the confidence of their class.

    Args:
        embeddings: F(x) `[B, E]`.
        prototypes: `[K, E]`.
        omega: `[K]`, in [0, 1].
        reading: "bias": F(x).p_c + log omega_c; "broadcast": p^_c = p_c + log omega_c in every coordinate, as printed,
            that is F(x).p_c + log omega_c sum_i F(x)_i; "none": F(x).p_c.
    """
    logits = embeddings @ prototypes.T
    if reading == "none":
        return logits
    # A class that is never recognised drives omega to 0 in float32, whose logarithm is infinite.
    shift = omega.clamp_min(torch.finfo(omega.dtype).tiny).log()
    return logits + (shift if reading == "bias" else embeddings.sum(1, keepdim=True) * shift)


@full_precision
def proto_loss(
    logits: Tensor,
    labels: Tensor,
    negatives: list[Contrast],
    positives: list[Contrast],
    temperature: float = 1.0,
    queue_reduction: QueueReduction = "mean",
) -> Tensor:
    """Eq. 7, mean over the queries, with p^ the recalibrated logits:

        log(1 + [sum_{H-} e^{G.s/tau} + sum_{c != y} e^{p^_c}] [sum_{H+} e^{-G.s/tau} + e^{-p^_y}])

    Args:
        logits: p^ `[B, K]`, K >= 2.
        labels: int64 `[B]`.
        negatives: parts of H-; their sets are joined.
        positives: parts of H+.
        temperature: tau of the similarities.
        queue_reduction: "sum" as printed; "mean" divides each sum over H by its number of items, so that
            the weight of the queue relative to the prototypes does not depend on its length.

    Returns:
        a scalar >= 0; finite for finite arguments, also where H- or H+ is empty.
    """
    other_logits = logits.masked_fill(_is_label(logits, labels), -torch.inf).logsumexp(1)
    label_logits = logits.gather(1, labels[:, None])[:, 0]
    negative = torch.logaddexp(_log_total(negatives, 1 / temperature, queue_reduction), other_logits)
    positive = torch.logaddexp(_log_total(positives, -1 / temperature, queue_reduction), -label_logits)
    return F.softplus(negative + positive).mean()


def _is_label(logits: Tensor, labels: Tensor) -> Tensor:
    """Bool `[B, K]`, true at the label; unlike `one_hot` it does not synchronise with a GPU to check values."""
    return labels[:, None] == torch.arange(logits.shape[1], device=labels.device)


def _log_total(parts: list[Contrast], scale: float, reduction: QueueReduction) -> Tensor:
    """Log of the sum or mean of e^{scale * similarity} over the joined sets `[B]`; -inf for an empty set."""
    similarity, present = (torch.cat(column, 1) for column in zip(*parts, strict=True))
    total = (scale * similarity).masked_fill(~present, -torch.inf).logsumexp(1)
    return total - present.sum(1).clamp_min(1).to(total.dtype).log() if reduction == "mean" else total
