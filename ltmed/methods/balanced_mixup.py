"""Balanced-MixUp: every training image is mixed with a little of an image of a class drawn evenly.

A. Galdran, G. Carneiro, M. A. Gonzalez Ballester, "Balanced-MixUp for Highly Imbalanced Medical Image Classification",
MICCAI 2021. Of two batches of B images, S_I drawn by instance and S_C by class, and one lambda ~ Beta(a, 1) a step:

    (1) x~ = (1 - lambda) x_I + lambda x_C
    (2) L = (1 - lambda) loss(z(x~), y_I) + lambda loss(z(x~), y_C)

lambda has the mean a / (a + 1), and its density falls from 0 on for a < 1: rare classes appear in every batch, but
mostly as a faint addition, so that their few images are not learnt by heart. Letters: B pairs, K classes.
"""

from __future__ import annotations

from torch import Tensor

from ltmed.data.batch import Batch
from ltmed.data.samplers.paired import PairedSampler
from ltmed.errors import UserError
from ltmed.losses.traits import Loss
from ltmed.methods.erm import ERM
from ltmed.methods.mixing import draw, mixed_loss, mixup, shares
from ltmed.nn.network import Network
from ltmed.training.context import StageContext


class BalancedMixUp(ERM):
    """ERM on mixtures of the pairs that a `PairedSampler` draws.

    Args:
        network: encoder and classifier.
        context: of the stage; images 0, 2, 4, ... of a batch are drawn by instance, images 1, 3, 5, ... by class.
        loss: as in `ERM`.
        alpha: a of Beta(a, 1); towards 0 the images drawn by class have no weight.

    Raises:
        UserError: `alpha` is out of range.
    """

    needs_images = True

    multilabel = False

    def __init__(self, network: Network, context: StageContext, *, loss: Loss, alpha: float = 0.2) -> None:
        super().__init__(network, context, loss=loss)
        self.shares = shares(f"method.stages.{context.name}.module.alpha", alpha, 1.0)

    def on_fit_start(self) -> None:
        """Refuses a sampler without pairs, whose batches would be mixed into something else."""
        sampler = self.trainer.datamodule.stage_data.sampler  # pyright: ignore[reportAttributeAccessIssue]
        if getattr(sampler, "func", None) is not PairedSampler:
            raise UserError(
                "Balanced-MixUp needs batches of pairs",
                "Leave sampler=instance_and_balanced; what its halves draw is sampler.first and sampler.second.",
            )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Eq. 2 for one batch of 2 B images."""
        if len(batch.labels) % 2:
            raise UserError(
                f"Pairs of images would be divided: a process has {len(batch.labels)} images of a batch",
                "Set batch_size, which counts pairs, to a multiple of the number of processes.",
            )
        share = draw(self.shares)
        images, _ = mixup(batch.images[1::2], batch.images[0::2], share)
        return mixed_loss(self.loss, self(images), batch.labels[1::2], batch.labels[0::2], share, self.class_counts)
