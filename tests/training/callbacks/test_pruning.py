"""Pruned trials, against Optuna's own loop."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ltmed.errors import PrunedError, UserError
from ltmed.methods.supcon import Contrast
from ltmed.training.callbacks import pruning
from ltmed.training.callbacks.checkpoints import EpochCheckpoints
from ltmed.training.callbacks.pruning import PruneTrial, find_trial

optuna = pytest.importorskip("optuna")

RATE = optuna.distributions.UniformDistribution(0, 1)  # Hydra's plugin needs Optuna 2.
NAME = "toy"


@pytest.fixture
def storage() -> Any:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.InMemoryStorage()
    optuna.create_study(study_name=NAME, storage=storage, direction="maximize")
    return storage


def pruner() -> Any:
    return optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=1)


def trained(storage: Any, values: list[float], monkeypatch: pytest.MonkeyPatch, stages: int = 1) -> list[float]:
    """What the callback lets happen of a job with these validation values; the plugin then tells Optuna the last."""
    study = optuna.load_study(study_name=NAME, storage=storage)
    trial = study.ask({"lr": RATE})
    job = [f"lr={trial.params['lr']}", "method=erm"]
    monkeypatch.setattr(pruning, "_search", lambda: (storage, NAME, job))
    seen: list[float] = []
    per_stage = len(values) // stages
    try:
        for stage in range(stages):
            callback = PruneTrial(pruner())
            trainer: Any = SimpleNamespace(
                is_global_zero=True, callbacks=[EpochCheckpoints.__new__(EpochCheckpoints)], callback_metrics={},
                strategy=SimpleNamespace(broadcast=lambda value: value),
            )  # fmt: skip
            trainer.callbacks[0].monitor = "train/val/accuracy"
            callback.on_fit_start(trainer, None)  # pyright: ignore[reportArgumentType]
            for epoch, value in enumerate(values[stage * per_stage : (stage + 1) * per_stage]):
                trainer.current_epoch, trainer.callback_metrics["train/val/accuracy"] = epoch, value
                seen.append(value)
                callback.on_train_epoch_end(trainer, None)  # pyright: ignore[reportArgumentType]
    except PrunedError as error:
        seen[-1] = error.value
    study.tell(trial, seen[-1])
    return seen


def test_a_trial_below_the_median_ends_after_the_epochs_that_always_go_on(storage: Any, monkeypatch) -> None:
    good = [0.1, 0.5, 0.6, 0.7]
    assert trained(storage, good, monkeypatch) == good
    assert trained(storage, good, monkeypatch) == good
    assert trained(storage, [0.3, 0.2, 0.2, 0.2], monkeypatch) == [0.3, 0.2]
    assert trained(storage, [0.1, 0.6, 0.7, 0.8], monkeypatch) == [0.1, 0.6, 0.7, 0.8]
    trials = optuna.load_study(study_name=NAME, storage=storage).trials
    assert [trial.user_attrs.get("pruned_epoch") for trial in trials] == [None, None, 2, None]
    assert trials[2].intermediate_values == {0: 0.3, 1: 0.2}


def test_stages_follow_each_other(storage: Any, monkeypatch) -> None:
    trained(storage, [0.1, 0.2, 0.3, 0.4], monkeypatch, stages=2)
    (trial,) = optuna.load_study(study_name=NAME, storage=storage).trials
    assert trial.intermediate_values == {0: 0.1, 1: 0.2, 2: 0.3, 3: 0.4}


def test_epochs_of_an_untrained_classifier_are_not_reported() -> None:
    """A pruner would compare chance."""
    trainer: Any = SimpleNamespace()  # Nothing is read of it.
    PruneTrial(pruner()).on_train_epoch_end(trainer, Contrast.__new__(Contrast))


def test_a_trial_is_found_by_its_parameters(storage: Any) -> None:
    study = optuna.load_study(study_name=NAME, storage=storage)
    trials = [study.ask({"lr": RATE}) for _ in range(3)]
    job = ["method=erm", f"lr={trials[1].params['lr']}"]
    assert find_trial(storage, NAME, job, pruner()).number == 1
    with pytest.raises(UserError, match="no running trial"):
        find_trial(storage, NAME, ["lr=7"], pruner())


def test_it_is_refused_outside_of_a_search() -> None:
    with pytest.raises(UserError, match="hydra/sweeper=optuna"):
        pruning._search()
