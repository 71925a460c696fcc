"""The beginning of a run's folder: whether it can be made, and its end if the run was refused after all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ltmed.errors import TrainingError, UserError
from ltmed.runs.checkpoint import LAST
from ltmed.utils.processes import is_first_process


def require_usable_folder(run_dir: Path) -> None:
    """Checks that the folder of a run can be created and written to, without creating it.

    Raises:
        UserError: it cannot.
    """
    nearest = existing(run_dir)
    if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
        return
    reason = "has no permission to write" if nearest.is_dir() else "is a file"
    raise UserError(f"{run_dir} cannot be written: {nearest} {reason}", "Choose another folder with runs= or run_dir=.")


@contextmanager
def removed_if_refused(run_dir: Path, before: Path) -> Iterator[None]:
    """Removes the new folder of a run if the body ends in a UserError before an epoch was finished in it.

    Refusals that only training can detect (two views are missing, a network without the head that a method needs)
    would otherwise leave a folder that reports list as an unfinished run. A `TrainingError` happened to a run
    that had begun.

    Args:
        run_dir: folder of the run, which this process holds the lock of.
        before: the part of the path that existed before, from `existing`; an existing folder is left alone.
    """
    try:
        yield
    except UserError as error:
        refused = is_first_process() and before != run_dir.absolute() and not isinstance(error, TrainingError)
        if refused and not any(run_dir.glob(f"stages/*/{LAST}")):
            shutil.rmtree(run_dir, ignore_errors=True)
            _remove_empty(run_dir.parent, before)
        raise


def existing(path: Path) -> Path:
    """The absolute path, or the nearest one above it that exists."""
    path = path.absolute()
    return next(parent for parent in (path, *path.parents) if parent.exists())


def _remove_empty(folder: Path, last: Path) -> None:
    folder = folder.absolute()
    with suppress(OSError):  # Something else is in it.
        while folder != last:
            folder.rmdir()
            folder = folder.parent
