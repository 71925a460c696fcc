"""Two-way multi-label loss: the labels of an image against each other, and the images of a label.

T. Kobayashi, "Two-Way Multi-Label Loss", CVPR 2023, and the author's code. Letters: B images, K labels. With P and N
the labels that an image has and has not, or the images that have a label and have not,

    l(z, P, N) = softplus(T_N log sum_N exp(z / T_N) + T_P log sum_P exp(-z / T_P))

which is the softmax loss where P has one element and both temperatures are 1. The loss is the mean of l over the images
with a label plus the mean over the labels that an image of the batch has.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ltmed.errors import require_between
from ltmed.losses.precision import full_precision
from ltmed.losses.sigmoid import targets
from ltmed.losses.traits import multilabel, of_whole_batch


@multilabel
@of_whole_batch
@full_precision
def two_way(
    logits: Tensor,
    labels: Tensor,
    counts: Tensor,
    *,
    positive_temperature: float = 4.0,
    negative_temperature: float = 1.0,
) -> Tensor:
    """The loss above. It compares the images of a batch, so that a batch computed in parts has another one.

    It ranks: sigmoids of its logits are no probabilities, and 0.5 is no threshold.

    Args:
        logits: z `[B, K]`, any float type; half precision is computed in float32.
        labels: int64 `[B]`, or 0/1/NaN `[B, K]`; an unknown entry is in neither P nor N, and its gradient is 0.
        counts: training images; not used, part of the common signature.
        positive_temperature: T_P > 0; the larger, the more positives count besides the one with the smallest logit.
        negative_temperature: T_N > 0, likewise for negatives and the largest.

    Raises:
        UserError: a temperature out of range.
    """
    for name, value in (("positive", positive_temperature), ("negative", negative_temperature)):
        require_between(f"loss.{name}_temperature", value, 1e-3, 1e3)
    target, mask = targets(logits, labels)
    absent = target == 0 if mask is None else mask > target
    # An empty set is -inf, so that its l is 0.
    hard = (-logits / positive_temperature).masked_fill(target == 0, -torch.inf)
    easy = (logits / negative_temperature).masked_fill(~absent, -torch.inf)
    total = logits.new_zeros(())
    for dim in (0, 1):
        margin = positive_temperature * hard.logsumexp(dim) + negative_temperature * easy.logsumexp(dim)
        total = total + F.softplus(margin).sum() / target.amax(dim).sum().clamp_min(1)
    return total
