"""One job of `ltmed train`: what Hydra and its launchers call with a composed configuration."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import hydra
from omegaconf import DictConfig

from ltmed.cli.boundary import one_line_errors
from ltmed.config.data_root import require_root
from ltmed.config.overrides import choice
from ltmed.config.paths import conf
from ltmed.errors import DivergedError, PrunedError, UserError
from ltmed.studies import catalogue, search

_PARTS = ("loss", "sampler", "augment", "weak_augment")
"""What methods are put together from, where they want it."""


@hydra.main(version_base="1.3", config_path=str(conf()), config_name="config")
def run_job(cfg: DictConfig) -> float | None:
    """One job: what Hydra and its launchers call with a composed configuration."""
    try:
        with one_line_errors(single=not is_sweep()):
            if "study" not in cfg:
                require_root(cfg)
            from ltmed.train import train

            try:
                return train(with_run_dir(cfg))
            except PrunedError as pruned:
                if not search.is_search():
                    raise
                print(pruned.message, flush=True)
                return pruned.value
    except DivergedError:  # Reported already.
        if not search.is_search():
            raise
        search.count_failed_trial()
        return None


def is_sweep() -> bool:
    """True inside a job of `-m`."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def with_run_dir(cfg: DictConfig) -> DictConfig:
    """Fills `run_dir` from the command line's overrides, unless the user gave one.

    In a job of a study (`ltmed.studies.catalogue`), `cfg` becomes the configuration of its cell.
    """
    from hydra.core.hydra_config import HydraConfig

    from ltmed.config.compose import compose
    from ltmed.runs.directory import run_dir_name

    chosen = HydraConfig.get()
    dataset, words = chosen.runtime.choices["dataset"], list(chosen.overrides.task)
    catalogue.require_known(words)
    if "study" in cfg:
        words = catalogue.words_of_job(cfg, words)
        cfg, dataset = compose(words), choice(words, "dataset") or dataset
    _require_use(cfg, words)
    _require_direction(cfg.monitor)
    if cfg.run_dir is None and isinstance(cfg.runs, str):
        cfg.run_dir = str(Path(cfg.runs) / run_dir_name(cfg, dataset, words))
    return cfg


def _require_use(cfg: DictConfig, words: Sequence[str]) -> None:
    """Refuses a part that the method has no use for: a run of its own name, with the numbers of another."""
    from omegaconf import OmegaConf

    used = set(re.findall(r"\$\{(\w+)", OmegaConf.to_yaml(cfg.method)))
    for word in words:
        key = re.split(r"[=.]", word.lstrip("+"))[0]
        if key in _PARTS and key not in used:
            raise UserError(
                f"method={cfg.method.name} does not use {key}, so {word} would change nothing",
                "Leave it out, or choose another method.",
            )


def _require_direction(monitor: str) -> None:
    """Refuses a search for the worst run: Optuna minimises unless it is told otherwise."""
    from hydra.core.hydra_config import HydraConfig

    from ltmed.evaluation.metrics import SCALARS, better

    if not is_sweep() or monitor not in SCALARS:
        return
    wanted = {"min": "minimize", "max": "maximize"}[better(monitor)]
    given = HydraConfig.get().sweeper.get("direction")
    given = getattr(given, "name", given)
    if isinstance(given, str) and given != wanted:
        raise UserError(
            f"hydra.sweeper.direction={given} would look for the worst {monitor}",
            f"Add hydra.sweeper.direction={wanted}.",
        )
