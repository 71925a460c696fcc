"""One job of `ltmed train`: what Hydra and its launchers call with a composed configuration."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from ltmed.cli.boundary import one_line_errors
from ltmed.config.paths import conf
from ltmed.errors import UserError


@hydra.main(version_base="1.3", config_path=str(conf()), config_name="config")
def run_job(cfg: DictConfig) -> float:
    """One job: what Hydra and its launchers call with a composed configuration."""
    from hydra.core.hydra_config import HydraConfig

    from ltmed.runs.job import plan
    from ltmed.train import train

    known = HydraConfig.get()
    with one_line_errors(single=not is_sweep()):
        _require_direction(cfg.monitor)
        return train(plan(cfg, list(known.overrides.task), dict(known.runtime.choices)))


def is_sweep() -> bool:
    """True inside a job of `-m`."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


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
