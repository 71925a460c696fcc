"""Decoupling: representation learning with instance-balanced sampling, then a class-balanced classifier.

B. Kang, S. Xie, M. Rohrbach, Z. Yan, A. Gordo, J. Feng, Y. Kalantidis, "Decoupling Representation and Classifier for
Long-Tailed Recognition", International Conference on Learning Representations, 2020.

Stage 1 is `ltmed.methods.erm.ERM`: encoder f and classifier w_c h + b_c, h = f(x), by cross-entropy with
instance-balanced sampling. Stage 2 freezes the encoder, BatchNorm included, and changes the classifier (Section 4):

    cRT   w and b are reinitialised and trained with class-balanced batches                        `Retrain`
    NCM   the class with the nearest mean feature                                                  `NearestMeans`
    tau   w_c / |w_c|^tau without bias, tau selected on validation images                          `Normalise`
    LWS   f_c (w_c h + b_c), one scale f_c per class trained with class-balanced batches           `Rescale`

Where this differs from the paper or its released code, docs/explanation/fidelity.md says why.
Letters: n training images of this process, N of all, D encoder width, K classes.
"""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltmed.data.batch import Batch
from ltmed.losses.classification import cross_entropy
from ltmed.losses.traits import Loss, require_scale
from ltmed.nn.adjusted import TauNormalised
from ltmed.nn.decoupled import NearestMean, ScaledLinear
from ltmed.nn.frozen import freeze, reset_parameters
from ltmed.nn.heads import EmbeddedLinear
from ltmed.nn.network import Network
from ltmed.training import feature_pass, tau_search
from ltmed.training.context import StageContext
from ltmed.training.stage import Stage
from ltmed.utils import distributed

Head = TypeVar("Head", bound=nn.Module)


class FrozenEncoder(Stage):
    """A stage whose encoder stays in evaluation mode, BatchNorm included, and gets no gradient.

    Args:
        network: encoder and classifier, trained by stage 1.
        context: of the stage.
    """

    def __init__(self, network: Network, context: StageContext) -> None:
        super().__init__(network, context)
        freeze(network.encoder)

    def train(self, mode: bool = True) -> FrozenEncoder:
        """Sets the mode of everything but the encoder."""
        super().train(mode)
        self.network.encoder.eval()
        return self


class Retrain(FrozenEncoder):
    """cRT: trains a new classifier on the features of the frozen encoder.

    Args:
        network: encoder and classifier, trained by stage 1.
        context: of the stage.
        loss: a pure function; see `ltmed.losses`.

    Raises:
        UserError: the classifier cannot be reinitialised, or the loss does not suit it.
    """

    def __init__(self, network: Network, context: StageContext, *, loss: Loss = cross_entropy) -> None:
        super().__init__(network, context)
        require_scale(loss, network.classifier)
        head = network.classifier
        if isinstance(head, EmbeddedLinear):
            # The embedding is part of the representation; only the last layer is retrained.
            freeze(head.embedding)
            head = head.linear
        reset_parameters(head)
        self.loss = loss

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        return self.classification_loss(self.loss, batch)


class Rescale(FrozenEncoder):
    """LWS (learnable weight scaling): trains one scale per class of the frozen classifier.

    Args:
        network: with a `ScaledLinear` as classifier, trained by stage 1.
        context: of the stage.
        loss: a pure function; see `ltmed.losses`.

    Raises:
        UserError: a network without the head, or a loss that does not suit it.
    """

    def __init__(self, network: Network, context: StageContext, *, loss: Loss = cross_entropy) -> None:
        super().__init__(network, context)
        head = network.require_head(ScaledLinear)
        head.requires_grad_(False)
        head.scales.requires_grad_(True)
        require_scale(loss, head)
        self.loss = loss

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        return self.classification_loss(self.loss, batch)


class Untrained(FrozenEncoder):
    """A stage that computes its classifier instead of training it; its loss is 0.

    Args:
        network: encoder and classifier, trained by stage 1.
        context: of the stage.
    """

    unused = ("views", "augment", "sampler", "optimizer", "schedule")

    def __init__(self, network: Network, context: StageContext) -> None:
        super().__init__(network, context)
        network.requires_grad_(False)
        # Lightning saves a checkpoint only after an optimiser step: this parameter makes one possible.
        self.nothing = nn.Parameter(torch.zeros(()))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """0, independent of the images."""
        return 0 * self.nothing


class Normalise(Untrained):
    """tau-normalisation: divides each weight vector by a power of its norm, which is selected on validation images.

    Args:
        network: with a `TauNormalised` classifier, trained by stage 1.
        context: of the stage.

    Raises:
        UserError: a network without the head.
    """

    def __init__(self, network: Network, context: StageContext) -> None:
        super().__init__(network, context)
        head = network.require_head(TauNormalised)
        if head.linear.bias is not None:
            nn.init.zeros_(head.linear.bias)

    def on_validation_start(self) -> None:
        """Sets tau = 0, since tau is selected from unnormalised logits."""
        super().on_validation_start()
        tau_search.begin(self, self.network.require_head(TauNormalised))

    def on_validation_epoch_end(self) -> None:
        """Selects tau, then evaluates the validation part with it."""
        self._outputs = tau_search.choose(self, self.network.require_head(TauNormalised), self._outputs)
        super().on_validation_epoch_end()


class NearestMeans(Untrained):
    """NCM: sets the class means of the training features, under the weights that stage 1 ended with.

    Args:
        network: with a `NearestMean` as classifier, its encoder trained by stage 1.
        context: of the stage.

    Raises:
        UserError: a network without the head.
    """

    def __init__(self, network: Network, context: StageContext) -> None:
        super().__init__(network, context)
        network.require_head(NearestMean)

    def on_train_epoch_start(self) -> None:
        """Computes the means once: the encoder is frozen, and a resumed run restores them."""
        super().on_train_epoch_start()
        if self.current_epoch == 0:
            self._set_means()

    @torch.no_grad()
    def _set_means(self) -> None:
        """Means over all processes: of all features, then of the normalised features of each class."""
        head = self.network.require_head(NearestMean)
        batches = [
            (self.network.encoder(batch.images), batch.labels) for batch in feature_pass.over_training_part(self)
        ]
        features, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
        # A matrix product, since scatter additions are nondeterministic on a GPU.
        members = F.one_hot(labels, len(head.means)).T.double()
        counts = distributed.all_sum(members.sum(1, keepdim=True))
        if head.centred:
            head.centre.copy_(distributed.all_sum(features.double().sum(0)) / counts.sum())
        sums = distributed.all_sum(members @ head.normalised(features).double())
        head.means.copy_(sums / counts.clamp_min(1))
        head.is_set.fill_(True)
