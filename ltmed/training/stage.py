"""The base of all stages: optimiser, normalisation, evaluation, and a check for NaN and infinite losses."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim import Optimizer

from ltmed.data.batch import Batch, normalise
from ltmed.errors import DivergedError
from ltmed.evaluation.metrics import Evaluation
from ltmed.evaluation.operating_points import label_thresholds
from ltmed.evaluation.scoring import report_of
from ltmed.losses.traits import Loss, is_adding_log_prior
from ltmed.nn.network import Network
from ltmed.nn.param_groups import build_optimizer
from ltmed.nn.pixels import RUN_KEY
from ltmed.training.class_losses import ClassLosses
from ltmed.training.context import StageContext
from ltmed.utils import distributed
from ltmed.utils.seeding import derive


class Stage(LightningModule):
    """One `trainer.fit` of a method. Subclasses write `training_step(batch, step) -> loss`.

    `self.network` is trained by the stage and passed to the next one; `self(images)` gives its logits `[B, K]`. A
    subclass keeps all other state that a resumed run needs (queues, centres, teachers) in submodules or
    persistent buffers. `evaluations` holds the results of the last validation and test.
    """

    needs_images: ClassVar[bool] = False
    """Whether training changes pixels, so that cached features of a frozen encoder cannot replace the images."""
    compares_images: ClassVar[bool] = False
    """Whether the loss of a batch is more than the mean over its images, so that it cannot be computed in parts."""
    multilabel: ClassVar[bool] = False
    """Whether it can train on images that carry several labels."""
    trains_classifier: ClassVar[bool] = True
    """False if its classifier is untrained, so that its validation says nothing about its progress."""
    unused: ClassVar[tuple[str, ...]] = ()
    """Settings of the stage (`method.stages.<stage>.NAME`) without any effect: refused on a command line."""
    continues_classifier: ClassVar[bool] = False
    """Whether it starts from the classifier of the stage before."""
    corrects_predictions: bool = False
    """Whether its predictions are adjusted by the class counts, for a network whose loss did not do that."""
    complete_from: int = 0
    """Epoch (from 0) before which a part of the method has not acted yet, so that an early end would leave it out."""
    validates_average: bool = False
    """Set where validation sees a moving average of the weights (`finetune.ema`) instead of those that are trained."""
    class_counts: Tensor
    unlearnable: Tensor
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, network: Network, context: StageContext) -> None:
        super().__init__()
        self.network = network
        self.context = context
        self.evaluations: dict[str, Evaluation] = {}
        self.register_buffer("class_counts", context.counts.clone(), persistent=False)
        without_positives = context.counts[0] == 0 if context.multilabel else torch.zeros(0, dtype=torch.bool)
        self.register_buffer("unlearnable", without_positives, persistent=False)
        self._has_unlearnable = bool(without_positives.any())
        self.register_buffer("pixel_mean", 255 * torch.tensor(context.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", 255 * torch.tensor(context.std).view(1, 3, 1, 1), persistent=False)
        # Read every few steps only: a read per step would wait for the GPU, and even a sum costs more than the append.
        self._losses: list[Tensor] = []
        self.class_losses = ClassLosses(len(context.classes)) if context.class_losses else None
        """The epoch's mean loss of each class, for a `training_step` that knows the losses of single images."""
        self._loss_sum = 0.0
        self._outputs: list[tuple[Tensor, Tensor, Tensor]] = []

    @classmethod
    def figures(cls) -> dict[str, Callable[..., Any]]:
        """Figures of what only this stage learns: name of the file -> `(data, stage) -> Figure | None`.

        A subclass imports them inside, so that training does not import matplotlib. `data` is the finished run's
        (`ltmed.plots.run.data.RunData`), `stage` this stage's name in it; None where it has nothing to plot.
        """
        return {}

    def forward(self, images: Tensor) -> Tensor:
        """`[B, 3, H, W]` -> logits `[B, K]`."""
        return self.network(images)

    def classification_loss(self, loss: Loss, batch: Batch) -> Tensor:
        """`loss(logits, labels, counts)` of the network's logits; also recorded by class if `class_losses=true`."""
        logits = self(batch.images)
        if self.class_losses:
            self.class_losses.add_from(loss, logits, batch.labels, self.class_counts)
        return loss(logits, self.targets(batch.labels), self.class_counts)

    def targets(self, labels: Tensor) -> Tensor:
        """The targets of a loss: the labels; of several, those without a training image are unknown (NaN)."""
        return labels.masked_fill(self.unlearnable, torch.nan) if self._has_unlearnable else labels

    @property
    def adds_log_prior(self) -> bool:
        """Whether it corrects for the class counts, as if batches had the classes of the training part."""
        return is_adding_log_prior(getattr(self, "loss", None))

    def require_batch(self, images: int) -> None:
        """Raises UserError unless a process can train on this number of images at a time; any by default."""

    # --- optimisation -----------------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        """One optimiser over all trainable parameters, one schedule over all steps of the stage."""
        optimizer = build_optimizer(
            self.context.optimizer, self, self.network.encoder, layer_decay=self.context.layer_decay,
            head_lr_scale=self.context.head_lr_scale,
        )  # fmt: skip
        if self.context.schedule is None:
            return optimizer
        scheduler = self.context.schedule(optimizer, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        """Reseeds torch, so that dropout and the method's random numbers depend on the epoch alone."""
        torch.manual_seed(derive(self.context.seed, self.context.name, self.current_epoch, self.global_rank))
        self._losses.clear()
        self._loss_sum = 0.0
        if self.class_losses:
            self.class_losses.start(self.device)

    @property
    def batches_per_step(self) -> int:
        """Batches whose gradients make one step of the optimiser; the last step of an epoch may have fewer."""
        return self.trainer.accumulate_grad_batches if self._trainer is not None else 1

    def begins_step(self, batch_idx: int) -> bool:
        """Whether a batch is the first of its optimiser step, when copies of the weights (a teacher) are updated."""
        return batch_idx % self.batches_per_step == 0

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Makes the gradient of an incomplete last step the mean over its batches, like that of every other step."""
        batches = self.batches_per_step
        remainder = (self.trainer.fit_loop.batch_idx + 1) % batches
        if remainder:  # Lightning has divided the loss of each batch by the number in a complete step.
            for parameter in (p for group in optimizer.param_groups for p in group["params"]):
                if parameter.grad is not None:
                    parameter.grad.mul_(batches / remainder)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Stores the loss on its device, and reads it every few steps."""
        loss, batches = outputs["loss"].detach(), self.batches_per_step
        self._losses.append(loss * batches if batches > 1 else loss)  # Lightning has divided it.
        every = self.trainer.log_every_n_steps  # pyright: ignore[reportAttributeAccessIssue]
        if self.trainer.is_last_batch or len(self._losses) >= every:
            self._read_losses(batch_idx)
            self.log("loss", self._loss_sum / (batch_idx + 1), prog_bar=True, logger=False, batch_size=1)
        if self.trainer.is_last_batch:
            total = distributed.all_sum(torch.tensor(self._loss_sum, device=self.device))
            mean = total / distributed.world_size() / (batch_idx + 1)
            self.log(f"{self.context.name}/train/loss", mean, on_step=False, on_epoch=True, batch_size=1)
            self._log_class_losses()

    def _log_class_losses(self) -> None:
        if self.class_losses is None:
            return
        means = self.class_losses.means().cpu()
        if means.isnan().all() and self.current_epoch == 0:
            warnings.warn(
                f"class_losses: the loss of stage '{self.context.name}' is not one of single images, none is logged",
                stacklevel=2,
            )
        for code, mean in zip(self.context.classes, means, strict=True):
            if not mean.isnan():
                name = f"{self.context.name}/train/class_loss/{code}"
                self.log(name, mean.float(), on_step=False, on_epoch=True, batch_size=1)

    def _read_losses(self, step: int) -> None:
        """Sums the losses since the last reading; ends the run on all ranks if one of them was NaN or infinite."""
        losses = torch.stack(self._losses)
        non_finite = distributed.all_sum((~losses.isfinite()).float()).cpu()
        self._losses.clear()
        self._loss_sum += float(losses.double().sum())
        if not non_finite.any():
            return
        first = step - len(losses) + 1 + int(non_finite.gt(0).int().argmax())
        checkpoint = self.context.checkpoint
        hint = (
            f"The last good checkpoint is {checkpoint}"
            if checkpoint and checkpoint.exists()
            else "No epoch was finished yet"
        )
        raise DivergedError(
            f"The loss became NaN or infinite in stage '{self.context.name}', epoch {self.current_epoch}, step {first}",
            f"{hint}. Lower the learning rate (method.stages.{self.context.name}.optimizer.lr) and run again.",
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the normalisation of the pixels, for runs that start from these weights."""
        context = self.context
        checkpoint[RUN_KEY] = {"mean": context.mean, "std": context.std, "interpolation": context.interpolation}

    # --- pixels -----------------------------------------------------------------------------------------------

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """uint8 `[B, H, W, 3]` -> normalised float32 `[B, 3, H, W]` (channels last in memory), on the device.

        Features `[B, D]` of a frozen encoder stay as they are.
        """
        if batch.images.ndim == 2:
            return batch
        second = None if batch.views is None else self._normalise(batch.views)
        return batch._replace(images=self._normalise(batch.images), views=second)

    def _normalise(self, pixels: Tensor) -> Tensor:
        return normalise(pixels, self.pixel_mean, self.pixel_std)

    # --- evaluation -------------------------------------------------------------------------------------------

    def on_validation_start(self) -> None:
        """Averages the BatchNorm statistics over ranks, so that every rank evaluates the same network."""
        distributed.average_batchnorm(self)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Stores the logits of this rank's shard on the device."""
        self._outputs.append((self(batch.images).float(), batch.labels, batch.indices))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Stores the logits of this rank's shard on the device."""
        self.validation_step(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        """Scores the validation part; its metrics carry the stage's name."""
        self._finish("val", f"{self.context.name}/val")

    def on_test_epoch_end(self) -> None:
        """Scores the test part; no stage in the names, so that all methods have the same metric names."""
        self._finish("test", "test")

    def _finish(self, split: str, prefix: str) -> None:
        evaluation = self.gather_evaluation()
        self.evaluations[split] = evaluation
        thresholds = label_thresholds(self.evaluations["val"]) if evaluation.multilabel else None
        summary = report_of(evaluation, self.context.tiers, thresholds)
        self.log_dict({f"{prefix}/{name}": value for name, value in summary.scalars().items()})

    def gather_evaluation(self) -> Evaluation:
        """Joins the unpadded shards of all ranks in manifest order; every rank gets all of them."""
        logits, labels, indices = (torch.cat(parts) for parts in zip(*self._outputs, strict=True))
        self._outputs.clear()
        logits, labels, indices = (distributed.gather_uneven(t) for t in (logits, labels, indices))
        order = indices.argsort()
        return Evaluation(
            probabilities=logits[order].sigmoid() if labels.ndim == 2 else logits[order].softmax(1),
            labels=labels[order],
            indices=indices[order],
            classes=self.context.classes,
        )
