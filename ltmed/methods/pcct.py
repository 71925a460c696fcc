"""PCCT and Efficient-PCCT: progressive class-centre triplet loss for imbalanced medical image classification.

K. Chen, W. Lei, S. Zhao, W.-S. Zheng, R. Wang, "PCCT: Progressive Class-Center Triplet Loss for Imbalanced Medical
Image Classification", IEEE Journal of Biomedical and Health Informatics, 2023.

An image x is embedded as f(x), not divided by its norm; d is the Euclidean distance, not squared. The first stage
separates the classes, with equally many images of each class in every batch; a is an anchor, p another image of its
class, n a random image of another class that violates the margin:

    (1, 2) triplet     mean of [d(a, p) + alpha - d(a, n)]_+
    (4)    pairwise    mean of d(a, p) + mean of [alpha - d(a, n)]_+
    (5)    quadruplet  mean of [d(a, p) + alpha - d(a, n1)]_+ + [d(a, p) + beta - d(n1, n2)]_+

The second stage makes each class compact: the other images are replaced by the class centres c of the K classes, the
mean embeddings of their training images; y is the class of a:

    (3)    triplet     mean of [d(a, c_y) + alpha - d(a, c_j)]_+
    (6)    pairwise    mean of d(a, c_y) + mean of [alpha - d(a, c_j)]_+
    (7)    quadruplet  mean of [d(a, c_y) + alpha - d(a, c_j)]_+ + [d(a, c_y) + beta - d(c_j, c_k)]_+

PCCT estimates the centres again for every epoch; in Efficient-PCCT they are a parameter initialised with the class
means. Both predict the class with the nearest mean. Where this differs from the paper,
docs/explanation/fidelity.md says why.
Letters: B images of the batch over all processes, K classes, E embedding width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltmed.data.batch import Batch
from ltmed.errors import UserError, require_choice
from ltmed.losses.classification import cross_entropy
from ltmed.losses.triplet import CENTRE_LOSSES, SAMPLE_LOSSES, MetricLoss, distances
from ltmed.nn.centres import CentreHead
from ltmed.nn.network import Network
from ltmed.training import feature_pass
from ltmed.training.context import StageContext
from ltmed.training.stage import Stage
from ltmed.utils import distributed
from ltmed.utils.seeding import derive

Centers = Literal["estimated", "trainable"]


class _PCCTStage(Stage):
    """Common part of both stages: options, embeddings of the global batch, class means under the current weights.

    Args:
        network: with a `CentreHead` as classifier.
        context: of the stage.
        metric_loss: "triplet", "pairwise" or "quadruplet".
        margin: alpha.
        beta: second margin of the quadruplet loss, smaller than alpha.

    Raises:
        UserError: a network without the head, or an option out of range.
    """

    compares_images = True

    def __init__(
        self, network: Network, context: StageContext, *, metric_loss: MetricLoss, margin: float, beta: float
    ) -> None:
        super().__init__(network, context)
        network.require_head(CentreHead)
        require_choice(self._key("metric_loss"), metric_loss, get_args(MetricLoss))
        if not 0 < margin <= 1e6:
            raise UserError(f"{self._key('margin')}={margin}", "It must be greater than 0.")
        if metric_loss == "quadruplet" and not 0 <= beta < margin:
            raise UserError(f"{self._key('beta')}={beta}", f"It must be from 0 to less than the margin, {margin}.")
        if metric_loss == "quadruplet" and network.num_classes < 3:
            raise UserError("A quadruplet needs images of three classes", f"Set {self._key('metric_loss')}=triplet.")
        self.metric_loss: MetricLoss = metric_loss
        self.margin, self.beta = margin, beta

    @classmethod
    def figures(cls) -> dict[str, Callable[..., Any]]:
        """Distances between the class centres."""
        from ltmed.methods.figures.pcct import centre_distances

        return {"centre_distances": centre_distances}

    def _key(self, option: str) -> str:
        return f"method.stages.{self.context.name}.module.{option}"

    def on_validation_start(self) -> None:
        """Estimates the class means under the weights that are evaluated and saved."""
        super().on_validation_start()
        self._estimate_centres()

    def _centres_are_outdated(self) -> bool:
        """Whether the last validation has no centres of the trained weights: there was none, or it saw an average."""
        return self.current_epoch == 0 or self.validates_average

    @torch.no_grad()
    def _estimate_centres(self) -> None:
        """Sets the head's centres to the mean embedding of all training images of each class, over all processes."""
        head = self.network.require_head(CentreHead)
        sums = torch.zeros_like(head.centres, dtype=torch.float64)
        counts = sums.new_zeros(len(sums), 1)
        for batch in feature_pass.over_training_part(self):
            # A matrix product, since scatter additions are nondeterministic on a GPU.
            members = F.one_hot(batch.labels, len(sums)).T.double()
            sums += members @ head.embed(self.network.encoder(batch.images)).double()
            counts += members.sum(1, keepdim=True)
        head.centres.copy_(distributed.all_sum(sums) / distributed.all_sum(counts).clamp_min(1))

    def _embed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Embeddings `[B, E]` and labels `[B]` of all processes: pairs are formed across processes."""
        embeddings = self.network.require_head(CentreHead).embed(self.network.encoder(batch.images))
        return distributed.gather_with_gradient(embeddings), distributed.gather_equal(batch.labels)


class SampleStage(_PCCTStage):
    """First stage: triplets, pairs or quadruplets of the images in class-balanced batches (Eq. 1, 2, 4, 5).

    Args:
        network: with a `CentreHead` as classifier.
        context: of the stage.
        metric_loss: "triplet", "pairwise" or "quadruplet".
        margin: alpha.
        beta: second margin of the quadruplet loss, smaller than alpha.
        ce_weight: weight of an additional cross-entropy of minus the distances to the class means of the previous
            epoch.

    Raises:
        UserError: a network without the head, or an option out of range.
    """

    def __init__(
        self,
        network: Network,
        context: StageContext,
        *,
        metric_loss: MetricLoss = "triplet",
        margin: float = 0.5,
        beta: float = 0.25,
        ce_weight: float = 0.0,
    ) -> None:
        super().__init__(network, context, metric_loss=metric_loss, margin=margin, beta=beta)
        if not 0 <= ce_weight <= 1e6:
            raise UserError(f"{self._key('ce_weight')}={ce_weight}", "It must be 0 or more.")
        self.ce_weight = ce_weight

    def on_train_epoch_start(self) -> None:
        """Estimates the centres for cross-entropy, unless the last validation did."""
        super().on_train_epoch_start()
        if self.ce_weight and self._centres_are_outdated():
            self._estimate_centres()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of the whole batch, the same on every process."""
        embeddings, labels = self._embed(batch)
        draws = self._draws(len(labels), batch_idx)
        loss = SAMPLE_LOSSES[self.metric_loss](embeddings, labels, draws, self.margin, self.beta)
        if self.ce_weight:
            logits = -distances(embeddings, self.network.require_head(CentreHead).centres)
            loss = loss + self.ce_weight * cross_entropy(logits, labels, self.class_counts)
        return loss

    def _draws(self, size: int, step: int) -> Tensor:
        """`[2, B, B]`, uniform in [0, 1), the same on all processes, whose global generators differ."""
        seed = derive(self.context.seed, "negatives", self.current_epoch, step)
        generator = torch.Generator(self.device).manual_seed(seed)
        return torch.rand(2, size, size, generator=generator, device=self.device)


class CentreStage(_PCCTStage):
    """Second stage: triplets, pairs or quadruplets of an image and class centres (Eq. 3, 6, 7).

    Args:
        network: with a `CentreHead` as classifier.
        context: of the stage.
        metric_loss: "triplet", "pairwise" or "quadruplet".
        margin: alpha.
        beta: second margin of the quadruplet loss, smaller than alpha.
        centers: "estimated", the class means under the weights at the end of the previous epoch, fixed for an epoch
            (PCCT); or "trainable", a parameter initialised with them (Efficient-PCCT).

    Raises:
        UserError: a network without the head, or an option out of range.
    """

    def __init__(
        self,
        network: Network,
        context: StageContext,
        *,
        metric_loss: MetricLoss = "triplet",
        margin: float = 0.5,
        beta: float = 0.25,
        centers: Centers = "estimated",
    ) -> None:
        super().__init__(network, context, metric_loss=metric_loss, margin=margin, beta=beta)
        require_choice(self._key("centers"), centers, get_args(Centers))
        head = network.require_head(CentreHead)
        self.centres = nn.Parameter(torch.zeros_like(head.centres)) if centers == "trainable" else None

    def on_train_epoch_start(self) -> None:
        """Estimates the centres, unless the last validation did; trainable ones only in the first epoch."""
        super().on_train_epoch_start()
        if self.centres is None:
            if self._centres_are_outdated():
                self._estimate_centres()
        elif self.current_epoch == 0:
            self._estimate_centres()
            with torch.no_grad():  # In place: the optimiser and DDP refer to this tensor.
                self.centres.copy_(self.network.require_head(CentreHead).centres)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of the whole batch, the same on every process."""
        embeddings, labels = self._embed(batch)
        centres = self.network.require_head(CentreHead).centres if self.centres is None else self.centres
        return CENTRE_LOSSES[self.metric_loss](embeddings, labels, centres, self.margin, self.beta)
