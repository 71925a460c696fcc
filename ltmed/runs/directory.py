"""The folder of a run: named by its command, claimed by the first, refused to a different configuration.

The name says the overrides of the plain command, so two names may stand for one computation (`method=focal` and
`method=erm loss=focal`, or a setting that is written out with its default). Names decide where results are, and
`fingerprint` decides what is equal: a run that another folder already holds finished says so before it trains
(`ltmed.runs.facts.equal_run`), and reports count equal runs once.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ltmed.config.overrides import setting
from ltmed.config.resolve import OPTIONAL_GROUPS
from ltmed.errors import UserError
from ltmed.utils.files import write_atomic

CONFIG, METRICS = "config.yaml", "metrics.json"

# Settings of location and speed, which do not change results: neither part of the folder's name nor compared on resume.
LOCATION_SETTINGS = (
    "run_dir",
    "runs",
    "cache_dir",
    "logger",
    "class_losses",
    "figures",
    "dataset.root",
    "dataset.threads",
    "dataset.workers",
    "dataset.cache_dir",
    "dataset.extract_to",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.enable_progress_bar",
    "trainer.log_every_n_steps",
    "trainer.benchmark",
)
_IN_PATH = ("dataset", "method", "fold", "seed")
_MAX_NAME_LENGTH = 100


_NAME_KEYS = ("method.name", *OPTIONAL_GROUPS)
"""Keys whose values the stages hold as well: a method's name, and the groups that it is composed from."""


def run_dir_name(dataset: str, method: str, fold: int, seed: int, overrides: Iterable[str]) -> Path:
    """`<dataset>/<method>/<overrides>/fold<f>-seed<s>`: the same on every rank, machine, device count and day.

    Args:
        dataset: the choice of the group `dataset`.
        method: the method's name.
        fold: of the split.
        seed: of the training.
        overrides: of the plain command, in any order.
    """
    settings = distinguishing_settings(overrides)
    text = ",".join(re.sub(r"[^\w.=+@-]+", "_", override.replace("method.stages.", "")) for override in settings)
    if len(text) > _MAX_NAME_LENGTH or any(re.search(r"[^\w.=+@-]", override) for override in settings):
        # Long or lossy names stay unique through a hash of the exact overrides.
        text = f"{text[: _MAX_NAME_LENGTH - 9]}-{hashlib.sha256(','.join(settings).encode()).hexdigest()[:8]}"
    return Path(dataset, method, text or "default", f"fold{fold}-seed{seed}")


def distinguishing_settings(overrides: Iterable[str]) -> list[str]:
    """Sorted overrides that distinguish the runs of one method on one data set, fold and seed excepted."""
    return sorted(
        _as_swept(override) for override in overrides if not _is_location(override) and _key(override) not in _IN_PATH
    )


@cache
def _as_swept(override: str) -> str:
    """The override as Hydra's sweeper passes it to a job (`lr=1e-3`: `lr=0.001`), so that both use the same folder."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    if "=" not in override or "$" in override:  # A deletion; an interpolation, which Hydra would mask.
        return override
    parsed = OverridesParser.create().parse_override(override)
    return f"{parsed.get_key_element()}={parsed.get_value_element_as_str()}"


def _key(override: str) -> str:
    return setting(override).lstrip("+~")


def _is_location(override: str) -> bool:
    key = _key(override)
    return any(key == name or key.startswith(name + ".") for name in LOCATION_SETTINGS)


def without_location(overrides: Sequence[str]) -> list[str]:
    """The overrides without those of location and speed: what determines the results."""
    return [override for override in overrides if not _is_location(override)]


def only_location(overrides: Sequence[str]) -> list[str]:
    """The overrides of location and speed alone; every configuration has these settings."""
    return [override for override in overrides if _is_location(override)]


def identity(cfg: DictConfig) -> dict[str, Any]:
    """The flat `{dotted key: value}` of everything that changes a run's numbers."""
    flat = flatten(OmegaConf.to_container(cfg, resolve=True))
    return {key: value for key, value in flat.items() if not _is_location(key)}


def fingerprint(cfg: DictConfig) -> str:
    """Sixteen hex digits, equal for two resolved configurations that compute the same numbers from the same images."""
    numeric = {
        key: value
        for key, value in identity(cfg).items()
        if not any(key == name or key.startswith(name + ".") for name in _NAME_KEYS)
    }
    return hashlib.sha256(json.dumps(numeric, sort_keys=True).encode()).hexdigest()[:16]


def flatten(node: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings -> `{dotted key: leaf}`; lists are leaves."""
    if not isinstance(node, dict) or not node:
        return {prefix: node}
    return {
        key: value
        for name, child in node.items()
        for key, value in flatten(child, f"{prefix}.{name}" if prefix else str(name)).items()
    }


def claim(run_dir: Path, cfg: DictConfig) -> None:
    """Makes the folder and writes the resolved config into it, or checks that the existing one is the same.

    Raises:
        UserError: the folder belongs to a run with another configuration; names the keys that differ. Or it cannot
            be written.
    """
    file = run_dir / CONFIG
    if file.exists():
        require_same(run_dir, cfg)
        return
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        write_atomic(file, OmegaConf.to_yaml(cfg, resolve=True))
    except OSError as error:
        raise unwritable(run_dir, error) from None


def unwritable(run_dir: Path, error: OSError) -> UserError:
    """The error about a folder for a run that cannot be made or written."""
    return UserError(
        f"{run_dir} cannot be written: {error.strerror or error}", "Choose another folder with runs= or run_dir=."
    )


def require_same(run_dir: Path, cfg: DictConfig) -> None:
    """Checks that the run in the folder, if there is one, has this configuration; writes nothing.

    Raises:
        UserError: it has another one; names the keys that differ.
        DamagedRunError: config.yaml is empty, or something else.
    """
    file = run_dir / CONFIG
    if not file.exists():
        return
    try:
        began: Any = OmegaConf.to_container(OmegaConf.load(file))
    except (YAMLError, OmegaConfBaseException, OSError, ValueError):
        began = None
    if not isinstance(began, dict) or not began:
        raise DamagedRunError(file, "is not the configuration of a run")
    saved = {key: value for key, value in flatten(began).items() if not _is_location(key)}
    current = identity(cfg)
    differing = sorted(key for key in saved.keys() | current.keys() if saved.get(key) != current.get(key))
    if differing:
        listed = "; ".join(f"{key}: {saved.get(key)} there, {current.get(key)} now" for key in differing[:8])
        more = f"; and {len(differing) - 8} more" if len(differing) > 8 else ""
        raise UserError(
            f"{run_dir} holds a run with another configuration ({listed}{more})",
            "Choose another run_dir, or delete that folder.",
        )


class DamagedRunError(UserError):
    """A file of a run cannot be read, or is not what the run wrote.

    Args:
        file: in the run's folder.
        what: is wrong with it.
    """

    def __init__(self, file: Path, what: str) -> None:
        super().__init__(f"{file} {what}", f"Delete the folder {file.parent} and start its command again.")
