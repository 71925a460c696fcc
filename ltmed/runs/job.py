"""One run before it starts: its resolved configuration, and the facts that only the command line determines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from ltmed.config import validate
from ltmed.config.compose import compose_with_choices
from ltmed.config.effect import require_effect
from ltmed.config.instantiate import is_frozen
from ltmed.config.resolve import frozen, require_own, require_used, resolve, to_plain, used_groups
from ltmed.config.structure import require_structure
from ltmed.config.targets import trusted
from ltmed.runs.directory import distinguishing_settings, fingerprint, flatten, run_dir_name


@dataclass(frozen=True)
class RunName:
    """The parts of a run's name in tables and loggers."""

    dataset: str
    """The choice of the group `dataset`."""
    method: str
    split: str
    """The choice of the group `split`."""
    settings: tuple[str, ...]
    """Further overrides, which distinguish the rows of one method."""
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
    """What `ltmed.train.train` runs. Made by `plan`, or by `job_of` without a command line."""

    cfg: DictConfig
    """Resolved and read-only."""
    overrides: tuple[str, ...]
    """Of the plain command, as Hydra received them."""
    run_dir: Path
    name: RunName
    facts: Mapping[str, Any]
    """What run.json says from the start: choices, uses, fingerprint, folder, split_seeds (`ltmed.runs.facts`)."""

    @classmethod
    def of(
        cls, cfg: DictConfig, overrides: Sequence[str], choices: Mapping[str, str | None], uses: Sequence[str]
    ) -> Job:
        """From a resolved configuration, overrides, the choice of each config group, and the groups that are used."""
        dataset, method, fold, seed = str(choices["dataset"]), str(cfg.method.name), int(cfg.fold), int(cfg.seed)
        settings = tuple(override.replace("method.stages.", "") for override in distinguishing_settings(overrides))
        split = flatten({"split": to_plain(cfg.split)})
        run_dir, derived = Path(cfg.run_dir), run_dir_name(dataset, method, fold, seed, overrides)
        facts = {
            "choices": dict(choices),
            "uses": list(uses),
            "fingerprint": fingerprint(cfg),
            "folder": derived.as_posix() if run_dir == Path(cfg.runs, derived) else None,
            "split_seeds": _split_seeds(split),
        }
        name = RunName(dataset, method, str(choices.get("split")), settings, fold, seed)
        return cls(cfg, tuple(overrides), run_dir, name, facts)

    def to_json(self) -> dict[str, Any]:
        """For another process; `from_json` reads it."""
        facts = {key: self.facts[key] for key in ("choices", "uses")}
        return {"cfg": to_plain(self.cfg), "overrides": list(self.overrides), **facts}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Job:
        """The job that `to_json` described."""
        return cls.of(frozen(saved["cfg"]), saved["overrides"], saved["choices"], saved["uses"])


def _split_seeds(split: Mapping[str, Any]) -> dict[str, int]:
    """The seeds among the flat settings of a split; one that is null follows another one."""
    seeds = (key for key in sorted(split) if key.rpartition(".")[2] in ("seed", "val_seed"))
    return {key: split[key] for key in seeds if split[key] is not None}


def job_of(overrides: Sequence[str]) -> Job:
    """The job of `ltmed train OVERRIDES`.

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
    composed = cast("dict[str, Any]", OmegaConf.to_container(cfg, resolve=False))
    require_structure(composed)
    selected = {group: choice for group, choice in choices.items() if not group.startswith("hydra/")}
    used = used_groups(cfg)
    require_used(cfg.method.name, overrides, used)
    require_own(composed, overrides)
    with trusted():  # The user wrote this command, so it may build any class.
        validate.check(cfg)
        require_effect(to_plain(cfg), overrides, frozen=is_frozen(cfg))
        return Job.of(resolve(cfg, folder_of(cfg, overrides, choices)), overrides, selected, used)


def folder_of(cfg: DictConfig, overrides: Sequence[str], choices: Mapping[str, str | None]) -> Path:
    """The folder of a run: the one that `run_dir` says, or one named by the configuration; arguments as for `plan`."""
    if cfg.run_dir is not None:
        return Path(str(cfg.run_dir)).expanduser()
    name = run_dir_name(str(choices["dataset"]), cfg.method.name, cfg.fold, cfg.seed, overrides)
    return Path(str(cfg.runs)).expanduser() / name
