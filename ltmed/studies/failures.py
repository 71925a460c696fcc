"""Jobs of a sweep that failed. Imports nothing slow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class FailedJob:
    """One job of a sweep that failed."""

    overrides: Sequence[str]
    error: BaseException
    reported: bool
    """Whether the job itself has printed the error where the user sees it."""


class SweepFailedError(Exception):
    """Some jobs of a sweep failed; raised when all have ended.

    Args:
        failed: these jobs.
        jobs: how many there were.
    """

    def __init__(self, failed: Sequence[FailedJob], jobs: int) -> None:
        self.failed = failed
        super().__init__(
            f"{len(failed)} of {jobs} jobs failed. The same command runs what is missing, and skips what is finished."
        )


def mark_reported(error: BaseException) -> None:
    """Marks an error as printed by its job; the mark travels with the error to other processes."""
    error.__dict__["reported"] = True


def was_reported(error: BaseException) -> bool:
    """Whether `mark_reported` was called for it, in this process or in that of its job."""
    return bool(getattr(error, "reported", False))
