"""LMD: long-tailed medical image diagnosis by relation-aware representation and iterative classifier calibration.

Pan et al., Computers in Biology and Medicine, 2025.

Stage 1 (RRL), `Represent`: a student on the strong view, and a teacher, the moving average of the student, on the weak
view. With features z = h(x), S = z z^T, C = z^T z, rows divided by their norms:

    (3) L_prob    = 1/B KL(teacher || student)
    (4) L_sample  = 1/B sum (S^s - S^t)^2
    (5) L_channel = 1/D sum (C^s - C^t)^2
        L_stage1  = L_CE + lambda_1 (L_sample + L_channel + L_prob / 2)

Stage 2 (ICC), `Calibrate`: J iterations of an M step, then an E step; one epoch is one iteration.

    M: (6, 7)   mu_k and Sigma_k of the class-balanced resampled features, encoder frozen; Sigma_k + 0.01 I; moving
                averages
       (8)      R virtual features per class from N(mu_k, Sigma_k) train the classifier with cross-entropy
    E: (10, 11) Psi = mean squared Mahalanobis distance to the own class, Phi = to the other classes
       (12)     L_E = L_CE + lambda_e (Psi - Phi) trains the encoder through the frozen classifier

Where this differs from the printed paper or its released code, docs/explanation/fidelity.md says why.
Letters: B images of the batch, N of the training part, K classes, D encoder width, R virtual features per class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltmed.data.batch import Batch
from ltmed.data.samplers.single import Sampler
from ltmed.errors import UserError, require_between, require_choice
from ltmed.losses import lmd
from ltmed.nn.frozen import reset_parameters
from ltmed.nn.network import Network
from ltmed.nn.statistics import ClassStatistics, Moments
from ltmed.nn.teacher import EmaTeacher
from ltmed.nn.virtual import real_batches, virtual_batches
from ltmed.training import feature_pass
from ltmed.training.context import StageContext
from ltmed.training.stage import Stage
from ltmed.utils import distributed
from ltmed.utils.seeding import derive

View = Literal["weak", "strong"]
Features = Literal["virtual", "real"]
MAX_DECAY = 0.999


def decay(steps: int) -> float:
    """Weight of the old value in a moving average after `steps` updates: min(1 - 1/(steps + 1), 0.999)."""
    return min(1 - 1 / (steps + 1), MAX_DECAY)


def with_every_class(times: Tensor, labels: Tensor) -> Tensor:
    """`times`, with 1 for each image of a class of which no image was sampled, int64 `[N]`.

    Later, such a class keeps its statistics. In the first iteration it has none, and its virtual features would be
    those of a standard normal distribution.

    Args:
        times: how often each image was sampled, int64 `[N]`.
        labels: int64 `[N]`.
    """
    sampled = times.new_zeros(int(labels.max()) + 1).index_add_(0, labels, times)
    return times.where(sampled[labels] > 0, 1)


class Represent(Stage):
    """Stage 1: representation learning with relations between images and between channels (Eq. 3-5).

    Args:
        network: encoder and classifier.
        context: of the stage; batches must have two views, the strong one first and the weak one second.
        consistency: lambda_1; 0 trains with cross-entropy alone (the paper's "w/o RRL").
        probability: weight of L_prob among the three terms.
        normalize_rows: whether rows of S and C are divided by their norms.
        ce_view: the view for cross-entropy: "weak" as printed, "strong" as released (one forward pass fewer).
        consistency_start_epoch: first epoch (from 0) with the consistency terms.

    Raises:
        UserError: `ce_view` is neither.
    """

    compares_images = True

    def __init__(
        self,
        network: Network,
        context: StageContext,
        *,
        consistency: float = 10.0,
        probability: float = 0.5,
        normalize_rows: bool = True,
        ce_view: View = "weak",
        consistency_start_epoch: int = 0,
    ) -> None:
        super().__init__(network, context)
        option = f"method.stages.{context.name}.module."
        require_between(option + "consistency", consistency, 0, 1e9)
        require_between(option + "probability", probability, 0, 1e9)
        require_choice(option + "ce_view", ce_view, get_args(View))
        self.consistency, self.probability, self.normalize_rows = consistency, probability, normalize_rows
        self.ce_view: View = ce_view
        self.consistency_start_epoch = consistency_start_epoch
        self.complete_from = consistency_start_epoch if consistency > 0 else 0
        self.teacher = EmaTeacher(network.encoder, network.classifier, training=True)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """L_stage1 for one batch."""
        strong, weak = batch.require_views()
        if self.begins_step(batch_idx):
            self.teacher.update(self.network.encoder, self.network.classifier, momentum=decay(self.global_step))
        consistent = self.consistency > 0 and self.current_epoch >= self.consistency_start_epoch
        if not consistent:
            return F.cross_entropy(self(weak if self.ce_view == "weak" else strong).float(), batch.labels)
        features = self.network.encoder(strong)
        logits = self.network.classifier(features)
        consistency = self._consistency(features, logits, *self.teacher.outputs(weak))
        ce_logits = logits if self.ce_view == "strong" else self(weak)
        return F.cross_entropy(ce_logits.float(), batch.labels) + self.consistency * consistency

    def _consistency(self, features: Tensor, logits: Tensor, targets: Tensor, target_logits: Tensor) -> Tensor:
        """Eq. 3-5; the relations are those of the images of all processes."""
        all_features, all_targets = distributed.gather_with_gradient(features), distributed.gather_equal(targets)
        sample = lmd.sample_relation(all_features, all_targets, self.normalize_rows)
        channel = lmd.channel_relation(all_features, all_targets, self.normalize_rows)
        return sample + channel + self.probability * lmd.probability_consistency(logits, target_logits)


class Calibrate(Stage):
    """Stage 2: iterative calibration of the classifier, an EM loop (Eq. 6-12).

    The classifier is reinitialised. `training_step` is the E step and trains the encoder only; the classifier is
    trained in the M step at the start of every epoch, identically on every process.

    Args:
        network: encoder and classifier, the encoder trained by stage 1.
        context: of the stage; its optimiser is the encoder's.
        m_sampler: how the training part is resampled for Eq. 7, `(labels, batch_size, epochs, seed) -> Sampler`. A
            class that it leaves out keeps its statistics; in the first iteration each of its images counts once.
        virtual_per_class: R; 0 trains the classifier on the resampled real features, each as often as it was sampled.
        features: "virtual" samples the R features of a class from its normal distribution, "real" from the features of
            its images, with replacement (the paper's "w/o VFC", with the same number of classifier steps).
        classifier_lr: of the M step's SGD; follows the encoder's schedule.
        classifier_momentum: likewise.
        classifier_weight_decay: likewise.
        classifier_batch: features per step of the M step.
        distribution: lambda_e; 0 is the paper's "w/o FDC".
        e_step: False freezes the encoder (the paper's "w/o ICC", with the same number of M steps).

    Raises:
        UserError: an option out of range, or real features with R = 0.
    """

    def __init__(
        self,
        network: Network,
        context: StageContext,
        *,
        m_sampler: Callable[..., Sampler],
        virtual_per_class: int = 50_000,
        features: Features = "virtual",
        classifier_lr: float = 1e-5,
        classifier_momentum: float = 0.9,
        classifier_weight_decay: float = 1e-4,
        classifier_batch: int = 352,
        distribution: float = 1e-4,
        e_step: bool = True,
    ) -> None:
        super().__init__(network, context)
        option = f"method.stages.{context.name}.module."
        require_between(option + "virtual_per_class", virtual_per_class, 0, 1e9)
        require_between(option + "classifier_batch", classifier_batch, 1, 1e9)
        require_between(option + "distribution", distribution, 0, 1e9)
        require_choice(option + "features", features, get_args(Features))
        if features == "real" and not virtual_per_class:
            raise UserError(
                f"{option}features=real samples virtual_per_class features of each class, and that is 0",
                f"Set {option}virtual_per_class to a number from 1, or {option}features=virtual.",
            )
        if e_step and not context.optimizer([nn.Parameter(torch.zeros(()))]).param_groups[0]["lr"]:
            raise UserError(  # The classifier's rate is in proportion to it.
                f"method.stages.{context.name}.optimizer.lr=0 leaves the encoder as it is",
                f"For that, set {option}e_step=false and a rate above 0, whose schedule the classifier follows.",
            )
        self.features: Features = features
        self.m_sampler, self.virtual_per_class, self.classifier_batch = m_sampler, virtual_per_class, classifier_batch
        self.sgd = {
            "lr": classifier_lr * context.head_lr_scale,
            "momentum": classifier_momentum,
            "weight_decay": classifier_weight_decay,
        }
        self.distribution, self.e_step = distribution, e_step
        self.statistics = ClassStatistics(network.num_classes, network.num_features)
        self.whitening: lmd.Whitening | None = None
        reset_parameters(network.classifier)
        network.classifier.requires_grad_(False)
        if not e_step:
            network.encoder.requires_grad_(False)
            # Lightning saves a checkpoint only after an optimiser step: this parameter makes one possible.
            self.nothing = nn.Parameter(torch.zeros(()))

    @classmethod
    def figures(cls) -> dict[str, Callable[..., Any]]:
        """The validation metrics of every iteration."""
        from ltmed.methods.figures.lmd import em_trajectory

        return {"em_trajectory": em_trajectory}

    # --- M step -----------------------------------------------------------------------------------------------

    def on_train_epoch_start(self) -> None:
        """The M step of iteration j, which is the epoch: statistics (Eq. 7), then the classifier (Eq. 8)."""
        super().on_train_epoch_start()
        features, labels, times = self._resampled_features()
        moments = Moments(self.network.num_classes, self.network.num_features, self.device)
        moments.add(features, labels, times)
        self.statistics.update(moments.finish(), momentum=decay(self.current_epoch))
        factors = self.statistics.factors()
        self.whitening = self.statistics.whitening(factors)
        generator = torch.Generator(self.device).manual_seed(self._seed("virtual"))
        size, batch = self.virtual_per_class, self.classifier_batch
        if not size:
            batches = self._resampled_batches(features, labels, times, generator)
        elif self.features == "virtual":
            batches = virtual_batches(self.statistics.means, factors, size, batch, generator)
        else:
            features, labels = (distributed.gather_uneven(t) for t in (features, labels))
            batches = real_batches(features, labels, size, batch, generator)
        self._train_classifier(batches)

    def _seed(self, purpose: str) -> int:
        """The same on all processes."""
        return derive(self.context.seed, self.context.name, purpose, self.current_epoch)

    def _resampled_features(self) -> tuple[Tensor, Tensor, Tensor]:
        """This process's features `[n, D]` and labels `[n]`, and how often each image was resampled `[n]`."""
        data = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        rows = torch.from_numpy(data.split.train)
        labels = data.manifest.labels[data.split.train]
        sampler = self.m_sampler(labels=labels, batch_size=1, epochs=self.context.epochs, seed=self.context.seed)
        counts = torch.from_numpy(sampler.batches(self.current_epoch)).flatten().bincount(minlength=len(rows))
        if self.current_epoch == 0:
            counts = with_every_class(counts, torch.as_tensor(labels))
        times = torch.zeros(len(data.manifest.labels), dtype=torch.int64).index_copy_(0, rows, counts).to(self.device)
        batches = [
            (self.network.encoder(b.images), b.labels, times[b.indices]) for b in feature_pass.over_training_part(self)
        ]
        features, labels, times = (torch.cat(parts) for parts in zip(*batches, strict=True))
        return features.float(), labels, times

    def _resampled_batches(
        self, features: Tensor, labels: Tensor, times: Tensor, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The resampled features themselves, in random order."""
        features, labels, times = (distributed.gather_uneven(t) for t in (features, labels, times))
        resampled = torch.arange(len(labels), device=self.device).repeat_interleave(times)
        order = torch.randperm(len(resampled), generator=generator, device=self.device)
        for part in resampled[order].split(self.classifier_batch):
            yield features[part], labels[part]

    def _train_classifier(self, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
        """Eq. 8, one epoch of SGD: every process takes the same steps; the result of rank 0 is then broadcast."""
        encoder_sgd: Any = self.optimizers()
        encoder = encoder_sgd.param_groups[0]
        factor = encoder["lr"] / encoder.get("initial_lr", encoder["lr"])
        classifier = self.network.classifier.requires_grad_(True)
        optimizer = torch.optim.SGD(classifier.parameters(), **{**self.sgd, "lr": factor * self.sgd["lr"]})
        self.log(f"{self.context.name}/train/classifier_lr", optimizer.param_groups[0]["lr"], batch_size=1)
        with torch.enable_grad():
            for features, labels in batches:
                optimizer.zero_grad()
                F.cross_entropy(classifier(features).float(), labels).backward()
                optimizer.step()
        optimizer.zero_grad()
        classifier.requires_grad_(False)
        distributed.broadcast(classifier)

    # --- E step -----------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Eq. 12 for one batch."""
        if not self.e_step:
            return 0 * self.nothing
        assert self.whitening is not None
        features = self.network.encoder(batch.images)
        distances = lmd.mahalanobis(features, *self.whitening)
        loss = F.cross_entropy(self.network.classifier(features).float(), batch.labels)
        return loss + self.distribution * lmd.distribution_consistency(distances, batch.labels)
