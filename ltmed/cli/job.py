"""One job of `ltmed train`: what Hydra and its launchers call with a composed configuration."""

from __future__ import annotations

from typing import Any, cast

import hydra
from omegaconf import DictConfig, OmegaConf

from ltmed.cli.boundary import one_line_errors
from ltmed.config.compose import with_added_choices
from ltmed.config.data_root import require_root
from ltmed.config.paths import conf
from ltmed.config.structure import require_structure
from ltmed.errors import DivergedError, PrunedError, UserError
from ltmed.studies import search


@hydra.main(version_base="1.3", config_path=str(conf()), config_name="config")
def run_job(cfg: DictConfig) -> float | None:
    """One job: what Hydra and its launchers call with a composed configuration."""
    from hydra.core.hydra_config import HydraConfig

    hydra_config = HydraConfig.get()
    try:
        with one_line_errors(single=not is_sweep()):
            from ltmed.runs.job import folder_of, plan
            from ltmed.training import header

            overrides, choices = list(hydra_config.overrides.task), dict(hydra_config.runtime.choices)
            cfg = with_added_choices(cfg, overrides)
            require_structure(cast("dict[str, Any]", OmegaConf.to_container(cfg, resolve=False)))
            require_root(cfg.dataset)
            _require_direction(cfg.monitor)
            header.announce(cfg, str(choices["dataset"]), folder_of(cfg, overrides, choices))

            from ltmed.train import train  # Imports torch.
            from ltmed.training.termination import end_with_sweep

            end_with_sweep()
            try:
                return train(plan(cfg, overrides, choices))
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


def _require_direction(monitor: str) -> None:
    """Refuses a search for the worst run: Optuna minimises by default."""
    from hydra.core.hydra_config import HydraConfig

    from ltmed.evaluation.scalars import ALL_SCALARS, better

    if not is_sweep() or monitor not in ALL_SCALARS:
        return
    direction = {"min": "minimize", "max": "maximize"}[better(monitor)]
    configured = HydraConfig.get().sweeper.get("direction")
    configured = getattr(configured, "name", configured)
    if isinstance(configured, str) and configured != direction:
        raise UserError(
            f"hydra.sweeper.direction={configured} would look for the worst {monitor}",
            f"Add hydra.sweeper.direction={direction}.",
        )
