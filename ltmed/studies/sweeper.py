"""Sweeps that say of each failed job why it failed, and at their end how many did. Imports nothing slow."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ltmed.errors import UserError

Explain = Callable[[BaseException], str | None]
"""The line for a user's mistake, or None."""


class SweepFailed(Exception):  # noqa: N818
    """Some jobs of a sweep failed; each has said why.

    Args:
        failed: how many.
        jobs: of how many.
        mended: whether a user can mend all of them.
    """

    def __init__(self, failed: int, jobs: int, *, mended: bool) -> None:
        self.code = 2 if mended else 1
        super().__init__(
            f"{failed} of {jobs} jobs failed. The same command runs what is missing, and skips what is finished."
        )


def tell(error: BaseException, words: Sequence[str], explain: Explain) -> None:
    """Says on stderr which job failed and why; `was_told` is true of the error afterwards.

    Args:
        error: what ended the job.
        words: the job's overrides.
        explain: gives the line for a mistake that a user can mend; other errors show their traceback.
    """
    from ltmed.runs.directory import without_place

    message = explain(error)
    if message is None:
        traceback.print_exception(error)
        message = f"{type(error).__name__}: {error}"
    print(f"error: {' '.join(without_place(words))}: {message}", file=sys.stderr, flush=True)
    with suppress(AttributeError):
        error.told = True  # pyright: ignore[reportAttributeAccessIssue]


def was_told(error: BaseException) -> bool:
    """Whether `tell` was called for it, in this process or in that of its job."""
    return getattr(error, "told", False)


def report_all_failures(explain: Explain) -> None:
    """Makes Hydra's sweeper look at all jobs; by itself it raises the error of the first one that failed, and no other.

    Hydra takes sweepers from its own packages only, so that this one cannot be a class of ours.
    """
    from hydra.core.plugins import Plugins

    Plugins.instance()  # It loads the modules of all plugins anew, so that a class imported before is another one.

    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    plain = BasicSweeper.sweep

    def sweep(self: BasicSweeper, arguments: list[str]) -> Any:
        assert self.config is not None
        _make_folder(self.config.hydra.sweep.dir)
        self.launcher = _Reporting(self.launcher, explain)  # pyright: ignore[reportAttributeAccessIssue]
        return plain(self, arguments)

    BasicSweeper.sweep = sweep


class _Reporting:
    """A launcher that raises SweepFailed after its jobs if any of them failed."""

    def __init__(self, launcher: Any, explain: Explain) -> None:
        self.launcher, self.explain = launcher, explain
        # Jobs of submitit write into files of their own, also what they say of their failure.
        self.elsewhere = "submitit" in type(launcher).__module__

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[Any]:
        returns = self.launcher.launch(job_overrides, initial_job_idx=initial_job_idx)
        failures = [(job, error) for job in returns if (error := _error(job)) is not None]
        for job, error in failures:
            if self.elsewhere or not was_told(error):
                tell(error, job.overrides, self.explain)
        if failures:
            mended = all(self.explain(error) is not None for _, error in failures)
            raise SweepFailed(len(failures), len(returns), mended=mended)
        return returns


def _error(job: Any) -> BaseException | None:
    """What ended a job, or None; its `return_value` would also print all of its words."""
    return job._return_value if job.status.name == "FAILED" else None


def _make_folder(folder: str) -> None:
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written: {error.strerror or error}", "Choose another folder with runs=FOLDER."
        ) from None
