"""Sweeps name each job that failed, go on, and count them at their end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus

from ltmed.cli.explain import explain
from ltmed.errors import UserError
from ltmed.studies import sweeper
from tests.harness import run_command

MINE, BUG = UserError("fold 9 is out of range", "Set fold."), ZeroDivisionError("division by zero")


def launch(*errors: Exception | None, elsewhere: bool = False) -> list[Any]:
    """What the sweeper gets of jobs that ended so."""
    jobs = [
        JobReturn([f"seed={seed}", "runs=r"], status=JobStatus.FAILED if error else JobStatus.COMPLETED)
        for seed, error in enumerate(errors)
    ]
    for job, error in zip(jobs, errors, strict=True):
        job.return_value = error
    reporting = sweeper._Reporting(SimpleNamespace(launch=lambda words, initial_job_idx: jobs), explain)
    reporting.elsewhere = elsewhere
    return list(reporting.launch([], 0))


@pytest.mark.parametrize(
    ("errors", "said", "code"),
    [((MINE, None, MINE, None), "2 of 4", 2), ((None, BUG), "1 of 2", 1), ((MINE, BUG), "2 of 2", 1)],
)
def test_all_failures_are_counted(errors: tuple[Exception | None, ...], said: str, code: int) -> None:
    with pytest.raises(sweeper.SweepFailed, match=f"{said} jobs failed") as failed:
        launch(*errors)
    assert failed.value.code == code


def test_without_failures_the_sweeper_gets_the_jobs() -> None:
    assert len(launch(None, None)) == 2


def test_jobs_with_files_of_their_own_are_named_here(capsys: pytest.CaptureFixture[str]) -> None:
    told = UserError("What", "Mend.")
    sweeper.tell(told, ["seed=0", "runs=r"], explain)
    line = "error: seed=0: What. Mend.\n"
    assert capsys.readouterr().err == line
    for elsewhere in (False, True):
        with pytest.raises(sweeper.SweepFailed):
            launch(told, elsewhere=elsewhere)
        assert capsys.readouterr().err == line * elsewhere


def test_a_bug_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    sweeper.tell(ZeroDivisionError("division by zero"), ["seed=0"], explain)
    first, *_, last = capsys.readouterr().err.splitlines()
    assert "ZeroDivisionError: division by zero" in first
    assert last == "error: seed=0: ZeroDivisionError: division by zero"


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
