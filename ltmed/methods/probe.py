"""Linear probe: a linear classifier on the standardised features of a frozen encoder.

G. Alain, Y. Bengio, "Understanding intermediate layers using linear classifier probes", ICLR Workshop 2017. It
measures the quality of a pretrained network's features without fine-tuning.

    z = W (f(x) - m) / s + b        m and s: mean and standard deviation of each feature over the training images,
                                     (f(x) - m) / s cut to [-10, 10]

Letters: n images of this process, D encoder width.
"""

from __future__ import annotations

import torch

from ltmed.losses.traits import Loss
from ltmed.methods.erm import ERM
from ltmed.nn.network import Network
from ltmed.nn.standardised import StandardisedLinear
from ltmed.training import feature_pass
from ltmed.training.context import StageContext
from ltmed.utils import distributed


class Probe(ERM):
    """ERM on standardised features; the encoder is frozen by `backbone.freeze`.

    Args:
        network: with a `StandardisedLinear` as classifier.
        context: of the stage.
        loss: a pure function; see `ltmed.losses`.

    Raises:
        UserError: a network without the head.
    """

    def __init__(self, network: Network, context: StageContext, *, loss: Loss) -> None:
        super().__init__(network, context, loss=loss)
        self.head = [
            network.require_head(StandardisedLinear)
        ]  # In a list, so that it is not registered twice as a submodule.

    def on_train_epoch_start(self) -> None:
        """Computes the moments once, in the first epoch; a resumed run restores them with its head."""
        super().on_train_epoch_start()
        if self.current_epoch == 0:
            self._standardise()

    @torch.no_grad()
    def _standardise(self) -> None:
        """Mean and variance over the training images of all processes, in double precision."""
        features = torch.cat([self.network.encoder(b.images) for b in feature_pass.over_training_part(self)]).double()
        number = distributed.all_sum(torch.tensor(float(len(features)), dtype=torch.float64, device=features.device))
        mean = distributed.all_sum(features.sum(0)) / number
        variance = distributed.all_sum((features - mean).square().sum(0)) / number
        self.head[0].set_moments(mean.float(), variance.float())
