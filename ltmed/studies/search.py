"""Searches, such as Optuna's: a trial whose loss diverged counts as failed, and the search continues."""

from __future__ import annotations

import sys

_EXHAUSTIVE_SWEEPERS = ("hydra._internal.", "hydra_plugins.ltmed_")
"""Sweepers that run every job and ignore what it returns."""
_failed = 0


def is_search() -> bool:
    """Whether this job is a trial of a sweeper that decides by its value what to try next."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return False
    return not str(HydraConfig.get().sweeper.get("_target_", "")).startswith(_EXHAUSTIVE_SWEEPERS)


def count_failed_trial() -> None:
    """Notes that the job returns nothing, which Optuna's plugin records as a failed trial before it goes on.

    It would end the search if the job raised. NaN would not do: the plugin hands it to Optuna as a value, which a
    failed trial must not have.
    """
    global _failed
    _failed += 1


def report_failed_trials() -> None:
    """Says at the end of a search how many of its trials failed, as far as they ran in this process."""
    global _failed
    if _failed:
        trials = "1 trial" if _failed == 1 else f"{_failed} trials"
        print(f"warning: {trials} of the search diverged and counted as failed", file=sys.stderr)
    _failed = 0
