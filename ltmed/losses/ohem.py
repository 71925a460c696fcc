"""Online hard example mining: only the images with the largest losses contribute.

A. Shrivastava, A. Gupta, R. Girshick, "Training Region-Based Object Detectors with Online Hard Example Mining", CVPR
2016; images in the place of regions. Letters: B images, K classes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ltmed.errors import require_between
from ltmed.losses.precision import full_precision


@full_precision
def ohem(logits: Tensor, labels: Tensor, counts: Tensor, *, keep: float = 0.7) -> Tensor:
    """Mean of the k = max(1, floor(keep B)) largest cross-entropies of the batch.

    Args:
        logits: z `[B, K]`, any float type; half precision is computed in float32.
        labels: y, int64 `[B]`; with several processes, each takes the share of its own part of the batch.
        counts: training images per class `[K]`; not used, part of the common signature.
        keep: share of the images that count, in [0, 1]; 1 is cross-entropy.

    Raises:
        UserError: `keep` out of range.
    """
    require_between("loss.keep", keep, 0, 1)
    costs = F.cross_entropy(logits, labels, reduction="none")
    number = max(1, int(keep * len(costs) + 1e-6))  # .7 * 10 is 6.999...
    return costs.topk(number, sorted=False).values.mean()
