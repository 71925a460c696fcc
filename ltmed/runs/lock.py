"""One job at a time in a run's folder: the second waits; then it reports the finished run, or continues it.

Several jobs use one folder where cells of a study are the same run, or where a command is started twice. Only the
first process of a job takes the lock. The ranks that `ltmed.training.launcher` starts are its children and need none;
those of srun and torchrun read in a file beside the lock which job holds it.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ltmed.runs.directory import claim, require_same, unwritable
from ltmed.runs.record import METRICS
from ltmed.utils import processes
from ltmed.utils.files import locked, write_atomic

FILE, HOLDER = ".lock", ".lock.json"
_POLL_SECONDS = 0.5
_ATTEMPTS = 3


@contextmanager
def claimed(run_dir: Path, cfg: DictConfig) -> Iterator[None]:
    """Makes the folder this run's own (`ltmed.runs.directory.claim`) and keeps other jobs out of it for the body.

    Waits while another job trains in it. A finished run is not locked: nothing more is written there.

    Raises:
        UserError: the folder belongs to a run with another configuration (reported before waiting), or cannot be made.
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
        job: the name that the other ranks of this job wait for, see `follow`.
        busy: called once if another process holds the lock, before waiting for it.

    Raises:
        UserError: the folder or its lock file cannot be made.
    """

    def wait() -> None:
        busy()
        holder = _holder(folder)
        who = f"process {holder['pid']} on {holder['host']}" if holder else "another process"
        print(f"waiting: {who} trains in {folder}", file=sys.stderr, flush=True)

    with ExitStack() as stack:
        for attempt in range(_ATTEMPTS):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(folder / FILE, busy=wait))
                holder_facts = {"pid": os.getpid(), "host": socket.gethostname(), "job": job}
                write_atomic(folder / HOLDER, json.dumps(holder_facts))
                break
            except OSError as error:
                deleted = isinstance(error, FileNotFoundError)  # While this process waited.
                if not deleted or attempt == _ATTEMPTS - 1:
                    raise unwritable(folder, error) from None
        yield


def follow(folder: Path, job: str, finished: Callable[[], bool]) -> None:
    """Waits, in a rank that is not the first, until the first one of the same `job` holds the lock.

    Or until the run is finished, in which case the first one trains nothing either.
    """
    while _holder(folder).get("job") != job and not finished():
        time.sleep(_POLL_SECONDS)


def _holder(folder: Path) -> dict[str, Any]:
    """The process that took the lock last; empty if it was never taken."""
    try:
        return json.loads((folder / HOLDER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
