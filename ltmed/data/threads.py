"""How many threads may work, and OpenCV kept from adding its own."""

from __future__ import annotations

import os

import cv2


def usable_cores(processes: int = 1) -> int:
    """Cores of this machine for each of `processes` equal processes, at least 1; heeds taskset, Slurm and the like."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // max(1, processes))


def keep_opencv_sequential() -> None:
    """Makes each OpenCV call use the calling thread alone: images are what is done in parallel, not their rows."""
    cv2.setNumThreads(0)
