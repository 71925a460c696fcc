"""Batches loaded by worker processes, for augmentations in pure Python, which hold the GIL.

Pixels are identical to those of threads. Processes cost more: each has its own copy of modified memory, and every batch
is copied once to the main process.
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
    """The images of one batch."""

    rows: np.ndarray
    """int64 [B], of the cache."""
    labels: np.ndarray
    """[B, ...]."""
    places: np.ndarray
    """int64 [B], the random stream of each image."""


class _Steps(Dataset):
    """The batches of an epoch by index."""

    def __init__(self, make: Callable[[Step, int], Batch], steps: Sequence[Step], key: int) -> None:
        self.make, self.steps, self.key = make, steps, key

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> Batch | _Failure:
        try:
            return self.make(self.steps[index], self.key)
        except Exception as error:  # After an exception, torch's loader waits five seconds for each process.
            return _Failure(_picklable(error), traceback.format_exc())


@dataclass(frozen=True)
class _Failure:
    """The error of a batch, sent in its place."""

    error: Exception
    traceback: str
    """Formatted traceback of the worker process."""


class _WorkerError(Exception):
    """The traceback of a worker process as text, the cause of the error raised in the main process."""

    def __str__(self) -> str:
        return f"in a worker process:\n{self.args[0]}"


def _picklable(error: Exception) -> Exception:
    """The error itself, or a RuntimeError with its text if it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def in_processes(
    make: Callable[[Step, int], Batch], steps: Sequence[Step], key: int, workers: int, pin_memory: bool
) -> Iterator[Batch]:
    """Yields the batches of `steps` in order, each loaded by one of the processes.

    Args:
        make: `(step, key) -> batch`, with newly allocated arrays.
        steps: of the epoch.
        key: passed to `make`.
        workers: number of processes, forked from this one, which share its memory map of the cache.
        pin_memory: page-lock the batches, for a CUDA device.

    Raises:
        UserError: the system cannot fork processes.
        Exception: any error of `make`.
    """
    if "fork" not in multiprocessing.get_all_start_methods():
        raise UserError("dataset.workers needs a system that can fork processes", "Use dataset.workers=0: threads.")
    loader = DataLoader(
        _Steps(make, steps, key), batch_size=None, num_workers=workers, collate_fn=_identity, pin_memory=pin_memory,
        multiprocessing_context="fork", worker_init_fn=_begin,
    )  # fmt: skip
    for batch in loader:
        if isinstance(batch, _Failure):
            raise batch.error from _WorkerError(batch.traceback)
        yield batch


def _identity(batch: Any) -> Any:
    return batch


def _begin(_: int) -> None:
    keep_opencv_sequential()
