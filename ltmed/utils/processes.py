"""Which of a job's processes this one is, before any process group exists."""

from __future__ import annotations

import os
import socket

_PROGRAM = "LTMED_PROGRAM"
"""Environment variable: process number of the `ltmed train` that was called."""


def is_slurm_task() -> bool:
    """True in one of several tasks of srun; a single one is a process like any other.

    SLURM_NTASKS does not tell: a batch script that starts this program without srun has it too.
    """
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1


def is_left_to_lightning() -> bool:
    """True if srun or torchrun started this process as one of several, whose ranks Lightning determines itself."""
    return is_slurm_task() or is_torchrun()


def is_torchrun() -> bool:
    """True if torchrun started this process, be it inside Slurm."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def launched_from_outside() -> bool:
    """True if srun, torchrun or another rank of this run started this process as one of several."""
    return "LOCAL_RANK" in os.environ or is_slurm_task()


def is_first_process() -> bool:
    """True in the process that writes results (global rank 0), also before any process group exists."""
    for name in ("RANK", "SLURM_PROCID" if is_slurm_task() else "LOCAL_RANK"):
        if name in os.environ:
            return int(os.environ[name]) == 0
    return True


def announce_program() -> None:
    """Tells the processes that launchers start from here for the jobs of a sweep which process they belong to."""
    os.environ[_PROGRAM] = str(os.getpid())


def has_program_as_parent() -> bool:
    """True in a process that a launcher, such as joblib's, started from `ltmed train` on this machine."""
    return os.environ.get(_PROGRAM) == str(os.getppid())


def job() -> str:
    """A name that all ranks of this job have in common, and no other job at the same time."""
    if is_slurm_task():
        return f"slurm {os.environ.get('SLURM_JOB_ID')}.{os.environ.get('SLURM_STEP_ID')}"
    if is_torchrun():
        # On a single machine the address is the same everywhere, so the host name is added.
        address = os.environ.get("MASTER_ADDR", "")
        address = socket.gethostname() if address in ("localhost", "127.0.0.1") else address
        return f"torchrun {os.environ['TORCHELASTIC_RUN_ID']} {address}:{os.environ.get('MASTER_PORT')}"
    return f"{socket.gethostname()} {os.getpid()}"
