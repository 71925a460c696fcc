"""Number of usable cores, and OpenCV without its own threads."""

from __future__ import annotations

import os

import cv2


def usable_cores(processes: int = 1) -> int:
    """Cores for each of `processes` equal processes, at least 1; respects CPU affinity (taskset, Slurm)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // max(1, processes))


def keep_opencv_sequential() -> None:
    """Limits each OpenCV call to the calling thread, since images are processed in parallel, not their rows."""
    cv2.setNumThreads(0)
