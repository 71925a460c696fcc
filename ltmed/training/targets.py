"""Whether a method can learn from what the images of a data set are labelled with: one class, or several labels."""

from __future__ import annotations

import inspect
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from ltmed.errors import UserError
from ltmed.evaluation.scalars import scalars_of
from ltmed.losses.traits import is_multilabel

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from ltmed.data.datamodule import DataModule
    from ltmed.training.recipes import Recipe


def counts_of(data: DataModule) -> Tensor:
    """What losses know of the training part, int64: images of each class `[K]`, or of several labels the known
    positives and the known negatives of each `[2, K]`.
    """
    positives = torch.from_numpy(data.counts)
    if not data.multilabel:
        return positives
    known_negatives = (data.manifest.labels[data.split.train] == 0).sum(0)
    return torch.stack([positives, torch.from_numpy(known_negatives)])


def require_monitor(cfg: DictConfig, data: DataModule) -> None:
    """Refuses a checkpoint chosen by a number that runs on such images do not have.

    Raises:
        UserError: names the setting.
    """
    names = scalars_of(data.multilabel)
    if cfg.monitor not in names:
        kind = "several labels" if data.multilabel else "one label"
        raise UserError(
            f"monitor={cfg.monitor} is no metric of images with {kind}, which {data.manifest.name} has",
            f"Add monitor={names[0]}, or another of {', '.join(names[1:])}.",
        )


def require_possible(module: partial[Any], recipe: Recipe, cfg: DictConfig, data: DataModule) -> None:
    """Refuses, before it is made, a stage that needs exactly one class per image on images with several labels.

    Args:
        module: the stage's class with its options, as the configuration builds it.
        recipe: of fine-tuning.
        cfg: of the run.
        data: the data set.

    Raises:
        UserError: in one line that says why, and what runs.
    """
    if not data.multilabel:
        return
    several = f"and images of {data.manifest.name} carry several labels"
    if not getattr(module.func, "multilabel", False):
        raise UserError(
            f"{module.func.__name__} of method={cfg.method.name} needs exactly one class per image, {several}",
            f"Use method=erm, alpa, asl, bce or mixup, with loss={'|'.join(multilabel_losses())}.",
        )
    loss = module.keywords.get("loss")
    if loss is not None and not is_multilabel(loss):
        name = getattr(inspect.unwrap(getattr(loss, "func", loss)), "__name__", str(loss))
        raise UserError(
            f"The loss {name} expects exactly one class per image, {several}",
            f"Use one with a sigmoid per label: loss={'|'.join(multilabel_losses())}.",
        )
    for setting, given in (("finetune.class_means", recipe.class_means), ("class_losses", cfg.class_losses)):
        if given:
            raise UserError(f"{setting} needs exactly one class per image, {several}", f"Leave {setting} out.")


def multilabel_losses() -> list[str]:
    """The choices of `loss=` that take several labels per image."""
    from hydra.utils import get_method

    from ltmed.config.paths import choices

    targets = {name: OmegaConf.select(OmegaConf.load(file), "_target_") for name, file in choices("loss").items()}
    return sorted(name for name, target in targets.items() if is_multilabel(get_method(target)))
