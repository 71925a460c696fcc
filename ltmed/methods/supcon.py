"""Supervised contrastive learning, then a linear classifier.

P. Khosla, P. Teterwak, C. Wang, A. Sarna, Y. Tian, P. Isola, A. Maschinot, C. Liu, D. Krishnan, "Supervised
Contrastive Learning", NeurIPS 2020.

Stage 1, `Contrast`: two views of each image make 2B samples. With f(x) the encoder's projection (norm 1), P(i) the
other samples of the class of sample i, and tau the temperature:

    (1) L_i = - 1 / |P(i)| sum_{p in P(i)} log( exp(f_i.f_p / tau) / sum_{j != i} exp(f_i.f_j / tau) )

Stage 2, `LinearProbe`: the encoder is frozen, the projector is no longer used, and a linear classifier is trained on
the encoder's features h(x):

    (2) L = cross-entropy of W h(x) + b

Y. Marrakchi, O. Makansi, T. Brox, "Fighting Class Imbalance with Contrastive Learning", MICCAI 2021 (CICL), use the
same losses with equally many images of each class in every batch of both stages; only the sampler differs.
Letters: B images.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ltmed.data.batch import Batch
from ltmed.errors import require_between
from ltmed.losses.classification import cross_entropy
from ltmed.losses.supcon import supcon_loss
from ltmed.losses.traits import Loss
from ltmed.methods.decoupling import Retrain
from ltmed.nn.network import Network
from ltmed.training.context import StageContext
from ltmed.training.stage import Stage
from ltmed.utils import distributed


class Contrast(Stage):
    """Stage 1: supervised contrastive training of encoder and projector (Eq. 1).

    The classifier is not trained and keeps its initial weights. The validation metrics of this stage are thus those of
    a random classifier: its configuration must select the last checkpoint, not the best.

    Args:
        network: with a projector (f), whose embeddings have norm 1.
        context: of the stage; batches must have two views.
        temperature: tau.

    Raises:
        UserError: a network without a projector, or an option out of range.
    """

    compares_images = True
    trains_classifier = False

    def __init__(self, network: Network, context: StageContext, *, temperature: float = 0.1) -> None:
        super().__init__(network, context)
        network.require_projector()
        require_between(f"method.stages.{context.name}.module.temperature", temperature, 1e-3, 1e3)
        self.temperature = temperature
        network.unfreeze_encoder()
        network.require_projector().requires_grad_(True)
        network.classifier.requires_grad_(False)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Eq. 1 for one batch, mean over this process's 2B samples."""
        anchors = self.network.require_projector()(self.network.encoder(torch.cat(batch.require_views())))
        labels = batch.labels.repeat(2)
        return supcon_loss(
            anchors,
            labels,
            distributed.gather_with_gradient(anchors),
            distributed.gather_equal(labels),
            # Gathered in rank order: this process's samples are contiguous, first views before second views.
            first=distributed.rank() * len(labels),
            temperature=self.temperature,
        )


class LinearProbe(Retrain):
    """Stage 2: a new classifier on the features of the frozen encoder (Eq. 2), which is cRT without the projector.

    Args:
        network: encoder and classifier, the encoder trained by stage 1.
        context: of the stage.
        loss: a pure function; see `ltmed.losses`.

    Raises:
        UserError: the classifier cannot be reinitialised, or the loss does not suit it.
    """

    def __init__(self, network: Network, context: StageContext, *, loss: Loss = cross_entropy) -> None:
        super().__init__(network, context, loss=loss)
        network.requires_grad_(False).classifier.requires_grad_(True)
