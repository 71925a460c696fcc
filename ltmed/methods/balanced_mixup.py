"""Balanced-MixUp: MixUp of images from instance-based sampling with images from class-based sampling.

A. Galdran, G. Carneiro, M. A. Gonzalez Ballester, "Balanced-MixUp for Highly Imbalanced Medical Image Classification",
MICCAI 2021. In every step, with two batches of B images, S_I sampled by instance and S_C by class, and one
lambda ~ Beta(a, 1):

    (1) x~ = (1 - lambda) x_I + lambda x_C
    (2) L = (1 - lambda) loss(z(x~), y_I) + lambda loss(z(x~), y_C)

lambda has mean a / (a + 1), and for a < 1 its density is largest at 0: rare classes appear in every batch, but mostly
with a small weight, which reduces overfitting to their few images. Letters: B pairs, K classes.
"""

from __future__ import annotations

from torch import Tensor

from ltmed.data.batch import Batch
from ltmed.data.samplers.paired import PairedSampler
from ltmed.errors import UserError
from ltmed.losses.traits import Loss
from ltmed.methods.erm import ERM
from ltmed.methods.mixing import lambda_distribution, mixed_loss, mixup, sample_lambda
from ltmed.nn.network import Network
from ltmed.training.context import StageContext


class BalancedMixUp(ERM):
    """ERM on mixtures of the pairs of a `PairedSampler`.

    Args:
        network: encoder and classifier.
        context: of the stage; images 0, 2, 4, ... of a batch are sampled by instance, images 1, 3, 5, ... by class.
        loss: as in `ERM`.
        alpha: a of Beta(a, 1); as it approaches 0, the weight of the images sampled by class vanishes.

    Raises:
        UserError: `alpha` is out of range.
    """

    needs_images = True

    multilabel = False

    def __init__(self, network: Network, context: StageContext, *, loss: Loss, alpha: float = 0.2) -> None:
        super().__init__(network, context, loss=loss)
        self.lambda_distribution = lambda_distribution(f"method.stages.{context.name}.module.alpha", alpha, 1.0)

    def require_batch(self, images: int) -> None:
        """Raises UserError if a process's part of a batch would divide a pair."""
        if images % 2:
            raise UserError(
                f"Pairs of images would be divided: a process has {images} images at a time",
                "Set batch_size, which counts pairs, to a multiple of processes x finetune.accumulate.",
            )

    def on_fit_start(self) -> None:
        """Raises UserError unless the sampler is a `PairedSampler`."""
        sampler = self.trainer.datamodule.stage_data.sampler  # pyright: ignore[reportAttributeAccessIssue]
        if getattr(sampler, "func", None) is not PairedSampler:
            raise UserError(
                "Balanced-MixUp needs batches of pairs",
                "Use sampler=instance_and_balanced; its two samplers are sampler.first and sampler.second.",
            )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Eq. 2 for one batch of 2 B images."""
        self.require_batch(len(batch.labels))
        lam = sample_lambda(self.lambda_distribution)
        images, _ = mixup(batch.images[1::2], batch.images[0::2], lam)
        return mixed_loss(self.loss, self(images), batch.labels[1::2], batch.labels[0::2], lam, self.class_counts)
