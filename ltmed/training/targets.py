"""Whether a method can learn from the labels of a data set: one class per image, or several labels."""

from __future__ import annotations

import inspect
import math
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from ltmed.config.instantiate import build
from ltmed.errors import UserError
from ltmed.evaluation.metrics import Evaluation
from ltmed.evaluation.operating_points import label_thresholds
from ltmed.evaluation.scalars import scalars_of
from ltmed.evaluation.scoring import report_of
from ltmed.losses.traits import is_multilabel
from ltmed.training.recipes import recipe_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from omegaconf import DictConfig

    from ltmed.data.datamodule import DataModule


def counts_of(data: DataModule) -> Tensor:
    """What losses know of the training part, int64: images of each class `[K]`, or of several labels the known
    positives and the known negatives of each `[2, K]`.
    """
    positives = torch.from_numpy(data.counts)
    if not data.multilabel:
        return positives
    known_negatives = (data.manifest.labels[data.split.train] == 0).sum(0)
    return torch.stack([positives, torch.from_numpy(known_negatives)])


def require_possible(cfg: DictConfig, data: DataModule) -> None:
    """Refuses, before anything is built, a metric or a stage that does not fit the labels of the data set.

    Args:
        cfg: of the run.
        data: the data set.

    Raises:
        UserError: says why, and what would run.
    """
    selects = any(
        stage.keep == "best" or recipe_of(cfg, name).early_stopping is not None
        for name, stage in cfg.method.stages.items()
    )
    _require_monitor(cfg.monitor, data, defined=selects)
    if data.multilabel:
        for name, recipe in cfg.method.stages.items():
            module, settings = build(recipe.module), {"class_losses": cfg.class_losses}
            settings["finetune.class_means"] = recipe_of(cfg, name).class_means
            _require_multilabel(module, cfg.method.name, settings, data.manifest.name)


def _require_monitor(monitor: str, data: DataModule, *, defined: bool) -> None:
    """`defined`: whether epochs are compared by it, so that it must have a value."""
    names = scalars_of(data.multilabel)
    if monitor not in names:
        kind = "several labels" if data.multilabel else "one label"
        raise UserError(
            f"monitor={monitor} is no metric of images with {kind}, which {data.manifest.name} has",
            f"Add monitor={names[0]}, or another of {', '.join(names[1:])}.",
        )
    if defined and len(data.split.val) and math.isnan(_best_value(monitor, data)):
        raise UserError(
            f"monitor={monitor} is undefined for the validation part of {data.manifest.name}, which lacks the classes "
            "that it is computed from: no epoch would be better than the first",
            f"Add monitor={names[0]}, or choose another validation part (split.val, split.val_seed).",
        )


def _best_value(monitor: str, data: DataModule) -> float:
    """The metric of right predictions for all validation images; NaN where it is undefined for any predictions."""
    labels = torch.from_numpy(data.manifest.labels[data.split.val])
    classes = data.manifest.classes
    right = labels.nan_to_num() if data.multilabel else torch.nn.functional.one_hot(labels, len(classes))
    evaluation = Evaluation(right.float(), labels, torch.from_numpy(data.split.val), classes)
    thresholds = label_thresholds(evaluation) if data.multilabel else None
    return report_of(evaluation, data.tiers, thresholds).scalars()[monitor]


def _require_multilabel(module: partial[Any], method: str, settings: Mapping[str, object], dataset: str) -> None:
    """Refuses a stage that needs exactly one class per image.

    Args:
        module: its class with its options.
        method: the name of the stage's method.
        settings: those that need exactly one class, with their values.
        dataset: the name of the data set.
    """
    reason = f"and images of {dataset} carry several labels"
    if not getattr(module.func, "multilabel", False):
        raise UserError(
            f"{module.func.__name__} of method={method} needs exactly one class per image, {reason}",
            f"Use method=erm, alpa, asl, bce or mixup, with loss={'|'.join(multilabel_losses())}.",
        )
    loss = module.keywords.get("loss")
    if loss is not None and not is_multilabel(loss):
        name = getattr(inspect.unwrap(getattr(loss, "func", loss)), "__name__", str(loss))
        raise UserError(
            f"The loss {name} expects exactly one class per image, {reason}",
            f"Use one with a sigmoid per label: loss={'|'.join(multilabel_losses())}.",
        )
    for setting, value in settings.items():
        if value:
            raise UserError(f"{setting} needs exactly one class per image, {reason}", f"Leave {setting} out.")


def multilabel_losses() -> list[str]:
    """The choices of `loss=` that take several labels per image."""
    from hydra.utils import get_method

    from ltmed.config.paths import choices

    targets = {name: OmegaConf.select(OmegaConf.load(file), "_target_") for name, file in choices("loss").items()}
    return sorted(name for name, target in targets.items() if is_multilabel(get_method(target)))
