"""Reusable batch buffers: a new one for every batch costs as much in page faults as its pixels."""

from __future__ import annotations

import sys

import numpy as np
import torch


class Ring:
    """A pool of uint8 arrays of one shape; an array is reused when it is no longer referenced elsewhere.

    A buffer is reusable once the last reference to it, and to all tensors on it, is dropped. If arrays are page-locked,
    asynchronous copies to a GPU may still be running then, so that such a buffer also waits until the GPU has finished
    the work queued at that time. One thread may take arrays; any thread may fill them.

    Args:
        shape: of each array.
        limit: size of the pool. If all arrays are in use, `take` returns temporary ones.
        pin_memory: page-lock them, which makes copies to a CUDA device fast and asynchronous.
    """

    def __init__(self, shape: tuple[int, ...], limit: int, pin_memory: bool = False) -> None:
        self.shape, self.limit, self.pin_memory = shape, limit, pin_memory
        self._slots: list[_Slot] = []

    def take(self) -> np.ndarray:
        """An unreferenced array with arbitrary content."""
        for slot in self._slots:
            if slot.is_free():
                return self._lend(slot)
        if len(self._slots) < self.limit:
            slot = _Slot(self.shape, self.pin_memory)
            self._slots.append(slot)
            return self._lend(slot)
        for slot in self._slots:
            if slot.copied is not None:
                # The host is several batches ahead of the GPU: waiting is free and bounds the memory.
                slot.copied.synchronize()
                return self._lend(slot)
        return np.empty(self.shape, np.uint8)

    def _lend(self, slot: _Slot) -> np.ndarray:
        self._slots.remove(slot)
        self._slots.append(slot)  # The first slot is the least recently used.
        slot.copied, slot.used = None, True
        return slot.array


class _Slot:
    """One array of a ring."""

    def __init__(self, shape: tuple[int, ...], pin_memory: bool) -> None:
        self.array = torch.empty(shape, dtype=torch.uint8, pin_memory=pin_memory).numpy()
        self.pinned, self.used = pin_memory, False
        self.copied: torch.cuda.Event | None = None
        # Every tensor made from the array refers to it through the storage that they share.
        self._base_refcount = sys.getrefcount(self.array)

    def is_free(self) -> bool:
        """Whether the array is not referenced elsewhere and no GPU copy reads it."""
        if sys.getrefcount(self.array) > self._base_refcount:
            return False
        if not (self.pinned and self.used):
            return True
        if self.copied is None:
            self.copied = torch.cuda.Event(blocking=True)
            self.copied.record()
        return self.copied.query()
