"""Configurations and data sets from Hydra overrides, outside of a command line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ltmed.config.overrides import setting
from ltmed.config.paths import choices, conf
from ltmed.errors import UserError, suggest

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from ltmed.data.datamodule import DataModule
    from ltmed.data.manifest import Manifest


def compose(overrides: Sequence[str]) -> DictConfig:
    """The config that `ltmed train OVERRIDES` would have."""
    return compose_with_choices(overrides)[0]


def compose_with_choices(overrides: Sequence[str]) -> tuple[DictConfig, Mapping[str, str | None]]:
    """The config that `ltmed train OVERRIDES` would have, and config group -> its choice.

    Raises:
        HydraException: an override that cannot be read, or names what does not exist.
    """
    from hydra import compose as hydra_compose
    from omegaconf import open_dict

    with _hydra():
        cfg = hydra_compose("config", list(overrides), return_hydra_config=True)
        choices = dict(cfg.hydra.runtime.choices)
        with open_dict(cfg):
            del cfg["hydra"]
        return with_added_choices(cfg, overrides), choices


@contextmanager
def _hydra() -> Iterator[None]:
    """Where Hydra's `compose` has this package's configurations; inside a job it has them already."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from ltmed.config import search_path

    if GlobalHydra.instance().is_initialized():
        yield
        return
    search_path.register()
    with initialize_config_dir(str(conf()), version_base="1.3"):
        yield


def with_added_choices(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The composed configuration with every added choice as it is in its file.

    Hydra merges `+sampler@method.stages.NAME.sampler=class_balanced` into what `${sampler}` stands for there, whose
    settings would remain.

    Args:
        cfg: as Hydra composed it; it is not changed.
        overrides: that it was composed from.
    """
    from omegaconf import OmegaConf, open_dict

    added = [match[1] for text in overrides if (match := re.fullmatch(r"\+\w+@([\w.]+)=.+", text))]
    packages = [package for package in added if "." in package and OmegaConf.select(cfg, package) is not None]
    if not packages:
        return cfg
    from hydra import compose as hydra_compose

    with _hydra():
        apart = hydra_compose("config", [_moved(override, packages) for override in overrides])
    changed = cfg.copy()
    with open_dict(changed):
        for number, package in enumerate(packages):
            OmegaConf.update(changed, package, apart[_place(number)], merge=False)
    return changed


def _place(number: int) -> str:
    return f"_added_{number}"


def _moved(override: str, packages: Sequence[str]) -> str:
    """The override for a key at the top in place of one of `packages`: nothing else is merged into that."""
    key = setting(override)
    name = key.lstrip("+~").rpartition("@")[2]
    for number, package in enumerate(packages):
        if name == package or name.startswith(package + "."):
            return key.removesuffix(name) + _place(number) + name.removeprefix(package) + override.removeprefix(key)
    return override


def reader(name: str) -> type[DataModule]:
    """The class behind `dataset=NAME`.

    Raises:
        UserError: there is none.
    """
    from hydra.utils import get_class
    from omegaconf import OmegaConf

    files = choices("dataset")
    if name not in files:
        raise UserError(f"There is no data set '{name}'", suggest(name, files))
    return get_class(OmegaConf.select(OmegaConf.load(files[name]), "_target_"))


def read_manifest(cfg: DictConfig) -> tuple[Manifest, type[DataModule]]:
    """Reads the label files of `cfg.dataset`, also of one that no split could be trained on, and gives its class.

    Raises:
        UserError: any error that the reader raises.
    """
    from ltmed.config.data_root import require_root

    require_root(cfg.dataset)
    import numpy as np
    from hydra.utils import get_class

    from ltmed.config.instantiate import build
    from ltmed.config.targets import trusted
    from ltmed.data.splits.protocols import Split

    manifests: list[Manifest] = []

    def everything(manifest: Manifest, fold: int) -> Split:
        manifests.append(manifest)
        nothing = np.zeros(0, dtype=np.int64)
        return Split("everything", np.arange(len(manifest)), nothing, nothing)

    try:
        with trusted():  # The user's own configuration.
            build(
                cfg.dataset, image_size=cfg.image_size, fold=0, split=everything, evaluation=build(cfg.evaluation),
                cache_dir=cfg.cache_dir,
            )  # fmt: skip
    except UserError:
        if not manifests:  # Otherwise the error concerns training, such as a class without images.
            raise
    return manifests[0], get_class(cfg.dataset._target_)
