"""From a composed configuration to the final one of a run, which is never changed afterwards."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ltmed.config.instantiate import per_stage
from ltmed.config.overrides import setting
from ltmed.errors import UserError

OPTIONAL_GROUPS = ("loss", "sampler", "augment", "weak_augment")
"""Config groups that methods are composed from; not every method uses all of them."""


def resolve(cfg: DictConfig, run_dir: Path) -> DictConfig:
    """A read-only copy without interpolations, with folder, precision, pixels and every stage's own settings filled in.

    The shorthands `epochs` and `batch_size` are spread over the stages and left out, and `dataset.image_size` is
    `image_size`, which readers are given: a setting stands in one place, so that two commands that compute the same
    have the same values.

    Args:
        cfg: as composed, and checked by `ltmed.config.validate`.
        run_dir: the run's folder.

    Raises:
        UserError: a precision that the device does not have, or weights that cannot be read.
    """
    from ltmed.config.pixels import resolve_pixels  # Imports torch, which reading a finished run does not need.

    plain = to_plain(cfg)
    stages = plain["method"]["stages"]
    for key in ("epochs", "batch_size"):
        for name, value in per_stage(plain.pop(key), list(stages), key).items():
            if value is not None:
                stages[name][key] = value
    plain["run_dir"] = str(run_dir)
    plain["runs"] = str(Path(plain["runs"]).expanduser())
    plain["cache_dir"] = _anywhere(plain["cache_dir"])
    for folder in ("root", "extract_to"):
        if plain["dataset"].get(folder) is not None:
            plain["dataset"][folder] = _anywhere(plain["dataset"][folder])
    plain["dataset"]["image_size"] = plain["image_size"]
    plain["pixels"] = resolve_pixels(cfg, run_dir)
    plain["trainer"]["precision"] = resolve_precision(plain["trainer"]["precision"], plain["trainer"]["accelerator"])
    return frozen(plain)


def _anywhere(folder: str) -> str:
    """An absolute path: a run that is evaluated or continued from another folder must not find other data there."""
    return os.path.abspath(os.path.expanduser(folder))


def frozen(plain: dict[str, Any]) -> DictConfig:
    """A resolved configuration, which refuses every change."""
    cfg = OmegaConf.create(plain)
    OmegaConf.set_struct(cfg, True)
    OmegaConf.set_readonly(cfg, True)
    return cfg


def to_plain(node: DictConfig) -> dict[str, Any]:
    """Nested dictionaries and lists, without interpolations."""
    plain = OmegaConf.to_container(node, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def resolve_precision(precision: str, accelerator: str) -> str:
    """`auto` -> bf16-mixed where the device computes in bfloat16, else 32-true; any other choice stays.

    Args:
        precision: `trainer.precision`.
        accelerator: `trainer.accelerator`, which may be `auto`.

    Raises:
        UserError: a precision that the device would silently replace by another one.
    """
    import torch

    on_gpu = accelerator != "cpu" and torch.cuda.device_count() > 0
    if precision == "16-mixed" and not on_gpu:
        raise UserError(
            "trainer.precision=16-mixed needs a GPU: CPUs would compute in bfloat16 instead",
            "Use trainer.precision=bf16-mixed or 32-true.",
        )
    if precision != "auto":
        return precision
    if on_gpu:
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16-mixed" if fast else "32-true"


def used_groups(cfg: DictConfig) -> tuple[str, ...]:
    """Those of `OPTIONAL_GROUPS` that the method uses: replacing one changes what `cfg.method` resolves to.

    Args:
        cfg: as composed, with its interpolations.
    """
    before = OmegaConf.to_container(cfg.method, resolve=True)
    other = cfg.copy()
    OmegaConf.set_readonly(other, False)

    def matters(group: str) -> bool:
        other[group] = {"_target_": "another choice"}
        try:
            return OmegaConf.to_container(other.method, resolve=True) != before
        except OmegaConfBaseException:  # The method reads a setting that only the replaced choice has.
            return True
        finally:
            other[group] = cfg[group]

    return tuple(group for group in OPTIONAL_GROUPS if group in cfg and matters(group))


def require_used(method: str, overrides: Sequence[str], used: Sequence[str]) -> None:
    """Refuses a choice of a group that the method does not use: the run would only get another name.

    Args:
        method: its name.
        overrides: of the command line.
        used: from `used_groups`.

    Raises:
        UserError: names the override.
    """
    for override in overrides:
        group = setting(override).lstrip("+~").split(".")[0].rpartition("@")[2]
        if group in OPTIONAL_GROUPS and group not in used:
            raise UserError(
                f"method={method} does not use {group}, so {override} would change nothing",
                "Leave it out, or choose another method.",
            )


def require_own(composed: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Refuses to remove a setting by way of an interpolation: it would be missing wherever that is referred to.

    Args:
        composed: plain, with its interpolations.
        overrides: that it was composed from.

    Raises:
        UserError: names the override.
    """
    for override in overrides:
        if not override.startswith("~"):
            continue
        node: Any = composed
        path = setting(override)[1:].split(".")
        for depth, key in enumerate(path[:-1], 1):
            node = node.get(key) if isinstance(node, Mapping) else None
            if isinstance(node, str) and node.startswith("${"):
                common, package, rest = node.strip("${}"), ".".join(path[:depth]), ".".join(path[depth:])
                own = f", or give this one its own with +{key}@{package}=NAME" if key in OPTIONAL_GROUPS else ""
                raise UserError(
                    f"{override} would remove it from {common} too, which {package} refers to",
                    f"Write ~{common}.{rest} for all stages{own}.",
                )
