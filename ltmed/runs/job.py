"""One run before it starts: its resolved configuration, and the facts that only the command line knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ltmed.config import validate
from ltmed.config.compose import compose_with_choices
from ltmed.config.resolve import frozen, require_used, resolve, to_plain, used_groups
from ltmed.runs.directory import own_settings, run_dir_name


@dataclass(frozen=True)
class RunName:
    """What a run is called where it stands among others."""

    dataset: str
    """The choice of the group `dataset`."""
    method: str
    split: str
    """The choice of the group `split`."""
    settings: tuple[str, ...]
    """Further overrides, which tell the method's rows apart."""
    fold: int
    seed: int

    @property
    def group(self) -> str:
        """Data set and method."""
        return f"{self.dataset}-{self.method}"

    @property
    def version(self) -> str:
        """Fold and seed."""
        return f"fold{self.fold}-seed{self.seed}"

    @property
    def row(self) -> str:
        """What the repetitions of a run (its other folds and seeds) have in common: the method and its settings."""
        return f"{self.method} ({','.join(self.settings)})" if self.settings else self.method


@dataclass(frozen=True)
class Job:
    """What `ltmed.train.train` runs. Made by `plan`."""

    cfg: DictConfig
    """Resolved and read-only."""
    overrides: tuple[str, ...]
    """Of the plain command, as Hydra was given them."""
    choices: Mapping[str, str | None]
    """Config group -> what was chosen."""
    uses: tuple[str, ...]
    """Which optional groups the method uses (`ltmed.config.resolve.OPTIONAL_GROUPS`)."""

    @property
    def run_dir(self) -> Path:
        """The run's folder."""
        return Path(self.cfg.run_dir)

    @property
    def name(self) -> RunName:
        """For loggers."""
        return RunName(
            dataset=str(self.choices["dataset"]),
            method=str(self.cfg.method.name),
            split=str(self.choices["split"]),
            settings=tuple(word.replace("method.stages.", "") for word in own_settings(self.overrides)),
            fold=int(self.cfg.fold),
            seed=int(self.cfg.seed),
        )

    def to_json(self) -> dict[str, Any]:
        """For another process; `from_json` reads it."""
        facts = {"overrides": list(self.overrides), "choices": dict(self.choices), "uses": list(self.uses)}
        return {"cfg": to_plain(self.cfg), **facts}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Job:
        """What `to_json` gave."""
        return cls(frozen(saved["cfg"]), tuple(saved["overrides"]), saved["choices"], tuple(saved["uses"]))


def from_overrides(overrides: Sequence[str]) -> Job:
    """The job of `python run.py OVERRIDES`.

    Raises:
        UserError: a setting or a choice that cannot be.
        HydraException: Hydra cannot compose the overrides.
    """
    cfg, choices = compose_with_choices(overrides)
    return plan(cfg, overrides, choices)


def plan(cfg: DictConfig, overrides: Sequence[str], choices: Mapping[str, str | None]) -> Job:
    """Checks a composed configuration and resolves it; `cfg` itself is not changed.

    Args:
        cfg: as Hydra composed it.
        overrides: Hydra's task overrides (`hydra.overrides.task`).
        choices: Hydra's choices of config groups (`hydra.runtime.choices`).

    Raises:
        UserError: a setting or a choice that cannot be.
    """
    chosen = {group: choice for group, choice in choices.items() if not group.startswith("hydra/")}
    used = used_groups(cfg)
    require_used(cfg, overrides, used)
    validate.check(cfg)
    run_dir = cfg.run_dir
    if run_dir is None:
        run_dir = Path(cfg.runs, run_dir_name(str(chosen["dataset"]), cfg.method.name, cfg.fold, cfg.seed, overrides))
    return Job(resolve(cfg, Path(run_dir)), tuple(overrides), chosen, used)
