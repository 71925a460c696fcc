"""What every process of the tests does without: it costs time and shows nothing."""

import copy
import functools
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import omegaconf._utils
import omegaconf.base
import yaml
from hydra._internal import config_loader_impl as loader
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.defaults_list import Overrides
from hydra.core.override_parser.overrides_parser import OverridesParser

_CONF = Path(__file__).resolve().parents[1] / "conf"


def apply() -> None:
    """Call it once, before a configuration is composed or a file is written."""
    # libyaml's parser, from which OmegaConf derives its own: a fifth of the time of composing a configuration.
    yaml.SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    # What fsync is for, a power cut, no test can make; a killed process loses nothing that it wrote.
    os.fsync = _no_wait
    # Most tests compose a configuration, often with the same choices of groups: a sixth of all their time.
    for place, name, remembered in REMEMBERED:
        setattr(place, name, remembered(getattr(place, name)))
    # Before each composition Hydra copies its repository, whose parts it replaces and never changes.
    ConfigRepository.__deepcopy__ = lambda self, _: copy.copy(self)  # pyright: ignore[reportAttributeAccessIssue]


def apply_to_training() -> None:
    """Call it before something is trained; apart, because it imports Lightning."""
    from lightning.pytorch.trainer.connectors.logger_connector.result import _ResultMetric

    # A tenth of the time of a small run: every logged value is moved to the device, by way of all that it consists of.
    _ResultMetric.to = _moved_if_elsewhere(_ResultMetric.to)


def apply_to_exports() -> None:
    """Call it before a network is exported; apart, because it imports torch."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    # Half of the time of an export to ONNX: the sources of 500 translations of operators are read and parsed.
    registry: Any = ONNXRegistry
    registry.from_torchlib = classmethod(remembered_translations(registry.from_torchlib.__func__))


def remembered_translations(read: Callable[..., Any]) -> Callable[..., Any]:
    """The exporter's translations, to which an export may add its own."""
    known: dict[Any, Any] = {}

    @functools.wraps(read)
    def remembered(cls: Any, **version: Any) -> Any:
        key = tuple(version.items())
        if key not in known:
            known[key] = read(cls, **version)
        made = copy.copy(known[key])
        made.functions = {name: [*found] for name, found in known[key].functions.items()}
        return made

    return remembered


def _moved_if_elsewhere(move: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(move)
    def moved(self: Any, *args: Any, **kwargs: Any) -> Any:
        device = kwargs.get("device", args[0] if args else None)
        here = self.is_tensor and device is not None and str(self.value.device) == str(device)
        return self if here else move(self, *args, **kwargs)

    return moved


def _no_wait(fd: int) -> None:
    """In place of `os.fsync`."""


def _sources(repo: Any) -> tuple[Any, ...]:
    """Where configurations come from, with the files outside of `conf/`: those may change while the tests run."""
    sources = repo.get_sources()
    folders = [Path(source.path) for source in sources if source.scheme() == "file"]
    files = [file for folder in folders if folder.resolve() != _CONF for file in sorted(folder.rglob("*.yaml"))]
    return (*map(str, sources), *((str(file), file.read_bytes()) for file in files if file.is_file()))


def _remembered_defaults(create: Callable[..., Any]) -> Callable[..., Any]:
    """Hydra's list of the files that make up a configuration, which depends on the choices of groups alone."""
    known: dict[Any, Any] = {}

    @functools.wraps(create)
    def remembered(repo: Any, config_name: Any, overrides_list: Any, prepend_hydra: bool, skip_missing: bool) -> Any:
        overrides = Overrides(repo=repo, overrides_list=overrides_list)
        settings = {id(override) for override in overrides.config_overrides}
        choices = tuple(override.input_line for override in overrides_list if id(override) not in settings)
        key = (_sources(repo), config_name, choices, prepend_hydra, skip_missing)
        if key not in known:
            known[key] = create(repo, config_name, overrides_list, prepend_hydra, skip_missing)
        made = copy.copy(known[key])
        made.config_overrides = overrides.config_overrides
        return made

    return remembered


def _remembered_merge(merge: Callable[..., Any]) -> Callable[..., Any]:
    """Those files, read and merged."""
    known: dict[Any, bytes] = {}  # A copy by pickle takes a tenth of the time of a deep one.

    @functools.wraps(merge)
    def remembered(self: Any, defaults: Any, repo: Any) -> Any:
        key = (_sources(repo), repr(defaults))
        if key not in known:
            known[key] = pickle.dumps(merge(self, defaults, repo))
        return pickle.loads(known[key])

    return remembered


def _remembered_file(load: Callable[..., Any]) -> Callable[..., Any]:
    """One of those files, for a choice of groups that is not yet known."""
    known: dict[Any, bytes] = {}

    @functools.wraps(load)
    def remembered(self: Any, config_path: str) -> Any:
        key = (_sources(self), config_path)
        if key not in known:
            known[key] = pickle.dumps(load(self, config_path))
        return pickle.loads(known[key])

    return remembered


def _remembered_override(parse_rule: Callable[..., Any]) -> Callable[..., Any]:
    """An override of the command line, parsed."""
    known: dict[tuple[str, str], Any] = {}

    @functools.wraps(parse_rule)
    def remembered(self: Any, s: str, rule_name: str) -> Any:
        if (s, rule_name) not in known:
            known[s, rule_name] = parse_rule(self, s, rule_name)
        return copy.deepcopy(known[s, rule_name])

    return remembered


REMEMBERED = (
    (loader, "create_defaults_list", _remembered_defaults),
    (loader.ConfigLoaderImpl, "_compose_config_from_defaults_list", _remembered_merge),
    (ConfigRepository, "load_config", _remembered_file),
    (OverridesParser, "parse_rule", _remembered_override),
    # The syntax trees of interpolations, which nothing changes.
    (omegaconf.base, "parse", functools.lru_cache(None)),
    (omegaconf._utils, "parse", functools.lru_cache(None)),
)
"""Where Hydra and OmegaConf have them, their names there, and what takes their place."""
