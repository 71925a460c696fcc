"""Trials of a search that end early, because others did better at the same epoch (`callbacks=prune`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, LightningModule, Trainer

from ltmed.errors import PrunedError, UserError

if TYPE_CHECKING:
    import optuna

_EXAMPLE = "hydra/sweeper=optuna hydra.sweeper.study_name=NAME hydra.sweeper.storage=sqlite:///search.db"


class PruneTrial(Callback):
    """Reports the monitored metric of every epoch to Optuna, and ends the trial if its pruner says so.

    Hydra's Optuna plugin does not pass the trial to its job: it is found in the storage by its parameters. A pruned
    trial is recorded with its last value, since the plugin knows no other end than a value or a failure.

    Args:
        pruner: an `optuna.pruners.BasePruner`.
    """

    def __init__(self, pruner: optuna.pruners.BasePruner) -> None:
        self.pruner = pruner
        self._trial: optuna.Trial | None = None
        self._first_epoch = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finds the trial of this job, on the first rank.

        Raises:
            UserError: this is not a job of Optuna's with a storage that jobs can read.
        """
        if not trainer.is_global_zero:
            return
        storage, name, overrides = _search()
        self._trial = find_trial(storage, name, overrides, self.pruner)
        values = self._trial.study.trials[self._trial.number].intermediate_values
        self._first_epoch = max(values, default=-1) + 1  # Stages follow each other.

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reports the epoch, except of stages whose classifier is untrained; all ranks end with the first one.

        Raises:
            PrunedError: the pruner stops the trial.
        """
        if not getattr(pl_module, "trains_classifier", True):
            return
        value = float(trainer.callback_metrics[_monitor(trainer)])
        stop = False
        if self._trial is not None:
            self._trial.report(value, self._first_epoch + trainer.current_epoch)
            stop = self._trial.should_prune()
            if stop:
                self._trial.set_user_attr("pruned_epoch", self._first_epoch + trainer.current_epoch + 1)
        if trainer.strategy.broadcast(stop):
            raise PrunedError(value, trainer.current_epoch + 1)


def find_trial(
    storage: Any, name: str, overrides: Sequence[str], pruner: optuna.pruners.BasePruner
) -> optuna.trial.Trial:
    """The running trial whose parameters are those of a job.

    Args:
        storage: of the study.
        name: of the study.
        overrides: of the job, `key=value`.
        pruner: the pruner that compares its values.

    Raises:
        UserError: there is none.
    """
    import optuna

    study = optuna.load_study(study_name=name, storage=storage, pruner=pruner)
    running = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))
    matching = [
        trial for trial in running if {f"{key}={value}" for key, value in trial.params.items()} <= set(overrides)
    ]
    if not matching:
        raise UserError(f"The study '{name}' has no running trial with these parameters", f"Search with {_EXAMPLE}.")
    return optuna.trial.Trial(study, matching[-1]._trial_id)


def _search() -> tuple[Any, str, list[str]]:
    """Storage, name and overrides of this job of a search.

    Raises:
        UserError: this is no job of a search, or jobs cannot find their trial.
    """
    from hydra.core.hydra_config import HydraConfig

    hydra_config: Any = HydraConfig.get() if HydraConfig.initialized() else None
    if hydra_config is None or "optuna" not in str(hydra_config.sweeper.get("_target_", "")):
        raise UserError("callbacks=prune is for the trials of a search", f"Search with -m {_EXAMPLE}.")
    if hydra_config.sweeper.storage is None or hydra_config.sweeper.study_name is None:
        raise UserError("callbacks=prune compares a trial with others, which it needs to find", f"Add {_EXAMPLE}.")
    return hydra_config.sweeper.storage, hydra_config.sweeper.study_name, list(hydra_config.overrides.task)


def _monitor(trainer: Trainer) -> str:
    """The metric that selects the checkpoint."""
    from ltmed.training.callbacks.checkpoints import EpochCheckpoints

    callbacks: list[Callback] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    return next(callback.monitor for callback in callbacks if isinstance(callback, EpochCheckpoints))
