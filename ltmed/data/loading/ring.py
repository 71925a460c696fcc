"""Buffers for batches that are used again: a fresh one for every batch costs as much in page faults as its pixels."""

from __future__ import annotations

import sys

import numpy as np
import torch


class Ring:
    """Lends uint8 arrays of one shape, and lends one again when nobody else holds it any more.

    Who got an array gives it back by forgetting it and all tensors on it. If the arrays are page-locked, copies to a
    GPU run on after that, so that such an array waits until the GPU has finished all work that was queued by then. One
    thread may take arrays; any may fill them.

    Args:
        shape: of each array.
        limit: how many are kept. If all are held, further ones are made and not kept.
        pin_memory: page-lock them, which makes copies to a CUDA device fast and asynchronous.
    """

    def __init__(self, shape: tuple[int, ...], limit: int, pin_memory: bool = False) -> None:
        self.shape, self.limit, self.pin_memory = shape, limit, pin_memory
        self._slots: list[_Slot] = []

    def take(self) -> np.ndarray:
        """An array with arbitrary content that nobody else holds."""
        for slot in self._slots:
            if slot.is_free():
                return self._lend(slot)
        if len(self._slots) < self.limit:
            slot = _Slot(self.shape, self.pin_memory)
            self._slots.append(slot)
            return self._lend(slot)
        for slot in self._slots:
            if slot.copied is not None:
                # The host is several batches ahead of the GPU: waiting costs nothing and bounds the memory.
                slot.copied.synchronize()
                return self._lend(slot)
        return np.empty(self.shape, np.uint8)

    def _lend(self, slot: _Slot) -> np.ndarray:
        self._slots.remove(slot)
        self._slots.append(slot)  # The first is always the one that was lent longest ago.
        slot.copied, slot.used = None, True
        return slot.array


class _Slot:
    """One array of a ring."""

    def __init__(self, shape: tuple[int, ...], pin_memory: bool) -> None:
        self.array = torch.empty(shape, dtype=torch.uint8, pin_memory=pin_memory).numpy()
        self.pinned, self.used = pin_memory, False
        self.copied: torch.cuda.Event | None = None
        # Every tensor made from the array refers to it through the storage that they share.
        self._unheld = sys.getrefcount(self.array)

    def is_free(self) -> bool:
        """Whether nobody holds the array and no GPU reads it."""
        if sys.getrefcount(self.array) > self._unheld:
            return False
        if not (self.pinned and self.used):
            return True
        if self.copied is None:
            self.copied = torch.cuda.Event(blocking=True)
            self.copied.record()
        return self.copied.query()
