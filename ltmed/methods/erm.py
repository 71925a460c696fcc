"""Empirical risk minimisation (ERM): one network, one loss; the baseline of all comparisons."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ltmed.data.batch import Batch
from ltmed.losses.traits import Loss, require_scale
from ltmed.nn.network import Network
from ltmed.training.context import StageContext
from ltmed.training.stage import Stage


class ERM(Stage):
    """Minimises `loss(logits [B, K], labels, counts)` over the batches of a sampler.

    Args:
        network: encoder and classifier.
        context: of the stage.
        loss: a pure function; see `ltmed.losses`.

    Raises:
        UserError: a loss of scaled cosines on a head without its scale.
    """

    multilabel: ClassVar[bool] = True

    def __init__(self, network: Network, context: StageContext, *, loss: Loss) -> None:
        super().__init__(network, context)
        require_scale(loss, network.classifier)
        self.loss = loss

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        return self.classification_loss(self.loss, batch)
