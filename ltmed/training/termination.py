"""SIGTERM, which schedulers send before they kill: every rank ends within seconds, and the run continues later.

A rank that stops alone leaves the others waiting in a collective. Lightning answers SIGTERM with one more collective
inside the signal's handler, which the other ranks do not join, so that all of them hang. Here the handler raises
`Terminated` in the main thread. The ranks that this run started end with their parent (`ltmed.training.launcher`);
those of srun and torchrun check every second for a note that the terminated rank leaves in the store of the process
group. A thread ends the process if it does not end by itself, for instance inside a collective. Jobs of a sweep that
run in processes of their own (joblib's launcher) end with the sweep, however that ended: nobody would wait for them.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer

from ltmed.utils import processes

EXIT_TERMINATED = 128 + signal.SIGTERM
_PATIENCE_SECONDS = 6.0
"""Time in which a terminated process may end by itself."""
_POLL_SECONDS = 1.0
_NOTE = "ltmed/terminated"
_MESSAGE = b"\nTerminated. Finished epochs are kept; the same command continues.\n"


_ending, _watching, _following = threading.Event(), threading.Event(), threading.Event()
"""In this process: SIGTERM was received; a thread checks for notes; a thread checks the sweep."""


class Terminated(SystemExit):
    """Raised in the main thread by SIGTERM."""

    def __init__(self) -> None:
        super().__init__(EXIT_TERMINATED)


@contextmanager
def terminable() -> Iterator[None]:
    """Lets SIGTERM end the body with `Terminated`; a handler that was installed before stays in place."""
    before = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or before not in (signal.SIG_DFL, None):
        yield
        return
    signal.signal(signal.SIGTERM, _handler(os.getpid()))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _handler(owner: int) -> Callable[[int, Any], None]:
    def handle(number: int, frame: Any) -> None:
        if os.getpid() != owner:  # A forked worker of the loader.
            os._exit(EXIT_TERMINATED)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _ending.set()
        threading.Thread(target=_exit_later, daemon=True).start()
        if processes.is_first_process():
            os.write(2, _MESSAGE)  # print is not safe here: it may have been interrupted itself.
        _leave_note()
        raise Terminated

    return handle


def _exit_later() -> None:
    time.sleep(_PATIENCE_SECONDS)
    os._exit(EXIT_TERMINATED)


class SigtermCallback(Callback):
    """Puts the handler back that was in place before Lightning set its own, and starts to check for notes."""

    def __init__(self) -> None:
        self._handler = signal.getsignal(signal.SIGTERM)

    def _restore(self) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._handler)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning has just set its handler."""
        self._restore()
        _watch_notes()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Likewise, where the trainer only validates."""
        self._restore()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Likewise."""
        self._restore()


def _store() -> Any:
    """The store of the process group, which every rank can write to at any time; None in a single process."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return None
    return dist.distributed_c10d._get_default_store()


def _leave_note() -> None:
    with suppress(Exception):
        if (store := _store()) is not None:
            store.set(_NOTE, "1")


def _watch_notes() -> None:
    """Ends this process when another rank was terminated; once in each process of srun and torchrun."""
    store = _store()
    if store is None or not processes.is_left_to_lightning() or _watching.is_set():
        return
    _watching.set()
    threading.Thread(target=_watch, args=(store,), daemon=True).start()


def _watch(store: Any) -> None:
    with suppress(Exception):  # The store is gone: the run is over, or a collective is about to raise.
        while not store.check([_NOTE]):
            time.sleep(_POLL_SECONDS)
        if not _ending.is_set():
            os._exit(EXIT_TERMINATED)


def end_with_sweep() -> None:
    """Sends this process SIGTERM when the sweep that started it has ended; once in each process of a launcher."""
    if not processes.has_program_as_parent() or _following.is_set():
        return
    _following.set()
    threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
