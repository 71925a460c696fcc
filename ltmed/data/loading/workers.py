"""Batches made by worker processes: for augmentations in plain Python, which hold the lock that threads share.

Their pixels are those that threads make. They cost more: a process holds its own copy of what it changes, and every
batch is copied once on its way here.
"""

from __future__ import annotations

import multiprocessing
import pickle
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import DataLoader, Dataset

from ltmed.data.batch import Batch
from ltmed.data.threads import keep_opencv_sequential
from ltmed.errors import UserError


class Step(NamedTuple):
    """What one batch is made of."""

    rows: np.ndarray
    """int64 [B], of the cache."""
    labels: np.ndarray
    """[B, ...]."""
    places: np.ndarray
    """int64 [B], what the random numbers of each image depend on."""


class _Steps(Dataset):
    """The batches of an epoch by number."""

    def __init__(self, make: Callable[[Step, int], Batch], steps: Sequence[Step], key: int) -> None:
        self.make, self.steps, self.key = make, steps, key

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> Batch | _Failure:
        try:
            return self.make(self.steps[index], self.key)
        except Exception as error:  # After an exception torch's loader waits five seconds for each of its processes.
            return _Failure(_picklable(error), traceback.format_exc())


@dataclass(frozen=True)
class _Failure:
    """In place of a batch."""

    error: Exception
    traceback: str
    """Of the worker process."""


class _WorkerError(Exception):
    """The cause of an error that is raised here and happened in a worker process, as text."""

    def __str__(self) -> str:
        return f"in a worker process:\n{self.args[0]}"


def _picklable(error: Exception) -> Exception:
    """The error itself, or one with its text where it cannot be sent to another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def in_processes(
    make: Callable[[Step, int], Batch], steps: Sequence[Step], key: int, workers: int, pin_memory: bool
) -> Iterator[Batch]:
    """Yields the batches of `steps` in order, each made by one of the processes.

    Args:
        make: `(step, key) -> batch`, with arrays of its own.
        steps: of the epoch.
        key: handed on to `make`.
        workers: number of processes, which begin as copies of this one and share its map of the cache.
        pin_memory: page-lock the batches, for a CUDA device.

    Raises:
        UserError: a system that cannot copy processes.
        Exception: whatever `make` raises.
    """
    if "fork" not in multiprocessing.get_all_start_methods():
        raise UserError("dataset.workers needs a system that can fork processes", "Use dataset.workers=0: threads.")
    loader = DataLoader(
        _Steps(make, steps, key), batch_size=None, num_workers=workers, collate_fn=_as_it_is, pin_memory=pin_memory,
        multiprocessing_context="fork", worker_init_fn=_begin,
    )  # fmt: skip
    for batch in loader:
        if isinstance(batch, _Failure):
            raise batch.error from _WorkerError(batch.traceback)
        yield batch


def _as_it_is(batch: Any) -> Any:
    return batch


def _begin(_: int) -> None:
    keep_opencv_sequential()
