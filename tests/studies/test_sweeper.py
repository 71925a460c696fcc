"""Sweeps name each job that failed, go on, and count them at their end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from multiprocessing.util import Finalize
from pathlib import Path

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from ltmed.cli.boundary import one_line_errors
from ltmed.errors import UserError
from ltmed.studies.sweeper import JobSweeper
from tests.harness import ROOT, ok, run_command

MINE, BUG = UserError("fold 9 is out of range", "Set fold."), ZeroDivisionError("division by zero")


class Launched:
    """A launcher whose jobs end as they are told."""

    def __init__(self, *errors: Exception | None) -> None:
        self.errors = errors
        self.jobs: Sequence[Sequence[str]] = ()

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        self.jobs = job_overrides
        ended = []
        for overrides, error in zip(job_overrides, self.errors, strict=True):
            ended.append(JobReturn(overrides, status=JobStatus.FAILED if error else JobStatus.COMPLETED))
            ended[-1].return_value = error
        return ended


class SubmititLaunched(Launched):
    """One whose jobs write into files of their own."""


SubmititLaunched.__module__ = "hydra_plugins.hydra_submitit_launcher.submitit_launcher"


def sweep(launcher: Launched, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[JobReturn]:
    """A job for each of the launcher's errors; composing them is left out."""
    sweeper = JobSweeper()
    sweeper.config = OmegaConf.create({"hydra": {"sweep": {"dir": str(folder)}}})
    sweeper.launcher = launcher  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setattr(sweeper, "validate_batch_is_legal", lambda batch: None)
    seeds = ",".join(str(seed) for seed in range(len(launcher.errors)))
    return list(sweeper.sweep([f"seed={seeds}", "runs=r"]))


@pytest.fixture(autouse=True)
def unreported() -> None:
    for error in (MINE, BUG):
        error.__dict__.clear()


@pytest.mark.parametrize(
    ("errors", "said", "code"),
    [((MINE, None, MINE, None), "2 of 4", 2), ((None, BUG), "1 of 2", 1), ((MINE, BUG), "2 of 2", 1)],
)
def test_all_failures_are_said_and_counted(
    errors: tuple[Exception | None, ...],
    said: str,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended, one_line_errors(single=True):
        sweep(Launched(*errors), tmp_path, monkeypatch)
    assert ended.value.code == code
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    failed = [f"error: seed={seed}: " for seed, error in enumerate(errors) if error]
    assert [line[: len(start)] for line, start in zip(lines, failed, strict=False)] == failed
    assert lines[-1].startswith(f"error: {said} jobs failed. The same command runs what is missing")


def test_without_failures_the_jobs_are_returned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = Launched(None, None)
    assert len(sweep(launcher, tmp_path, monkeypatch)) == 2
    assert launcher.jobs == [["seed=0", "runs=r"], ["seed=1", "runs=r"]]


def test_a_job_that_said_so_itself_is_not_said_again_unless_it_wrote_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError), one_line_errors(single=False):  # As in a job.
        raise MINE
    assert capsys.readouterr().err == "error: : fold 9 is out of range. Set fold.\n"
    for launcher, times in ((Launched(MINE), 0), (SubmititLaunched(MINE), 1)):
        with pytest.raises(SystemExit), one_line_errors(single=True):
            sweep(launcher, tmp_path, monkeypatch)
        assert capsys.readouterr().err.count("fold 9 is out of range") == times


def test_a_bug_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), one_line_errors(single=False):
        raise BUG
    said = capsys.readouterr().err.splitlines()
    assert any("Traceback" in line for line in said)
    assert said[-1] == "error: : ZeroDivisionError: division by zero"


def test_configurations_that_differ_in_fold_and_seed_only_are_checked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweeper, checked = JobSweeper(), []
    sweeper.config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})
    sweeper.launcher = Launched(*[None] * 12)  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setattr(sweeper, "validate_batch_is_legal", checked.extend)
    sweeper.sweep(["method=erm,rs", "seed=0,1", "fold=0,1,2"])
    assert checked == [["method=erm", "seed=0", "fold=0"], ["method=rs", "seed=0", "fold=0"]]


def test_hydra_finds_the_sweeper() -> None:
    """The subclass that it finds has what is given to the class of ours."""
    from hydra.core.plugins import Plugins

    name = OmegaConf.load(ROOT / "conf/hydra/sweeper/ltmed.yaml")._target_
    found = Plugins.instance().class_name_to_class[name]
    assert issubclass(found, JobSweeper)
    assert Plugins.is_in_toplevel_plugins_module(name)


def test_the_lines_of_a_sweep(tiny: list[str], tmp_path: Path) -> None:
    done = run_command(*tiny, "fold=9,8", "-m", "monitor=accuracy", cwd=tmp_path)
    assert done.code == 2
    one, two, last = [line for line in done.err.splitlines() if not line.startswith("warning: ")]
    assert one.startswith("error: dataset=isic2018 ")
    assert "fold=9 monitor=accuracy: fold 9 is out of range" in one
    assert "fold=8 monitor=accuracy: fold 8 is out of range" in two
    assert last.startswith("error: 2 of 2 jobs failed. ")


def test_a_folder_for_the_sweep_that_cannot_be_made(tiny: list[str], tmp_path: Path) -> None:
    done = run_command("-m", *tiny, "runs=/dev/null", "seed=0,1", cwd=tmp_path)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "/dev/null cannot be written" in done.err


def _end_joblibs_processes() -> None:
    """They outlive a sweep: a whole interpreter ends them at its end, a forked one would wait for them."""

    def end() -> None:
        from joblib.externals.loky import reusable_executor

        if reusable_executor._executor is not None:
            reusable_executor._executor.shutdown(kill_workers=True)

    Finalize(None, end, exitpriority=1)


@pytest.mark.slow
def test_joblib_runs_jobs_in_processes_and_their_failures_are_said_once(tiny: list[str], tmp_path: Path) -> None:
    overrides = ("-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "method=erm", "fold=0,9", *tiny, "epochs=1")
    done = run_command(*overrides, cwd=tmp_path, before=_end_joblibs_processes)
    assert done.code == 2, done.err
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    assert "fold=9" in errors[0]
    assert errors[1].startswith("error: 1 of 2 jobs failed. ")
    assert len(list((tmp_path / "runs").rglob("metrics.json"))) == 1


@pytest.mark.slow
def test_optuna_searches_a_setting_of_a_cell(tiny: list[str], tmp_path: Path) -> None:
    import yaml

    small = [override for override in tiny if not override.startswith(("dataset=", "image_size=", "backbone="))]
    search = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=1", "hydra.sweeper.direction=maximize")
    cell = ("+ham10000=methods", "row=ERM", "image_size=32", "epochs=1")
    lr = "method.stages.train.optimizer.lr=interval(0.01,0.02)"
    ok(run_command("-m", *search, *cell, lr, *small, cwd=tmp_path))
    (file,) = (tmp_path / "runs").rglob("metrics.json")
    best = yaml.safe_load((tmp_path / "runs" / "optimization_results.yaml").read_text())
    assert best["best_value"] == pytest.approx(json.loads(file.read_text())["val"]["scalars"]["balanced_accuracy"])
    assert 0.01 <= OmegaConf.load(file.parent / "config.yaml").method.stages.train.optimizer.lr <= 0.02
