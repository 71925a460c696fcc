"""Flexible sampling: a small, less imbalanced set of images first, then more of the difficult classes.

L. Ju, Y. Wu, L. Wang, Z. Yu, X. Zhao, X. Wang, P. Bonnington, Z. Ge, "Flexible Sampling for Long-Tailed Skin Lesion
Classification", MICCAI 2022, and its released code (FlexSampling).

Stage 1, `SelfContrast`: features that know no classes, by contrast of two views of each image. With f(x) the encoder's
projection (norm 1) and i' the other view of sample i,

    (1) L_i = - log( exp(f_i.f_i' / tau) / sum_{j != i} exp(f_i.f_j / tau) )

Stage 2, `Curriculum`, trains on a part of the images that grows:

    (2) anchors: of each class the min(n_c, s max_k n_k) images whose features are nearest to the class mean
    (3) p_c = K (1 - acc_c) / sum_k (1 - acc_k), with acc_c the recall of class c on the validation part
    (4) a query adds q p_c |U_c| of the images U_c of class c that are not yet used, those with the largest
        I(x) = H(mean_t p_t(x)) - mean_t H(p_t(x)), p_1 ... p_T the outputs under T draws of dropout (BALD)

There is no query in the first w of the epochs. Then there is one every r of the epochs, and one when the validation
result has not improved for that share of the epochs called patience. Where this differs from the released code,
docs/explanation/fidelity.md says why. Letters: B images, N of the training part, K classes, D encoder width, T draws
of dropout.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from ltmed.data.batch import Batch
from ltmed.data.samplers.subset import SubsetSampler
from ltmed.errors import UserError, require_between
from ltmed.losses.traits import Loss
from ltmed.methods.erm import ERM
from ltmed.methods.supcon import Contrast
from ltmed.nn.network import Network
from ltmed.training import feature_pass
from ltmed.training.context import StageContext
from ltmed.utils import distributed

FEWEST = 2
"""Anchors of a class that has so many images."""


class SelfContrast(Contrast):
    """Stage 1: `Contrast` where every image is a class of its own (Eq. 1). Its checkpoint to keep is the last."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Eq. 1 for one batch, mean over this process's 2B samples."""
        return super().training_step(batch._replace(labels=batch.indices), batch_idx)


class Curriculum(ERM):
    """Stage 2: ERM on anchors, and then on what the queries add (Eq. 2-4).

    The images in use, and what decides on the next query, are buffers: a continued run makes the same queries.
    The loss gets the class counts of the images in use.

    Args:
        network: encoder and a classifier with dropout; a projector is frozen.
        context: of the stage.
        loss: as in `ERM`.
        anchors: s in (0, 1], images of the largest class to begin with, as a share; 1 uses all images from the start.
        query: q in [0, 1], images added by a query, as a share of the unused ones of a class of average difficulty.
        warmup: w in [0, 1], share of the epochs with the anchors alone; the first query is later by one epoch or more.
        interval: r in [0, 1], share of the epochs between queries; at least one epoch.
        patience: share of the epochs without improvement before a query; at least one epoch.
        draws: T.

    Raises:
        UserError: a classifier without dropout, or an option out of range.
    """

    in_use: Tensor
    recalls: Tensor
    best: Tensor
    waited: Tensor
    stale: Tensor

    def __init__(
        self,
        network: Network,
        context: StageContext,
        *,
        loss: Loss,
        anchors: float = 0.1,
        query: float = 0.1,
        warmup: float = 0.17,
        interval: float = 0.04,
        patience: float = 0.06,
        draws: int = 10,
    ) -> None:
        super().__init__(network, context, loss=loss)
        option = f"method.stages.{context.name}.module."
        for name, value, low, high in (
            ("anchors", anchors, 1e-9, 1), ("query", query, 0, 1), ("warmup", warmup, 0, 1),
            ("interval", interval, 0, 1), ("patience", patience, 0, 1), ("draws", draws, 2, 1e4),
        ):  # fmt: skip
            require_between(option + name, value, low, high)
        if not any(isinstance(module, nn.Dropout) and module.p > 0 for module in network.classifier.modules()):
            raise UserError(
                "Flexible sampling ranks images by how much their scores change under dropout",
                "Leave method.network.classifier as method=flexible_sampling has it, with p above 0.",
            )
        network.requires_grad_(True)
        if network.projector is not None:
            network.projector.requires_grad_(False)
        self.anchors, self.query, self.draws = anchors, query, draws
        self.warmup = round(warmup * context.epochs)
        self.interval, self.patience = (max(1, round(share * context.epochs)) for share in (interval, patience))
        # As long as all training images; unreadable ones that were left out make the last places meaningless.
        self.register_buffer("in_use", torch.ones(int(context.counts.sum()), dtype=torch.bool))
        self.register_buffer("recalls", torch.zeros(network.num_classes, dtype=torch.float64))
        self.register_buffer("best", torch.zeros((), dtype=torch.float64))
        self.register_buffer("waited", torch.zeros((), dtype=torch.int64))
        self.register_buffer("stale", torch.zeros((), dtype=torch.int64))

    # --- which images are trained on --------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Puts the images in use between the training part and the sampler that the recipe asks for."""
        if stage == "fit":
            data = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
            wanted = data.stage_data
            sampler = partial(SubsetSampler, inner=wanted.sampler, chosen=self._chosen)
            data.use(replace(wanted, sampler=sampler))

    def _rows(self) -> np.ndarray:
        return self.trainer.datamodule.split.train  # pyright: ignore[reportAttributeAccessIssue]

    def _labels(self) -> Tensor:
        """Labels of the training part, int64 `[N]`, on the CPU."""
        data = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        return torch.as_tensor(data.manifest.labels[self._rows()])

    def _chosen(self) -> np.ndarray:
        return self.in_use[: len(self._rows())].cpu().numpy()

    def on_train_epoch_start(self) -> None:
        """Takes the anchors in the first epoch, and makes a query where it is time for one."""
        super().on_train_epoch_start()
        if self.current_epoch == 0:
            self._take_anchors()
        elif self._is_due():
            self._query()
        labels = self._labels()[torch.from_numpy(self._chosen())]
        self.class_counts = labels.bincount(minlength=self.network.num_classes).to(self.device)
        self.log(f"{self.context.name}/train/images", float(len(labels)), batch_size=1)

    def _is_due(self) -> bool:
        if self.current_epoch <= self.warmup or self._chosen().all():
            return False
        return bool(self.waited >= self.interval) or bool(self.stale >= self.patience)

    def _take_anchors(self) -> None:
        """Eq. 2."""
        places, labels, features = self._over_training_part(lambda batch: self.network.encoder(batch.images).double())
        sums = features.new_zeros(self.network.num_classes, features.shape[1]).index_add_(0, labels, features)
        counts = distributed.all_sum(labels.bincount(minlength=self.network.num_classes))
        means = distributed.all_sum(sums) / counts.clamp_min(1)[:, None]
        most = max(FEWEST, int(self.anchors * int(counts.max())))
        self.in_use.zero_()
        self._take(places, labels, -(features - means[labels]).norm(dim=1), counts.clamp_max(most))

    def _query(self) -> None:
        """Eq. 3 and 4."""
        places, labels, scores = self._over_training_part(self._disagreement)
        self._take(places, labels, scores, query_sizes(self.recalls, self._unused_counts(), self.query))
        self.waited.zero_()
        self.stale.mul_(self.stale < self.patience)

    def _unused_counts(self) -> Tensor:
        unused = self._labels()[~torch.from_numpy(self._chosen())]
        return unused.bincount(minlength=self.network.num_classes).to(self.device)

    def _disagreement(self, batch: Batch) -> Tensor:
        """I(x) of Eq. 4, float64 `[B]`. The encoder runs once: only the classifier's dropout is drawn T times."""
        features = self.network.encoder(batch.images)
        for module in self.network.classifier.modules():
            if isinstance(module, nn.Dropout):
                module.train()
        votes = torch.stack([self.network.classifier(features) for _ in range(self.draws)])
        return disagreement(votes.double().softmax(2))

    def _over_training_part(self, function: Callable[[Batch], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Of this process's shard: places in the training part `[n]`, labels `[n]`, what `function` returns."""
        rows = torch.from_numpy(self._rows())
        place = torch.zeros(int(rows.max()) + 1, dtype=torch.int64)
        place[rows] = torch.arange(len(rows))
        place = place.to(self.device)
        found = [(place[b.indices], b.labels, function(b)) for b in feature_pass.over_training_part(self)]
        places, labels, values = (torch.cat(parts) for parts in zip(*found, strict=True))
        return places, labels, values

    def _take(self, places: Tensor, labels: Tensor, scores: Tensor, numbers: Tensor) -> None:
        """Adds, of each class, the `numbers` `[K]` unused images with the highest scores; ties in manifest order."""
        places, labels, scores = (distributed.gather_uneven(t).cpu() for t in (places, labels, scores))
        free = ~self.in_use.cpu()[places]
        order = np.lexsort((places[free].numpy(), -scores[free].numpy(), labels[free].numpy()))
        places, grouped = places[free][order], labels[free][order]
        ranks = torch.arange(len(grouped)) - torch.searchsorted(grouped, grouped)
        self.in_use[places[ranks < numbers.cpu()[grouped]].to(self.device)] = True

    # --- what decides on queries ------------------------------------------------------------------------------

    def on_validation_epoch_end(self) -> None:
        """Keeps the recalls of the epoch, and counts epochs since the last query and the last improvement."""
        super().on_validation_epoch_end()
        found = self.evaluations["val"]
        right = found.labels[found.probabilities.argmax(1) == found.labels]
        total = found.labels.bincount(minlength=self.network.num_classes)
        self.recalls.copy_(right.bincount(minlength=self.network.num_classes) / total.clamp_min(1))
        result = self.recalls[total > 0].mean()
        self.stale.copy_(torch.where(result > self.best, 0, self.stale + 1))
        self.best.copy_(torch.maximum(result, self.best))
        self.waited.add_(int(self.current_epoch >= self.warmup))


def query_sizes(recalls: Tensor, unused: Tensor, share: float) -> Tensor:
    """Eq. 3 and the number of images of Eq. 4: floor(q p_c |U_c|), at least 1 and at most |U_c|.

    Args:
        recalls: acc_c in [0, 1], float64 `[K]`; 0 for a class that the validation part does not have.
        unused: |U_c|, int64 `[K]`.
        share: q.

    Returns:
        int64 `[K]`.
    """
    missed = 1 - recalls
    total = missed.sum()
    probabilities = torch.where(total > 1e-8, len(recalls) * missed / total.clamp_min(1e-8), torch.ones_like(missed))
    return (share * probabilities * unused).long().clamp_min(1).minimum(unused)


def disagreement(probabilities: Tensor) -> Tensor:
    """H(mean_t p_t) - mean_t H(p_t), the information that an image's label has on the weights (BALD), >= 0.

    Houlsby et al. 2011; with dropout for the weights Gal et al., ICML 2017.

    Args:
        probabilities: `[T, B, K]`, rows sum to 1.

    Returns:
        `[B]`.
    """
    return torch.special.entr(probabilities.mean(0)).sum(1) - torch.special.entr(probabilities).sum(2).mean(0)
