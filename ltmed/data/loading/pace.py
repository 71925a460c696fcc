"""How many threads load batches: as few as keep up with the training.

Augmentations run partly in Python, and Python runs one thread at a time. Where little of an image's work is outside of
it, threads beyond those that are needed only pass its lock around: they load fewer images together, and take the lock
from the thread that starts the kernels of a GPU. The number does not change the images.
"""

from __future__ import annotations

_START = 2
_WINDOW = 8
"""Batches between two decisions."""
_WAITED = 0.05
"""Share of the time spent waiting for batches above which more threads are tried."""
_GAIN = 0.9
"""More threads stay if the wait for a batch falls at least to this fraction."""


class Pace:
    """Doubles the threads while the consumer waits for batches, as long as the wait gets shorter.

    Args:
        most: threads, at most.
        fixed: always that number.
    """

    def __init__(self, most: int, fixed: bool = False) -> None:
        self.most = most
        self.threads = most if fixed else min(most, _START)
        """The number to use now."""
        self._settled = fixed
        self._before: tuple[int, float] | None = None
        self._waited, self._consumed, self._batches = 0.0, 0.0, 0

    def record(self, waited: float, consumed: float) -> None:
        """Takes note of one batch.

        Args:
            waited: seconds that the consumer waited for it.
            consumed: seconds that the consumer took between the one before and this one.
        """
        self._waited += waited
        self._consumed += consumed
        self._batches += 1
        if self._batches == _WINDOW:
            self._decide()
            self._waited, self._consumed, self._batches = 0.0, 0.0, 0

    def _decide(self) -> None:
        if self._before is not None:
            threads, waited = self._before
            self._before = None
            if self._waited > _GAIN * waited:
                self.threads, self._settled = threads, True
        if not self._settled and self.threads < self.most and self._waited > _WAITED * (self._waited + self._consumed):
            self._before = self.threads, self._waited
            self.threads = min(self.most, 2 * self.threads)
