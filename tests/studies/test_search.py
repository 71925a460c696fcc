"""Optuna: a trial that diverges is a failed one, and the search goes on."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import yaml

from ltmed.config.targets import UntrustedTargetError
from ltmed.errors import DivergedError, TrainingError, UserError
from ltmed.runs.checkpoint import DamagedCheckpointError
from tests.harness import ok, run_command

SEARCH = ["-m", "hydra/sweeper=optuna", "hydra.sweeper.direction=maximize", "epochs=1", "hydra/sweeper/sampler=random"]
SEARCH += ["hydra.sweeper.sampler.seed=0", "hydra.sweeper.n_jobs=1"]
LR = "method.stages.train.optimizer.lr"


@pytest.mark.slow
def test_a_trial_that_diverges_does_not_end_the_search(tiny: list[str], tmp_path: Path) -> None:
    overrides = [*SEARCH, "hydra.sweeper.n_trials=3", f"{LR}=choice(1e30,0.01)", *tiny]
    done = ok(run_command(*overrides, cwd=tmp_path))
    best = yaml.safe_load((tmp_path / "runs" / "optimization_results.yaml").read_text())
    assert best["best_params"] == {LR: 0.01}
    reported = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert 1 <= len(reported) <= 2, "the seed draws both values"
    assert all("NaN or infinite" in line and f"{LR}=1e+30" in line for line in reported)
    assert f"{len(reported)} trial" in done.err.splitlines()[-1]
    assert "Traceback" not in done.err


@pytest.mark.slow
def test_a_search_of_which_nothing_is_left_is_one_line(tiny: list[str], tmp_path: Path) -> None:
    done = run_command(*SEARCH, "hydra.sweeper.n_trials=1", f"{LR}=choice(1e30)", *tiny, cwd=tmp_path)
    assert done.code == 2
    assert "No trial of the search" in done.err
    assert "Traceback" not in done.err


@pytest.mark.slow
def test_a_mistake_in_a_trial_ends_the_search(tiny: list[str], tmp_path: Path) -> None:
    done = run_command(*SEARCH, "hydra.sweeper.n_trials=2", f"{LR}=choice(0.01,0.02)", *tiny, "fold=9", cwd=tmp_path)
    assert done.code == 2
    (error,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert "fold=9" in error


@pytest.mark.parametrize(
    "error",
    [DivergedError("a", "b"), TrainingError("a", "b"), UntrustedTargetError("a"), DamagedCheckpointError(Path("a"))],
)
def test_errors_come_back_whole_from_other_processes(error: UserError) -> None:
    """Joblib and submitit send them."""
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert str(back) == str(error)
