"""CC-SAM: sharpness-aware minimisation with a radius for each class.

Z. Zhou, L. Li, P. Zhao, P.-A. Heng, W. Gong, "Class-Conditional Sharpness-Aware Minimization for Deep Long-Tailed
Recognition", CVPR 2023, as its released code computes it. h are features, z = W h + b logits.

Stage 1, `Flatten`. For every class c in the batch the classifier is perturbed by e_c along the gradient of the mean
cross-entropy of the images of c, more for a smaller class; the second term is the loss of these images at (W, b) + e_c:

    e_c = rho (P / (n_c - 1))^(1/4) (|w| / (2 |G_c|))^(1/2) G_c / |G_c|       for w = W and w = b, P parameters in all
    L = (1 - l) mean CE(z_i) + l mean CE(z_i at (W, b) + e_{y_i})

Only the classifier is perturbed, so that one forward and one backward pass of the encoder suffice: its features and the
BatchNorm statistics are the same in both terms. The gradient of the second term is that at the perturbed weights, as in
SAM. Optimiser, gradient clipping and DDP treat the sum as any other loss.

Stage 2, `Robustify`. The encoder is frozen; on class-balanced batches the features are perturbed along their
gradient v_i = dCE/dh_i:

    w_c = log(n_max / n_c + 0.01) / d      e_i = s w_{y_i} v_i / sqrt(sum_{j in y_i} |v_j|^2)
    L = (1 - a) mean CE(z_i) + a mean w_{y_i} CE(W (h_i + e_i) + b)       a = min((t + 1) / T, a_max) in epoch t of T

Where this differs from the paper or its released code, docs/explanation/fidelity.md says why.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ltmed.data.batch import Batch
from ltmed.errors import UserError, require_between
from ltmed.losses.cc_sam import (
    class_weighted_cross_entropy,
    rarity,
    sharpness_shift,
    softmax_residuals,
    uphill_features,
)
from ltmed.losses.classification import cross_entropy
from ltmed.methods.decoupling import FrozenEncoder
from ltmed.nn.linear import linear_classifier
from ltmed.nn.network import Network
from ltmed.training.context import StageContext
from ltmed.training.stage import Stage
from ltmed.utils import distributed


class Flatten(Stage):
    """Stage 1: encoder and classifier, with class-conditional perturbations of the classifier.

    Args:
        network: encoder and a linear classifier.
        context: of the stage.
        rho: overall size of the perturbations.
        flatness: l in [0, 1], the share of the second term; 0 is ERM.

    Raises:
        UserError: a classifier that is not linear, or an option out of range.
    """

    compares_images = True

    def __init__(self, network: Network, context: StageContext, *, rho: float = 1e-6, flatness: float = 0.5) -> None:
        super().__init__(network, context)
        option = f"method.stages.{context.name}.module."
        require_between(option + "rho", rho, 0, 1e6)
        require_between(option + "flatness", flatness, 0, 1)
        linear_classifier(network)
        self.rho, self.flatness = rho, flatness

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch; perturbations follow the gradient of the images of all processes."""
        features = self.network.encoder(batch.images)
        logits = self.network.classifier(features)
        plain = cross_entropy(logits, batch.labels, self.class_counts)
        if self.flatness == 0:
            return plain
        perturbed = logits + self._shift(features, logits, batch.labels)
        return (1 - self.flatness) * plain + self.flatness * cross_entropy(perturbed, batch.labels, self.class_counts)

    def _shift(self, features: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Change of the logits `[B, K]` by the perturbation of each image's class."""
        classifier = linear_classifier(self.network)
        return sharpness_shift(
            features, labels, distributed.gather_equal(features),
            distributed.gather_equal(softmax_residuals(logits, labels)),
            distributed.gather_equal(labels), classifier.weight, classifier.bias, self.class_counts, rho=self.rho,
        )  # fmt: skip


class Robustify(FrozenEncoder):
    """Stage 2: the classifier, on features of the frozen encoder and on perturbed features.

    Args:
        network: encoder and a linear classifier, trained by stage 1.
        context: of the stage.
        step: s, length of the perturbations of the features.
        divisor: d > 0 of the class weights.
        max_share: a_max in [0, 1]; 0 trains the classifier by cross-entropy alone.

    Raises:
        UserError: a classifier that is not linear, or an option out of range.
    """

    compares_images = True
    continues_classifier = True

    def __init__(
        self,
        network: Network,
        context: StageContext,
        *,
        step: float = 1.0,
        divisor: float = 2.0,
        max_share: float = 0.3,
    ) -> None:
        super().__init__(network, context)
        option = f"method.stages.{context.name}.module."
        require_between(option + "step", step, 0, 1e6)
        require_between(option + "max_share", max_share, 0, 1)
        if not divisor > 0:
            raise UserError(f"{option}divisor={divisor}", "It must be greater than 0.")
        linear_classifier(network)
        self.step, self.divisor, self.max_share = step, divisor, max_share

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch, with the share of its epoch."""
        classifier, labels = linear_classifier(self.network), batch.labels
        with torch.no_grad():
            features = self.network.encoder(batch.images)
        logits = classifier(features)
        weights = rarity(self.class_counts, classifier.weight.dtype, self.divisor)
        perturbation = uphill_features(
            softmax_residuals(logits, labels), labels, classifier.weight, self.step * weights, distributed.all_sum
        )
        perturbed_loss = class_weighted_cross_entropy(classifier(features + perturbation), labels, weights)
        share = min((self.current_epoch + 1) / self.context.epochs, self.max_share)
        return (1 - share) * cross_entropy(logits, labels, self.class_counts) + share * perturbed_loss
