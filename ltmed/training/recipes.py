"""Recipes of fine-tuning, each off unless it is set: changes to the training of a stage, independent of its method.

Heads first (`freeze_epochs`), other rates for other layers (`layer_decay`, `head_lr_scale`), a moving average of the
weights (`ema`), heads that start from class means (`class_means`), batches in parts (`accumulate`), an early end
(`early_stopping`), compiled encoders (`compile`). Adapters (`peft`) belong to the network: `ltmed.nn.adapters`.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from omegaconf import DictConfig
from torch import nn
from torch.optim import Optimizer

from ltmed.config.instantiate import per_stage
from ltmed.errors import UserError
from ltmed.losses.traits import is_of_whole_batch
from ltmed.nn.frozen import Frozen
from ltmed.nn.param_groups import require_layers
from ltmed.training import feature_pass
from ltmed.training.callbacks.ema import Ema
from ltmed.training.stage import Stage
from ltmed.utils import distributed


@dataclass(frozen=True)
class Recipe:
    """The options of one stage; `conf/config.yaml` explains them."""

    freeze_epochs: int = 0
    head_lr_scale: float = 1.0
    layer_decay: float | None = None
    ema: float | None = None
    ema_warmup: bool = False
    class_means: float | None = None
    accumulate: int = 1
    early_stopping: int | None = None
    compile: bool = False


def recipe_of(cfg: DictConfig, stage: str) -> Recipe:
    """The options of one stage; an option that is set as a map is off for stages that it does not name.

    Raises:
        UserError: a map names a stage that the method does not have.
    """
    stages, options = list(cfg.method.stages), {}
    for option in (field.name for field in fields(Recipe)):
        value = per_stage(cfg.finetune[option], stages, f"finetune.{option}")[stage]
        if value is not None:
            options[option] = value
    return Recipe(**options)


def callbacks(recipe: Recipe, monitor: str, mode: str) -> list[Callback]:
    """The parts of a recipe that act during training.

    Args:
        recipe: of the stage.
        monitor: full metric name, `stage/val/name`.
        mode: "max" or "min".
    """
    selected: list[Callback] = []
    if recipe.class_means is not None:
        selected.append(ClassMeans(recipe.class_means))
    if recipe.freeze_epochs:
        selected.append(HeadWarmup(recipe.freeze_epochs))
    if recipe.ema is not None:
        selected.append(Ema(recipe.ema, recipe.ema_warmup))
    if recipe.early_stopping is not None:
        selected.append(EarlyStopping(monitor, mode=mode, patience=recipe.early_stopping, check_finite=False))
    return selected


def require_possible(recipe: Recipe, stage: Stage, accelerator: str) -> None:
    """Refuses, before training, options that a stage does not support.

    Raises:
        UserError: in one line, with the setting.
    """
    encoder, name = stage.network.encoder, stage.context.name
    trained = {id(p) for p in stage.parameters() if p.requires_grad}
    encoder_parameters = {id(p) for p in encoder.parameters()} & trained
    if isinstance(encoder, Frozen):
        for option in ("freeze_epochs", "layer_decay"):
            if getattr(recipe, option):
                raise UserError(
                    f"finetune.{option} is about the training of the encoder, and backbone.freeze=true",
                    f"Leave out finetune.{option}, or the frozen backbone.",
                )
    if recipe.layer_decay is not None and encoder_parameters:
        require_layers(encoder)
    if recipe.freeze_epochs and encoder_parameters:
        if recipe.freeze_epochs >= stage.context.epochs:
            raise UserError(
                f"finetune.freeze_epochs={recipe.freeze_epochs} leaves stage '{name}' of {stage.context.epochs} epochs "
                "no epoch with a trained encoder",
                "Use backbone.freeze=true, or fewer epochs of warm-up.",
            )
        if encoder_parameters == trained:
            raise UserError(
                f"Stage '{name}' trains only the encoder: finetune.freeze_epochs leaves it nothing",
                "Name the stages that warm up: finetune.freeze_epochs={STAGE:1}.",
            )
    _require_useful_early_end(recipe, stage)
    if recipe.class_means is not None and stage.continues_classifier:
        raise UserError(
            f"Stage '{name}' continues the classifier of the stage before, which finetune.class_means would replace",
            "Name the first stage: finetune.class_means={STAGE:10}.",
        )
    if recipe.class_means is not None and not isinstance(stage.network.classifier, nn.Linear):
        raise UserError(
            f"finetune.class_means needs a linear classifier, not {type(stage.network.classifier).__name__}",
            "Name the stages of a method that has one: finetune.class_means={STAGE:10}.",
        )
    if recipe.accumulate > 1 and (stage.compares_images or is_of_whole_batch(getattr(stage, "loss", None))):
        raise UserError(
            f"The loss of stage '{name}' compares the images of a batch, so that parts of it give another loss",
            "Leave out finetune.accumulate; use a smaller batch_size, or more devices.",
        )
    if recipe.compile and accelerator == "cpu" and not (os.environ.get("CXX") or shutil.which("g++")):
        raise UserError("finetune.compile needs a C++ compiler on a CPU", "Install g++, or leave it out.")


def _require_useful_early_end(recipe: Recipe, stage: Stage) -> None:
    """Refuses an early end by a metric that cannot have improved.

    Raises:
        UserError: the classifier is untrained, or the encoder is while the epochs without improvement are counted, or
            the method is not complete by then.
    """
    if recipe.early_stopping is None:
        return
    name = stage.context.name
    if not stage.trains_classifier:
        raise UserError(
            f"Stage '{name}' does not train the classifier: finetune.early_stopping would end it by chance",
            "Name the other stages: finetune.early_stopping={STAGE:5}.",
        )
    if recipe.early_stopping < recipe.freeze_epochs:
        raise UserError(
            f"finetune.early_stopping={recipe.early_stopping} can end stage '{name}' before its encoder is trained, "
            f"after finetune.freeze_epochs={recipe.freeze_epochs}",
            f"Use finetune.early_stopping={recipe.freeze_epochs} or more.",
        )
    if recipe.early_stopping < stage.complete_from:
        raise UserError(
            f"finetune.early_stopping={recipe.early_stopping} can end stage '{name}' before epoch "
            f"{stage.complete_from + 1}, from which on all of the method acts ({type(stage).__name__})",
            f"Use finetune.early_stopping={stage.complete_from} or more, or leave it out.",
        )


def require_all_epochs(recipe: Recipe, name: str, complete_from: int) -> None:
    """Refuses an early end of stage `name` by which its sampler may not have reached its class frequencies.

    Raises:
        UserError: `complete_from`, of the sampler, is an epoch (from 0) that early stopping can leave out.
    """
    if recipe.early_stopping is not None and recipe.early_stopping < complete_from:
        raise UserError(
            f"finetune.early_stopping={recipe.early_stopping} can end stage '{name}' before epoch {complete_from + 1}, "
            "in which its sampler reaches the class frequencies that it moves towards",
            "Leave it out, or use another sampler.",
        )


def apply(recipe: Recipe, stage: Stage) -> Stage:
    """Compiles the encoder in place, so that the names of its weights stay the same; or undoes a stage's before."""
    if recipe.compile:
        stage.network.encoder.compile()
    else:
        stage.network.encoder._compiled_call_impl = None
    return stage


class HeadWarmup(Callback):
    """Trains everything but the encoder in the first epochs; the encoder is in evaluation mode meanwhile.

    With several processes the encoder's gradient is computed and dropped: DDP does not allow the set of trainable
    parameters to change.

    Args:
        epochs: number of warm-up epochs.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self._parameters: list[nn.Parameter] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stores the trainable parameters of the encoder."""
        self._parameters = [p for p in pl_module.network.encoder.parameters() if p.requires_grad]  # pyright: ignore

    def _is_warming(self, trainer: Trainer) -> bool:
        return bool(self._parameters) and trainer.current_epoch < self.epochs

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Freezes the encoder during the warm-up and unfreezes it afterwards."""
        if not self._parameters:
            return
        warming = self._is_warming(trainer)
        pl_module.network.encoder.train(not warming)  # pyright: ignore
        if not distributed.is_distributed():
            for parameter in self._parameters:
                parameter.requires_grad_(not warming)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Drops gradients: an optimiser skips parameters without one, including their momentum and weight decay."""
        if self._is_warming(trainer):
            for parameter in self._parameters:
                parameter.grad = None

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Unfreezes the encoder for the next stage, also if this one ended during the warm-up."""
        for parameter in self._parameters:
            parameter.requires_grad_(True)
        if self._parameters:
            pl_module.network.encoder.train()  # pyright: ignore


class ClassMeans(Callback):
    """Starts a linear head from the class means of the training images (Shi et al., LIFT, ICML 2024).

    With m the mean of all features and mu_c the direction of the mean of (h - m) / |h - m| over class c, the logits are
    s mu_c . (h - m) / r, where r is the mean of |h - m|: cosines times s, for an image as far from m as others are.

    Args:
        scale: s.
    """

    def __init__(self, scale: float) -> None:
        self.scale = scale

    @torch.no_grad()
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sets the head at the first epoch only; a resumed run has the head of its checkpoint."""
        if trainer.current_epoch > 0:
            return
        assert isinstance(pl_module, Stage)
        network: Any = pl_module.network
        batches = [(network.encoder(b.images), b.labels) for b in feature_pass.over_training_part(pl_module)]
        features, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
        features = features.double()
        count = distributed.all_sum(torch.tensor(float(len(features)), dtype=torch.float64, device=features.device))
        centre = distributed.all_sum(features.sum(0)) / count
        offsets = features - centre
        radius = distributed.all_sum(offsets.norm(dim=1).sum()) / count
        members = F.one_hot(labels, network.num_classes).T.double()
        means = F.normalize(distributed.all_sum(members @ F.normalize(offsets, dim=1)), dim=1)
        weight = self.scale / radius.clamp_min(1e-12) * means
        network.classifier.weight.copy_(weight)
        if network.classifier.bias is not None:
            network.classifier.bias.copy_(-weight @ centre)
