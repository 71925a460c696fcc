"""Flexible sampling: curriculum from a small, less imbalanced anchor set, to which queries add difficult images.

L. Ju, Y. Wu, L. Wang, Z. Yu, X. Zhao, X. Wang, P. Bonnington, Z. Ge, "Flexible Sampling for Long-Tailed Skin Lesion
Classification", MICCAI 2022, and its released code (FlexSampling).

Stage 1, `SelfContrast`: self-supervised contrastive learning on two views of each image. With f(x) the encoder's
projection (norm 1) and i' the other view of sample i,

    (1) L_i = - log( exp(f_i.f_i' / tau) / sum_{j != i} exp(f_i.f_j / tau) )

Stage 2, `Curriculum`, trains on a growing subset of the images:

    (2) anchors: of each class the min(n_c, s max_k n_k) images whose features are nearest to the class mean
    (3) p_c = K (1 - acc_c) / sum_k (1 - acc_k), with acc_c the recall of class c on the validation part
    (4) a query adds q p_c |U_c| of the images U_c of class c that are not yet used, those with the largest
        I(x) = H(mean_t p_t(x)) - mean_t H(p_t(x)), p_1 ... p_T the outputs under T dropout masks (BALD)

There is no query during warm-up, the first share w of the epochs. Afterwards there is one after every share r of the
epochs, and one when the validation result has not improved for the share `patience` of the epochs. Where this differs
from the released code, docs/explanation/fidelity.md says why. Letters: B images, N of the training part, K classes, D
encoder width, T dropout masks.
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

MIN_ANCHORS = 2
"""Smallest number of anchors of a class, if it has that many images."""


class SelfContrast(Contrast):
    """Stage 1: `Contrast` with every image as its own class (Eq. 1). The last checkpoint is to be selected."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Eq. 1 for one batch, mean over this process's 2B samples."""
        return super().training_step(batch._replace(labels=batch.indices), batch_idx)


class Curriculum(ERM):
    """Stage 2: ERM on the anchors and the images that queries add (Eq. 2-4).

    The images in use and the state of the query schedule are buffers, so that a resumed run makes the same queries.
    The loss gets the class counts of the images in use.

    Args:
        network: encoder and a classifier with dropout; a projector is frozen.
        context: of the stage.
        loss: as in `ERM`.
        anchors: s in (0, 1], share of the largest class's images in the anchor set; 1 uses all images from the start.
        query: q in [0, 1], share of the unused images that a query adds of a class of average difficulty.
        warmup: w in [0, 1], share of the epochs on the anchors alone; the first query follows at least one epoch later.
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

    multilabel = False

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
        network.unfreeze_encoder()
        network.classifier.requires_grad_(True)
        if network.projector is not None:
            network.projector.requires_grad_(False)
        self.anchors, self.query, self.draws = anchors, query, draws
        self.warmup = round(warmup * context.epochs)
        self.complete_from = self.warmup + 1
        self.interval, self.patience = (max(1, round(share * context.epochs)) for share in (interval, patience))
        # One entry for each training image; if unreadable images are excluded, the last entries are unused.
        self.register_buffer("in_use", torch.ones(int(context.counts.sum()), dtype=torch.bool))
        self.register_buffer("recalls", torch.zeros(network.num_classes, dtype=torch.float64))
        self.register_buffer("best", torch.zeros((), dtype=torch.float64))
        self.register_buffer("waited", torch.zeros((), dtype=torch.int64))
        self.register_buffer("stale", torch.zeros((), dtype=torch.int64))

    # --- images in use ----------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Wraps the configured sampler, so that it samples from the images in use."""
        if stage == "fit":
            data = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
            stage_data = data.stage_data
            sampler = partial(SubsetSampler, inner=stage_data.sampler, selected=self._in_use_mask)
            data.use(replace(stage_data, sampler=sampler))

    def _rows(self) -> np.ndarray:
        return self.trainer.datamodule.split.train  # pyright: ignore[reportAttributeAccessIssue]

    def _labels(self) -> Tensor:
        """Labels of the training part, int64 `[N]`, on the CPU."""
        data = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        return torch.as_tensor(data.manifest.labels[self._rows()])

    def _in_use_mask(self) -> np.ndarray:
        return self.in_use[: len(self._rows())].cpu().numpy()

    def on_train_epoch_start(self) -> None:
        """Selects the anchors in the first epoch, and makes a query where one is due."""
        super().on_train_epoch_start()
        if self.current_epoch == 0:
            self._select_anchors()
        elif self._is_due():
            self._query()
        labels = self._labels()[torch.from_numpy(self._in_use_mask())]
        self.class_counts = labels.bincount(minlength=self.network.num_classes).to(self.device)
        self.log(f"{self.context.name}/train/images", float(len(labels)), batch_size=1)

    def _is_due(self) -> bool:
        if self.current_epoch <= self.warmup or self._in_use_mask().all():
            return False
        return bool(self.waited >= self.interval) or bool(self.stale >= self.patience)

    def _select_anchors(self) -> None:
        """Eq. 2."""
        positions, labels, features = self._over_training_part(
            lambda batch: self.network.encoder(batch.images).double()
        )
        sums = features.new_zeros(self.network.num_classes, features.shape[1]).index_add_(0, labels, features)
        counts = distributed.all_sum(labels.bincount(minlength=self.network.num_classes))
        means = distributed.all_sum(sums) / counts.clamp_min(1)[:, None]
        max_anchors = max(MIN_ANCHORS, int(self.anchors * int(counts.max())))
        self.in_use.zero_()
        self._add_images(positions, labels, -(features - means[labels]).norm(dim=1), counts.clamp_max(max_anchors))

    def _query(self) -> None:
        """Eq. 3 and 4."""
        positions, labels, scores = self._over_training_part(self._disagreement)
        self._add_images(positions, labels, scores, query_sizes(self.recalls, self._unused_counts(), self.query))
        self.waited.zero_()
        self.stale.mul_(self.stale < self.patience)

    def _unused_counts(self) -> Tensor:
        unused = self._labels()[~torch.from_numpy(self._in_use_mask())]
        return unused.bincount(minlength=self.network.num_classes).to(self.device)

    def _disagreement(self, batch: Batch) -> Tensor:
        """I(x) of Eq. 4, float64 `[B]`. The encoder runs once: only the classifier's dropout is sampled T times."""
        features = self.network.encoder(batch.images)
        for module in self.network.classifier.modules():
            if isinstance(module, nn.Dropout):
                module.train()
        samples = torch.stack([self.network.classifier(features) for _ in range(self.draws)])
        return disagreement(samples.double().softmax(2))

    def _over_training_part(self, score: Callable[[Batch], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Positions in the training part `[n]`, labels `[n]` and scores of this process's shard."""
        rows = torch.from_numpy(self._rows())
        position_of = torch.zeros(int(rows.max()) + 1, dtype=torch.int64)
        position_of[rows] = torch.arange(len(rows))
        position_of = position_of.to(self.device)
        batches = [(position_of[b.indices], b.labels, score(b)) for b in feature_pass.over_training_part(self)]
        positions, labels, values = (torch.cat(parts) for parts in zip(*batches, strict=True))
        return positions, labels, values

    def _add_images(self, positions: Tensor, labels: Tensor, scores: Tensor, sizes: Tensor) -> None:
        """Adds the `sizes` `[K]` unused images of each class with the highest scores; ties in manifest order."""
        positions, labels, scores = (distributed.gather_uneven(t).cpu() for t in (positions, labels, scores))
        unused = ~self.in_use.cpu()[positions]
        order = np.lexsort((positions[unused].numpy(), -scores[unused].numpy(), labels[unused].numpy()))
        positions, grouped = positions[unused][order], labels[unused][order]
        ranks = torch.arange(len(grouped)) - torch.searchsorted(grouped, grouped)
        self.in_use[positions[ranks < sizes.cpu()[grouped]].to(self.device)] = True

    # --- query schedule ---------------------------------------------------------------------------------------

    def on_validation_epoch_end(self) -> None:
        """Stores the recalls of the epoch, and counts epochs since the last query and the last improvement."""
        super().on_validation_epoch_end()
        evaluation = self.evaluations["val"]
        correct = evaluation.labels[evaluation.probabilities.argmax(1) == evaluation.labels]
        total = evaluation.labels.bincount(minlength=self.network.num_classes)
        self.recalls.copy_(correct.bincount(minlength=self.network.num_classes) / total.clamp_min(1))
        result = self.recalls[total > 0].mean()
        self.stale.copy_(torch.where(result > self.best, 0, self.stale + 1))
        self.best.copy_(torch.maximum(result, self.best))
        self.waited.add_(int(self.current_epoch >= self.warmup))


def query_sizes(recalls: Tensor, unused: Tensor, query: float) -> Tensor:
    """Eq. 3 and the number of images of Eq. 4: floor(q p_c |U_c|), at least 1 and at most |U_c|.

    Args:
        recalls: acc_c in [0, 1], float64 `[K]`; 0 for a class without validation images.
        unused: |U_c|, int64 `[K]`.
        query: q.

    Returns:
        int64 `[K]`.
    """
    error_rates = 1 - recalls
    total = error_rates.sum()
    probabilities = torch.where(
        total > 1e-8, len(recalls) * error_rates / total.clamp_min(1e-8), torch.ones_like(error_rates)
    )
    return (query * probabilities * unused).long().clamp_min(1).minimum(unused)


def disagreement(probabilities: Tensor) -> Tensor:
    """H(mean_t p_t) - mean_t H(p_t), the mutual information of an image's label and the weights (BALD), >= 0.

    Houlsby et al. 2011; with dropout for the weights Gal et al., ICML 2017.

    Args:
        probabilities: `[T, B, K]`, rows sum to 1.

    Returns:
        `[B]`.
    """
    return torch.special.entr(probabilities.mean(0)).sum(1) - torch.special.entr(probabilities).sum(2).mean(0)
