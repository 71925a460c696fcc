"""The sweeper of `ltmed train -m`: it runs every job, and then reports why jobs failed.

A job is a list of Hydra's overrides, which a launcher composes and runs: Hydra's own, joblib's or submitit's. Jobs are
the combinations of the swept values, and with a study (`+lmd=table3`) the cells of it, each by its plain overrides.

    command line --> cli.command_line --> Hydra, with its own settings: launcher, sweeper, folders
                                            |
                     all other overrides --> JobSweeper.sweep --> launcher.launch([[override, ...], ...])

Hydra composes the configuration of a sweep from the overrides on its command line before any sweeper runs. There, a
setting of the method that a cell chooses would be refused, since the default method does not have it. So the overrides
that jobs are made from come here directly, as `JobSweeper.overrides`.

Hydra takes plugins from its namespace only: `hydra_plugins/ltmed_sweeper` at the top of the repository has the subclass
that it finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from ltmed.config import overrides
from ltmed.errors import UserError
from ltmed.studies import catalogue
from ltmed.studies.failures import FailedJob, SweepFailedError, was_reported
from ltmed.studies.filters import StudyFilters


class JobSweeper(Sweeper):
    """Runs a list of jobs through a launcher (`hydra/sweeper=ltmed`, the default)."""

    overrides: ClassVar[Sequence[str]] = ()
    """The overrides of the command line that jobs are made from; they need not fit the default configuration."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `sweep`."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Sequence[JobReturn]:
        """Runs all jobs.

        Args:
            arguments: the overrides that Hydra received; ignored where `overrides` is set.

        Raises:
            UserError: the folder of results cannot be written, or the overrides do not say which jobs.
            SweepFailedError: jobs failed.
        """
        assert self.config is not None
        assert self.launcher is not None
        _make_folder(str(self.config.hydra.sweep.dir))
        jobs = jobs_of(self.overrides or arguments)
        # Before the first job starts: a misspelt setting would otherwise end the sweep halfway.
        self.validate_batch_is_legal(_distinct(jobs))
        returns = self.launcher.launch(jobs, initial_job_idx=0)
        # Jobs of submitit write their output, errors included, into files of their own.
        in_files = "submitit" in type(self.launcher).__module__
        failed = [
            FailedJob(list(job.overrides or ()), job._return_value, was_reported(job._return_value) and not in_files)
            for job in returns
            if job.status == JobStatus.FAILED
        ]
        if failed:
            raise SweepFailedError(failed, len(returns))
        return returns


def jobs_of(arguments: Sequence[str]) -> list[list[str]]:
    """The overrides of every job.

    Args:
        arguments: of the command line: sweeps of values, or a study with filters and further overrides.

    Raises:
        UserError: an override cannot be read, or chooses what the study does not have.
    """
    name, further = catalogue.split_study(arguments)
    if name is None:
        return overrides.expand(overrides.last_of_each(further))
    filters = StudyFilters(further)
    study = filters.select(catalogue.load(name, filters.scale))
    filters.require_rerun(study)
    variants = overrides.expand(filters.further)
    return [
        list(study.overrides(cell.row, cell.column, cell.repetition, variant, filters.data))
        for cell in study.cells()
        for variant in variants
    ]


def _distinct(jobs: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """The first of all jobs that differ in fold and seed only, which every configuration has."""
    distinct: dict[tuple[str, ...], Sequence[str]] = {}
    for job in jobs:
        distinct.setdefault(tuple(text for text in job if overrides.setting(text) not in ("fold", "seed")), job)
    return list(distinct.values())


def _make_folder(folder: str) -> None:
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written: {error.strerror or error}", "Choose another folder with runs=FOLDER."
        ) from None
