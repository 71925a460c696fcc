"""What every process of the tests does without: it costs time and shows nothing."""

import copy
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from hydra._internal import config_loader_impl as loader
from hydra._internal.defaults_list import Overrides

_CONF = Path(__file__).resolve().parents[1] / "conf"


def apply() -> None:
    """Call it before a configuration is composed or a file is written."""
    # libyaml's parser, from which OmegaConf derives its own: a fifth of the time of composing a configuration.
    yaml.SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    # What fsync is for, a power cut, no test can make; a killed process loses nothing that it wrote.
    os.fsync = _no_wait
    # Most tests compose a configuration, often with the same choices of groups: a sixth of all their time.
    for place, name, remembered in REMEMBERED:
        setattr(place, name, remembered(getattr(place, name)))


def _no_wait(fd: int) -> None:
    """In place of `os.fsync`."""


def _is_ours(repo: Any) -> bool:
    """Whether every configuration comes from `conf/` or a package, and so stays as it is while the tests run."""
    folders = [source.path for source in repo.get_sources() if source.scheme() == "file"]
    return all(Path(folder).resolve() == _CONF for folder in folders)


def _remembered_defaults(create: Callable[..., Any]) -> Callable[..., Any]:
    """Hydra's list of the files that make up a configuration, which depends on the choices of groups alone."""
    known: dict[Any, Any] = {}

    @functools.wraps(create)
    def remembered(repo: Any, config_name: Any, overrides_list: Any, prepend_hydra: bool, skip_missing: bool) -> Any:
        overrides = Overrides(repo=repo, overrides_list=overrides_list)
        settings = {id(override) for override in overrides.config_overrides}
        choices = tuple(override.input_line for override in overrides_list if id(override) not in settings)
        sources = tuple(str(source) for source in repo.get_sources())
        key = (sources, config_name, choices, prepend_hydra, skip_missing)
        if not _is_ours(repo):
            return create(repo, config_name, overrides_list, prepend_hydra, skip_missing)
        if key not in known:
            known[key] = create(repo, config_name, overrides_list, prepend_hydra, skip_missing)
        made = copy.copy(known[key])
        made.config_overrides = overrides.config_overrides
        return made

    return remembered


def _remembered_merge(merge: Callable[..., Any]) -> Callable[..., Any]:
    """Those files, read and merged."""
    known: dict[Any, Any] = {}

    @functools.wraps(merge)
    def remembered(self: Any, defaults: Any, repo: Any) -> Any:
        if not _is_ours(repo):
            return merge(self, defaults, repo)
        key = (tuple(str(source) for source in repo.get_sources()), repr(defaults))
        if key not in known:
            known[key] = merge(self, defaults, repo)
        return copy.deepcopy(known[key])

    return remembered


REMEMBERED = (
    (loader, "create_defaults_list", _remembered_defaults),
    (loader.ConfigLoaderImpl, "_compose_config_from_defaults_list", _remembered_merge),
)
"""Where Hydra has them, their names there, and what takes their place."""
