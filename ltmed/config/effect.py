"""Settings that would change nothing beside the others of their command are refused: they would only name the run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from hydra.errors import HydraException
from hydra.utils import get_object

from ltmed.config.compose import compose
from ltmed.config.instantiate import is_frozen, per_stage
from ltmed.config.overrides import setting
from ltmed.config.paths import choices, groups
from ltmed.errors import UserError

_FOLD, _SPLIT, _EPOCHS, _SEED = "fold=N", "split=NAME", "epochs=N", "seed=N"
_GIVEN: dict[str, dict[str, str]] = {
    "dataset": {
        "fold": _FOLD, "split": _SPLIT, "evaluation": "augment@evaluation=NAME", "cache_dir": "cache_dir=DIR",
        "interpolation": "pixels.interpolation=NAME",
    },
    "logger": {"name": "run_dir=DIR", "run_dir": "run_dir=DIR", "config": ""},
    "split": {"manifest": "", "fold": _FOLD},
    "inner": {"manifest": "", "fold": _FOLD},
    "sampler": {"labels": "", "batch_size": "batch_size=N", "epochs": _EPOCHS, "seed": _SEED},
    "loss": {"logits": "", "labels": "", "counts": ""},
    "module": {"network": "", "context": ""},
    "optimizer": {"params": ""},
    "schedule": {"optimizer": "", "total_steps": _EPOCHS},
    "classifier": {"in_features": "", "out_features": "", "num_classes": ""},
}  # fmt: skip
"""Last part of a key -> arguments that ltmed passes itself to what is built there, and the setting that they follow."""

_PLACES = ("dataset", "logger", "split", "split.inner", "sampler", "loss")
"""Keys that this is about, besides those below `method`."""


def require_effect(plain: dict[str, Any], overrides: Sequence[str], *, frozen: bool) -> None:
    """Refuses settings that depend on one which is not set, that another one replaces, or that a stage does not use.

    Args:
        plain: the composed configuration without interpolations, checked by `ltmed.config.validate`.
        overrides: of the command line.
        frozen: whether the encoder is not trained.

    Raises:
        UserError: names the setting, and what it belongs to.
    """
    _require_choices(overrides)
    _require_free(plain)
    backbone = plain["backbone"]
    # An encoder of others, or one whose position embeddings are interpolated in every step, may have a size of its own.
    size = backbone.get("image_size") if _is_ours(backbone) and not backbone.get("dynamic_img_size") else None
    if size is not None and size != plain["image_size"]:
        raise UserError(
            f"backbone.image_size={size} is not possible for images of {plain['image_size']} pixels",
            f"Set image_size={size}, which the backbone follows.",
        )
    for key, partner in _without_partner(plain, frozen=frozen):
        raise UserError(f"{key} has no effect without {partner}", f"Leave it out, or add {partner}.")
    keys = {setting(override).lstrip("+~").rpartition("@")[2]: override for override in overrides}
    _require_not_replaced(plain, keys)
    for split in ("split", "split.inner"):
        settings = plain["split"] if split == "split" else plain["split"].get("inner") or {}
        if f"{split}.folds" in keys and settings.get("test") is not None:
            raise UserError(
                f"{split}.folds has no effect beside {split}.test={settings['test']}, a test set in place of folds",
                "Leave out one of them.",
            )
    for name, stage in plain["method"]["stages"].items():
        for part in _unused_by(stage["module"].get("_target_")):
            key = f"method.stages.{name}.{part}"
            given = next((text for other, text in keys.items() if f"{other}.".startswith(f"{key}.")), None)
            if given is not None:
                raise UserError(
                    f"{given} has no effect: stage '{name}' computes its classifier instead of training it",
                    "Leave it out.",
                )


def _require_not_replaced(plain: dict[str, Any], keys: dict[str, str]) -> None:
    """Refuses settings that `ltmed.config.resolve` replaces by a shorter one with another value.

    Args:
        plain: as for `require_effect`.
        keys: key -> override of the command line.
    """
    if "dataset.image_size" in keys and plain["dataset"]["image_size"] != plain["image_size"]:
        raise UserError(
            f"{keys['dataset.image_size']} has no effect beside image_size={plain['image_size']}",
            "Leave out one of them.",
        )
    stages = plain["method"]["stages"]
    for key in ("epochs", "batch_size"):
        for name, value in per_stage(plain[key], list(stages), key).items():
            own = f"method.stages.{name}.{key}"
            if own in keys and value is not None and value != stages[name][key]:
                raise UserError(
                    f"{keys[own]} has no effect beside {key}, which gives stage '{name}' {value}",
                    f"Leave out one of them, or name the stages: {key}={{{name}:{stages[name][key]}}}.",
                )


def with_effect(overrides: Sequence[str]) -> list[str]:
    """The overrides of one run without those of cached features (`features.NAME`) if its encoder is trained, and
    without `finetune.compile` if it has such features.

    Overrides that several runs share are for all that can use them.
    """
    cfg = compose(overrides)
    unused = ("features.",) if not is_frozen(cfg) else ("finetune.compile",) if cfg.features.cache else ()
    return [override for override in overrides if not setting(override).lstrip("+~").startswith(unused)]


def _unused_by(target: Any) -> Sequence[str]:
    """`Stage.unused` of a class; of one that cannot be found, which is reported where it is built, nothing."""
    try:
        return getattr(get_object(target), "unused", ())
    except (HydraException, ImportError, AttributeError, ValueError, TypeError):
        return ()


def _require_free(node: Any, path: str = "") -> None:
    """Refuses arguments that ltmed sets itself: a value of the configuration is overwritten, or fails hours later."""
    if isinstance(node, list):
        for child in node:
            _require_free(child, path)
    if not isinstance(node, dict):
        return
    below = path.startswith("method.") and not re.fullmatch(r"method\.stages\.\w+", path)
    kind = path.rpartition(".")[2].removeprefix("m_")  # The sampler of LMD's M step.
    for name, meant in _GIVEN.get(kind, {}).items() if below or path in _PLACES else ():
        if name in node:
            raise UserError(
                f"{path}.{name} is no setting: ltmed passes it itself", f"Set {meant}." if meant else "Leave it out."
            )
    if kind == "module" and not _is_ours(node):
        return  # What a stage of others makes of its own settings is not known.
    for name, child in node.items():
        _require_free(child, f"{path}.{name}" if path else str(name))


def _is_ours(node: dict[str, Any]) -> bool:
    """Whether a node builds a class or function of ltmed."""
    return str(node.get("_target_")).startswith("ltmed.")


def _require_choices(overrides: Sequence[str]) -> None:
    """Refuses `loss={...}` and `augment=[...]`: Hydra ignores a map, and merges the choices of a list into one."""
    for override in overrides:
        key, _, value = override.partition("=")
        group = key.lstrip("+~").partition("@")[0]
        if group in groups() - {"callbacks"} and value.lstrip().startswith(("{", "[")):
            name = next(iter(choices(group)), "NAME")
            raise UserError(
                f"{override} is not possible: a group takes the name of one choice",
                f"For instance {group}={name}; settings of it are {group}.NAME=VALUE.",
            )


def _without_partner(plain: dict[str, Any], *, frozen: bool) -> Iterator[tuple[str, str]]:
    """(setting, what it belongs to) of all settings without what they belong to."""
    features, finetune, trainer = plain["features"], plain["finetune"], plain["trainer"]
    if not frozen:
        if not features["cache"]:
            yield "features.cache=false", "backbone.freeze=true"
        yield from ((key, "backbone.freeze=true") for key in _of_the_cache(features))
    elif not features["cache"]:
        yield from ((key, "features.cache=true") for key in _of_the_cache(features))
    stages = list(plain["method"]["stages"])
    averaged = per_stage(finetune["ema"], stages, "finetune.ema")
    warmed = per_stage(finetune["ema_warmup"], stages, "finetune.ema_warmup")
    if any(warmed.values()) and not any(warmed[name] and averaged[name] is not None for name in stages):
        yield "finetune.ema_warmup", "finetune.ema=0.999"
    if frozen and features["cache"] and any(per_stage(finetune["compile"], stages, "finetune.compile").values()):
        yield "finetune.compile", "features.cache=false"
    peft = finetune["peft"] or {"rank": None}
    if peft["rank"] is None:
        for key in ("alpha", "targets", "dropout"):
            if peft.get(key):
                yield f"finetune.peft.{key}", "finetune.peft.rank=8"
    if trainer.get("gradient_clip_algorithm") and not trainer.get("gradient_clip_val"):
        yield "trainer.gradient_clip_algorithm", "trainer.gradient_clip_val=1"


def _of_the_cache(features: dict[str, Any]) -> Iterator[str]:
    if features["views"] is not None:
        yield f"features.views={features['views']}"
    if features["dtype"] != "float32":
        yield f"features.dtype={features['dtype']}"
