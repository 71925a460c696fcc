"""The settings that a run has: none may be missing, and one that nothing reads is refused, never ignored.

Hydra refuses a misspelt setting, but not one that is added (`+finetune.layer_deacy=0.5`), removed (`~features`) or
replaced by null. Arguments of what is built (losses, samplers, optimisers, ...) are checked by
`ltmed.config.instantiate`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import Any

from omegaconf import OmegaConf

from ltmed.config.paths import conf
from ltmed.config.resolve import OPTIONAL_GROUPS
from ltmed.errors import UserError, suggest

_GROUPS = ("augment", "backbone", "dataset", "evaluation", "logger", "loss", "method", "sampler", "split", "trainer")
"""Groups at the top of the configuration; every run has them."""
_METHOD, _NETWORK = ("name", "network", "stages"), ("classifier",)
_STAGE = ("epochs", "batch_size", "views", "keep", "augment", "sampler", "module", "optimizer", "schedule")
_BUILT = ("module", "optimizer")
"""Settings of a stage that are maps with a `_target_`. Augmentations may be lists, and others may be null."""


def require_structure(plain: dict[str, Any]) -> None:
    """Refuses a composed configuration that lacks a setting, or has one that nothing reads.

    Args:
        plain: nested dictionaries and lists with interpolations: a setting that one of them refers to is read.

    Raises:
        UserError: names the setting.
    """
    read = _referred_to(plain)
    for key, needed, optional in _sections(plain):
        section: Any = plain
        for part in key.split(".") if key else ():
            section = section[part]
        _require_map(key, section)
        if isinstance(section, str):
            continue
        for name in needed:
            if name not in section:
                raise UserError(
                    f"{_below(key, name)} is missing, and every run needs it", "Leave out what removes or replaces it."
                )
        for name, value in section.items():
            # A group that only chooses others, as protocol=paper does, leaves an empty map at the top.
            if name not in (*needed, *optional) and name not in read and not (key == "" and value == {}):
                where = f" in '{key}'" if key else ""
                raise UserError(
                    f"There is no setting '{name}'{where}, so it would change nothing",
                    suggest(str(name), [*needed, *optional]),
                )
    for key in _GROUPS:
        _require_map(key, plain[key])
    _require_map("method.network.classifier", plain["method"]["network"]["classifier"])
    for name, stage in plain["method"]["stages"].items():
        for part in _BUILT:
            _require_map(f"method.stages.{name}.{part}", stage[part])
        for part in ("augment", "sampler"):
            if stage[part] is None:
                raise UserError(f"method.stages.{name}.{part}=null is not possible", "Every stage needs one.")
    method = "null" if plain["method"]["name"] is None else plain["method"]["name"]
    if not isinstance(method, str) or not re.fullmatch(r"(?!null$)[\w.+-]+", method):
        raise UserError(f"method.name={method} is not possible", "It names a folder: letters, digits, '_' and '-'.")


def _sections(plain: Mapping[str, Any]) -> Iterator[tuple[str, Collection[str], Collection[str]]]:
    """(key, settings that it needs, settings that it may have) of every part whose settings ltmed reads itself.

    A part comes after the one that it lies in, which has been checked by then.
    """
    common = _common()
    yield "", (*common, *_GROUPS), OPTIONAL_GROUPS
    yield from ((key, common[key], ()) for key in ("pixels", "features", "finetune"))
    if plain["finetune"]["peft"] is not None:
        yield "finetune.peft", common["finetune"]["peft"], ()
    yield "method", _METHOD, ("freeze",)
    yield "method.network", _NETWORK, ("projector",)
    _require_map("method.stages", plain["method"]["stages"])
    yield from ((f"method.stages.{name}", _STAGE, ()) for name in plain["method"]["stages"])


@cache
def _common() -> dict[str, Any]:
    """The content of conf/config.yaml, without what is Hydra's."""
    common: Any = OmegaConf.to_container(OmegaConf.load(conf() / "config.yaml"), resolve=False)
    return {key: value for key, value in common.items() if key not in ("defaults", "hydra")}


def _referred_to(node: Any) -> set[str]:
    """Names of all settings that interpolations refer to, on every level."""
    if isinstance(node, Mapping):
        return set().union(*map(_referred_to, node.values()))
    if isinstance(node, list):
        return set().union(*map(_referred_to, node))
    return {name for part in re.findall(r"\$\{([^{}]*)", str(node)) for name in re.findall(r"\w+", part)}


def _require_map(key: str, section: Any) -> None:
    if not isinstance(section, Mapping) and not str(section).startswith("${"):  # What it refers to is built.
        value = "null" if section is None else section
        raise UserError(f"{key}={value} is not possible", f"It is a map of settings: {key}.NAME=VALUE.")


def _below(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
