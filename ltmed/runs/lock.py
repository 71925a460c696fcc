"""One job at a time in a run's folder: the second waits, and then finds the run finished, or continues it.

Several jobs come to one folder where cells of a study are the same run, or where a command is given twice. The lock is
the kernel's (`flock` on a file in the folder), so that it ends with its process, however that ends. Only the first
process of a job takes it; ranks of `ltmed.training.launcher` come after it, and those of srun and torchrun read in
the file whose turn it is.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ltmed.runs.directory import claim, require_same, unwritable
from ltmed.runs.record import METRICS
from ltmed.utils import processes

FILE = ".lock"
_POLL_SECONDS = 0.5


@contextmanager
def claimed(run_dir: Path, cfg: DictConfig) -> Iterator[None]:
    """Makes the folder this run's own (`ltmed.runs.directory.claim`) and keeps other jobs out of it for the body.

    Waits while another job trains in it. A finished run is not locked: nothing more is written there.

    Raises:
        UserError: the folder belongs to a run with another configuration (said before any waiting), or cannot be made.
    """

    def finished() -> bool:
        return (run_dir / METRICS).exists()

    if not processes.is_first_process():
        if processes.is_left_to_lightning():
            follow(run_dir, processes.job(), finished)
        yield
    elif finished():
        claim(run_dir, cfg)
        yield
    else:
        with held(run_dir, processes.job(), lambda: require_same(run_dir, cfg)):
            claim(run_dir, cfg)
            yield


@contextmanager
def held(folder: Path, job: str, busy: Callable[[], object]) -> Iterator[None]:
    """Holds the lock of a folder, which is made if needed, for the body.

    Args:
        folder: of a run.
        job: what the other ranks of this job wait to read, see `follow`.
        busy: called once if another process holds the lock, before waiting for it.

    Raises:
        UserError: the folder or its lock file cannot be made.
    """
    handle = _locked(folder, busy)
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "job": job}).encode(), 0)
        yield
    finally:
        with suppress(OSError):  # Closing is not enough if a child process inherited the file.
            fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)


def follow(folder: Path, job: str, finished: Callable[[], bool]) -> None:
    """Waits, in a rank that is not the first, until the first one of the same `job` holds the lock.

    Or until the run is finished, which the first one then finds as well.
    """
    while _holder(folder).get("job") != job and not finished():
        time.sleep(_POLL_SECONDS)


def _locked(folder: Path, busy: Callable[[], object]) -> int:
    """An open lock file that is still the folder's: who waited may hold that of a folder deleted meanwhile."""
    file = folder / FILE
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise unwritable(folder, error) from None
        try:
            _lock(handle, folder, busy)
            if file.exists() and os.path.samestat(os.fstat(handle), file.stat()):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _lock(handle: int, folder: Path, busy: Callable[[], object]) -> None:
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy()
            holder = _holder(folder)
            who = f"process {holder['pid']} on {holder['host']}" if holder else "another process"
            print(f"waiting: {who} trains in {folder}", file=sys.stderr, flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as error:  # Some network file systems know no locks; one job a folder works as ever.
        warnings.warn(f"{folder} cannot be locked ({error}): start no second job of this run beside it", stacklevel=2)


def _holder(folder: Path) -> dict[str, Any]:
    """Who took the lock last; nothing where nobody did, or is just writing it."""
    try:
        return json.loads((folder / FILE).read_text())
    except (OSError, ValueError):
        return {}
