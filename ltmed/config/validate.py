"""The values that the settings of a run may have: one table, checked before the run has a folder or has read any data.

Names of settings are checked by Hydra and by `ltmed.config.instantiate`; settings of one method, loss or augmentation
by their own constructors.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from ltmed.config.instantiate import build, per_stage
from ltmed.config.trainer import check_trainer
from ltmed.data.cache.intensity import MODES
from ltmed.errors import UserError, suggest
from ltmed.evaluation.scalars import ALL_SCALARS, better


@dataclass(frozen=True)
class Kind:
    """The values that a setting may have."""

    fits: Callable[[Any], bool]
    description: str
    """Ends the sentence "It must be ..."."""
    choices: tuple[str, ...] = ()
    """The possible values, if there are only a few: suggested for a misspelt one."""


def _whole(low: int, high: int | None = None) -> Kind:
    description = f"a whole number, at least {low}" if high is None else f"a whole number from {low} to {high}"
    return Kind(lambda value: type(value) is int and low <= value and (high is None or value <= high), description)


def _number(low: float) -> Kind:
    return Kind(
        lambda value: type(value) in (int, float) and math.isfinite(value) and value >= low,
        f"a number, at least {low:g}",
    )


def _one_of(*names: str) -> Kind:
    return Kind(lambda value: str(value) in names, "one of " + ", ".join(names), names)


def _or_null(kind: Kind, meaning: str = "") -> Kind:
    description = f"{kind.description}, or null" + (f" ({meaning})" if meaning else "")
    return Kind(lambda value: value is None or kind.fits(value), description, kind.choices)


def _or_map(kind: Kind) -> Kind:
    return Kind(
        lambda value: isinstance(value, dict) or kind.fits(value), f"{kind.description}, or a map {{stage: value}}"
    )


_FLAG = Kind(lambda value: type(value) is bool, "true or false")
_TEXT = Kind(lambda value: isinstance(value, str) and bool(value.strip()), "a name")
_PATH = Kind(_TEXT.fits, "a path (an empty one may be an unset variable of the shell; 2026 is written ./2026)")
_NAMES = Kind(
    lambda value: isinstance(value, list) and all(isinstance(name, (str, int, float)) for name in value),
    "a list of names",  # A class may be called 0 or FALSE.
)
_FRACTION = Kind(lambda value: type(value) is float and 0 < value < 1, "a fraction between 0 and 1, for instance 0.2")
_CHANNELS = Kind(
    lambda value: isinstance(value, list) and len(value) == 3 and all(_FRACTION.fits(part) for part in value),
    "three fractions between 0 and 1, for instance [0.5,0.5,0.5]",
)
_MODEL = Kind(
    lambda value: _TEXT.fits(value) and value != "???",
    "a model of timm, for instance backbone.name=efficientnet_b0 (timm.list_models() has all)",
)
_DEVICES = Kind(
    lambda value: (type(value) is int and value >= 1) or value in (-1, "auto"),
    "a number of processes, -1 or auto (every GPU); which GPUs: CUDA_VISIBLE_DEVICES=0,1",
)
_BATCHES = Kind(
    lambda value: _whole(1).fits(value) or (type(value) is float and 0 < value <= 1),
    "a number of batches an epoch, at least 1, or a fraction such as 0.1",
)
_PER_STAGE = Kind(
    lambda value: value is None or _whole(1).fits(value) or (isinstance(value, dict) and bool(value)),
    "a whole number, at least 1, a map {stage: number}, or null (the method's own)",
)
ARTIFACTS = ("checkpoint", "predictions", "card")
"""Artifacts of a run that may be uploaded to Weights & Biases (`ltmed.logging.wandb_artifacts`)."""
_PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")
"""One name for each; images are normalised in 32 bits, so that networks of other types (bf16-true) cannot take them."""

_STEPS = 1_000_000
"""Length of the schedule that is made to check its settings: more than any warm-up that is counted in steps."""

_SPLIT = {
    "folds": _whole(2),
    "test": _or_null(_FRACTION, "folds"),
    "val": _or_null(_FRACTION),
    "seed": _whole(0),
    "val_seed": _or_null(_whole(0), "split.seed"),
    "pool": _one_of("train", "all"),
    "ratio": _number(1),
    "fixed_test": _FLAG,
}
_STAGE = {
    "epochs": _whole(1),
    "batch_size": _or_null(_whole(1)),
    "views": _whole(1, 2),
    "keep": _one_of("best", "last"),
    "optimizer.lr": _number(0),
    "optimizer.momentum": _number(0),
    "optimizer.weight_decay": _number(0),
}
_FINETUNE = {
    "freeze_epochs": _whole(0),
    "head_lr_scale": _number(0),
    "layer_decay": _or_null(Kind(lambda value: type(value) in (int, float) and 0 < value <= 1, "a number up to 1")),
    "ema": _or_null(_FRACTION),
    "ema_warmup": _FLAG,
    "class_means": _or_null(_number(1e-6)),
    "accumulate": _whole(1),
    "early_stopping": _or_null(_whole(0)),
    "compile": _FLAG,
}
SETTINGS: dict[str, Kind] = {
    "seed": _whole(0),
    "fold": _whole(0),
    "epochs": _PER_STAGE,
    "epochs.*": _or_null(_whole(1), "the method's own"),
    "batch_size": _PER_STAGE,
    "batch_size.*": _or_null(_whole(1), "the method's own"),
    "dataset.image_size": _whole(8),  # Before `image_size`, which defaults to it.
    "image_size": _whole(8),
    "monitor": _one_of(*ALL_SCALARS),
    "monitor_mode": _one_of("max", "min"),
    "class_losses": _FLAG,
    "figures": _FLAG,
    "pixels.mean": _or_null(_CHANNELS, "the weights' own"),
    "pixels.std": _or_null(_CHANNELS, "the weights' own"),
    "pixels.interpolation": _or_null(_one_of("bilinear", "bicubic"), "the weights' own"),
    "runs": _PATH,
    "run_dir": _or_null(_PATH, "made from the command"),
    "cache_dir": _PATH,
    "dataset.root": _or_null(_PATH),
    "dataset.cache_scale": _number(0.1),
    "dataset.cache_budget_gb": _number(0),
    "dataset.fit": _one_of("squash", "crop"),
    "dataset.intensity": Kind(
        lambda value: value in MODES or (isinstance(value, list) and len(value) == 2),
        f"one of {', '.join(MODES)}, or a fixed range [LOW,HIGH]",
        MODES,
    ),
    "dataset.on_bad_image": _one_of("error", "skip"),
    "dataset.threads": _or_null(_whole(1), "as many as keep up"),
    "dataset.workers": _whole(0, 1024),
    "dataset.head": _or_null(_NAMES),
    "dataset.tail": _or_null(_NAMES),
    "dataset.allow_empty": _FLAG,
    "dataset.allow_group_leakage": _FLAG,
    **{f"split.{key}": kind for key, kind in _SPLIT.items()},
    **{f"split.inner.{key}": kind for key, kind in _SPLIT.items()},
    "trainer.accelerator": _one_of("auto", "cpu", "gpu", "cuda"),
    "trainer.devices": _DEVICES,
    "trainer.num_nodes": _whole(1),
    "trainer.precision": _one_of(*_PRECISIONS),
    "trainer.gradient_clip_val": _or_null(_number(0)),
    "trainer.gradient_clip_algorithm": _or_null(_one_of("norm", "value")),
    "trainer.accumulate_grad_batches": _whole(1),
    "trainer.limit_train_batches": _or_null(_BATCHES),
    "trainer.deterministic": Kind(lambda value: value in (True, False, None, "warn"), "true, false or warn"),
    "trainer.detect_anomaly": _FLAG,
    "trainer.sync_batchnorm": _FLAG,
    "trainer.log_every_n_steps": _whole(1),
    "trainer.benchmark": _or_null(_FLAG),
    "trainer.enable_progress_bar": _FLAG,
    "logger.project": _or_null(_TEXT),
    "logger.entity": _or_null(_TEXT, "the account's default"),
    "logger.offline": _FLAG,
    "logger.attempt": _whole(0),
    "logger.artifacts": Kind(
        lambda value: isinstance(value, list) and all(name in ARTIFACTS for name in value),
        f"a list of {', '.join(ARTIFACTS)}, or of some of them",
    ),
    "backbone.name": _MODEL,
    "backbone.pretrained": _FLAG,
    "backbone.weights": _or_null(_PATH),
    "backbone.freeze": _or_null(_FLAG, "as the method has it"),
    "features.cache": _FLAG,
    "features.views": _or_null(_whole(1, 64)),
    "features.dtype": _one_of("float32", "float16"),
    **{
        f"finetune.{option}{part}": kind
        for option, kind in _FINETUNE.items()
        for part, kind in (("", _or_map(kind)), (".*", _or_null(kind)))
    },
    "finetune.peft.rank": _or_null(_whole(1)),
    "finetune.peft.alpha": _or_null(_number(0)),
    "finetune.peft.targets": _or_null(_NAMES),
    "finetune.peft.dropout": _number(0),
    "method.stages": Kind(lambda value: isinstance(value, dict) and bool(value), "a map of stages"),
    **{f"method.stages.*.{key}": kind for key, kind in _STAGE.items()},
}
"""Setting -> its values; a part `*` stands for any name. Settings that a config does not have are skipped."""


def check(cfg: DictConfig) -> None:
    """Refuses a config with a setting of a wrong type or out of its range.

    Args:
        cfg: as composed.

    Raises:
        UserError: names the first such setting of the table and what it may be, a setting of Lightning's trainer that
            would have no effect, a stage that the method does not have, settings of a stage without the sampler,
            augmentation or loss that they belong to, a random view of test images, a `monitor_mode` that would select
            the worst epoch, or an optimiser or schedule that cannot be made.
    """
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    check_trainer(plain["trainer"])
    for pattern, kind in SETTINGS.items():
        for key, value in _matching(plain, pattern.split(".")):
            if not kind.fits(value):
                hint = suggest(str(value), kind.choices) if kind.choices else ""
                requirement = hint if hint.startswith("Did") else f"It must be {kind.description}."
                raise UserError(f"{key}={_as_written(value)} is not possible", requirement)
    if cfg.monitor_mode != better(cfg.monitor):
        raise UserError(
            f"monitor={cfg.monitor} with monitor_mode={cfg.monitor_mode} would keep the worst epoch",
            f"Add monitor_mode={better(cfg.monitor)}.",
        )
    for key in ("epochs", "batch_size"):
        per_stage(cfg[key], list(cfg.method.stages), key)
    for key, group in (("sampler", "sampler"), ("augment", "augment"), ("module.loss", "loss")):
        for name, node in _matching(plain, f"method.stages.*.{key}".split(".")):
            _require_choice(name, node, group)
    _require_repeatable(cfg.evaluation, cfg.image_size)
    for name, recipe in cfg.method.stages.items():
        _check_optimizer(f"method.stages.{name}", recipe.optimizer, recipe.schedule)


def _matching(node: Any, parts: Sequence[str], path: str = "") -> Iterator[tuple[str, Any]]:
    """(key, value) of every setting that the parts of a pattern stand for."""
    if not isinstance(node, dict):
        return
    head, *rest = parts
    for name in list(node) if head == "*" else [head] * (head in node):
        key = f"{path}.{name}" if path else str(name)
        if rest:
            yield from _matching(node[name], rest, key)
        else:
            yield key, node[name]


def _as_written(value: Any) -> str:
    """A value as it is written on the command line."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _require_choice(key: str, node: Any, group: str) -> None:
    """Refuses settings without what they belong to: they replaced the `${sampler}` of a stage."""
    if isinstance(node, dict) and "_target_" not in node:
        raise UserError(
            f"{key}={_as_written(node)} is not possible",
            f"Set {group}.NAME=VALUE for all stages, or add +{group}@{key}=NAME for one of its own.",
        )


def _require_repeatable(evaluation: DictConfig, image_size: int) -> None:
    """Refuses a random view of validation and test images: `ltmed predict` would see others than the run."""
    view = build(evaluation)
    side = 2 * max(view.size or 0, image_size)
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    for seed, output in enumerate(outputs := np.empty((8, *2 * [view.size or side], 3), np.uint8)):
        view(image.copy(), np.random.default_rng(seed), output)
    if (outputs != outputs[0]).any():
        raise UserError(
            "Validation and test images would have a random view (augment@evaluation), another one in ltmed predict",
            "Use augment@evaluation=none; ltmed evaluate --tta averages several views.",
        )


def _check_optimizer(stage: str, optimizer: DictConfig, schedule: DictConfig | None) -> None:
    """Builds both for one number, so that wrong settings fail now and not when the stage starts, hours later."""
    import torch

    key = f"{stage}.optimizer"
    try:
        made = build(optimizer)([torch.nn.Parameter(torch.zeros(1))])
        if schedule is not None:
            key = f"{stage}.schedule"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                build(schedule)(made, _STEPS)
    except (TypeError, ValueError) as error:
        raise UserError(f"{key} cannot be made: {error}", "Correct the setting that it names.") from None
