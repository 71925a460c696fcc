"""Weight balancing: MaxNorm and weight decay limit the norms of the classifier's class weights.

S. Alshammari, Y.-X. Wang, D. Ramanan, S. Kong, "Long-Tailed Recognition via Weight Balancing", CVPR 2022. Without
regularisation, the weight vectors w_c of frequent classes have the largest norms. Stage 1 is `ltmed.methods.erm.ERM`,
cross-entropy with a tuned weight decay, much larger than usual. Stage 2 continues to train the classifier of stage 1,
on the features of the frozen encoder:

    min   class-balanced loss + lambda sum_c |w_c|^2      subject to      |w_c| <= delta for every class c

by projected gradient descent: after every step of the optimiser, which has the weight decay lambda,

    w_c <- w_c min(1, delta / |w_c|)       delta = m + t (M - m)

with m and M the smallest and the largest |w_c| at the end of stage 1. Small weights grow, large ones are capped.
Where this differs from the paper or its released code, docs/explanation/fidelity.md says why.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ltmed.data.batch import Batch
from ltmed.errors import require_between
from ltmed.losses.traits import Loss, require_scale
from ltmed.methods.decoupling import FrozenEncoder
from ltmed.nn.linear import linear_classifier
from ltmed.nn.network import Network
from ltmed.training.context import StageContext


class MaxNorm(FrozenEncoder):
    """Stage 2: the classifier under the constraint above, the encoder frozen.

    Args:
        network: encoder and a linear classifier, trained by stage 1.
        context: of the stage.
        loss: a pure function; see `ltmed.losses`.
        threshold: t in [0, 1]: delta is the largest norm of stage 1 for 1, the smallest for 0.

    Raises:
        UserError: a classifier that is not linear, a loss that does not suit it, or `threshold` out of range.
    """

    continues_classifier = True
    radius: Tensor

    def __init__(
        self,
        network: Network,
        context: StageContext,
        *,
        loss: Loss,
        threshold: float = 0.1,
    ) -> None:
        super().__init__(network, context)
        require_between(f"method.stages.{context.name}.module.threshold", threshold, 0, 1)
        require_scale(loss, network.classifier)
        self.loss = loss
        norms = linear_classifier(network).weight.detach().norm(dim=1)
        self.register_buffer("radius", norms.min() + threshold * (norms.max() - norms.min()))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        return self.classification_loss(self.loss, batch)

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        """A step of projected gradient descent: callbacks, such as the average of `finetune.ema`, see its result."""
        super().optimizer_step(*arguments, **options)
        project(linear_classifier(self.network).weight, self.radius)


@torch.no_grad()
def project(weight: Tensor, radius: Tensor) -> None:
    """Scales, in place, every row of `weight` `[K, D]` whose norm exceeds `radius` to that norm."""
    norms = weight.norm(dim=1, keepdim=True)
    weight.mul_((radius / norms.clamp_min(torch.finfo(norms.dtype).tiny)).clamp_max(1))
