"""Starts the other ranks of a run on this machine.

Lightning would start them by repeating the command line, which under `-m` repeats the whole sweep in every rank.
Here each rank receives its one job, so that a sweep of many jobs with several ranks each creates no extra folder and
leaves nothing behind for the next job.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ltmed.errors import EXIT_USER_ERROR, TrainingError, UserError
from ltmed.utils.processes import is_slurm_task, is_torchrun, launched_from_outside

_GRACE_SECONDS = 10.0
_EXIT_CODE_SECONDS = 5.0
"""A killed process closes its connections before its exit code can be read."""
_MESSAGE, _HINT = "Rank {} ended with code {}", "Run the same command to continue after the last finished epoch."


def count_devices(accelerator: str, devices: int | str, num_nodes: int) -> tuple[str, int]:
    """Resolves `auto` and -1 to what this machine has.

    Returns:
        accelerator ("cpu" or "gpu") and the number of processes on this machine.

    Raises:
        UserError: more devices than exist, several machines without a launcher, or another number of processes than
            Slurm or torchrun started.
    """
    import torch

    gpus, cores = torch.cuda.device_count(), os.cpu_count() or 1
    if accelerator not in ("auto", "cpu", "gpu", "cuda"):
        raise UserError(f"trainer.accelerator={accelerator} is not known", "Known: auto, cpu, gpu.")
    on_gpu = accelerator in ("gpu", "cuda") or (accelerator == "auto" and gpus > 0)
    available = gpus if on_gpu else cores
    requested = (gpus if on_gpu else 1) if devices in (-1, "-1", "auto") else int(devices)
    if on_gpu and not gpus:
        raise UserError(f"trainer.accelerator={accelerator}, but torch sees no GPU", "Use trainer.accelerator=cpu.")
    if accelerator == "auto" and not gpus and requested > 1:
        raise UserError(
            f"trainer.devices={requested}, but torch sees no GPU",
            f"For {requested} processes on the CPU add trainer.accelerator=cpu.",
        )
    if requested > available or requested < 1:
        kind = "GPU" if on_gpu else "CPU core"
        raise UserError(
            f"trainer.devices={requested}, but this machine has {available} {kind}{'s' * (available != 1)}",
            f"Use trainer.devices=1 to {available}.",
        )
    if num_nodes > 1 and not launched_from_outside():
        raise UserError(
            f"trainer.num_nodes={num_nodes} needs one process per device on every machine",
            "Start ltmed train with srun or torchrun (docs/howto/devices.md has an example).",
        )
    _require_started(requested, num_nodes)
    return "gpu" if on_gpu else "cpu", requested


def _require_started(devices: int, num_nodes: int) -> None:
    """Compares the settings with what torchrun or srun started, which Lightning does not: each of several processes
    would train the whole run for itself, all of them in one folder.

    Raises:
        UserError: another number of processes.
    """
    if is_torchrun():  # Perhaps in a task of Slurm's for each machine.
        program, started, hint = "torchrun", os.environ.get("WORLD_SIZE"), f"--nproc-per-node={devices}"
    elif is_slurm_task():
        tasks = int(os.environ.get("SLURM_NTASKS_PER_NODE", devices))
        program, started, hint = "Slurm", os.environ.get("SLURM_STEP_NUM_TASKS"), f"--ntasks-per-node={devices}"
        if tasks != devices:
            raise UserError(
                f"trainer.devices={devices}, but Slurm started {tasks} tasks on this machine",
                f"Ask Slurm for {hint} (hydra.launcher.tasks_per_node={devices}).",
            )
    else:
        return
    if started is not None and int(started) != devices * num_nodes:
        raise UserError(
            f"trainer.devices={devices} and trainer.num_nodes={num_nodes}, but {program} started {started} processes",
            f"They are the processes on each machine and the number of machines: correct them, or start {hint}.",
        )


@contextmanager
def ranks(job: dict[str, Any], devices: int) -> Iterator[None]:
    """Runs the body as local rank 0 of `devices` processes; the others run `ltmed.cli.worker` on the same job.

    They end with the body, however it ends, and this process ends soon after any of them fails.
    """
    if devices == 1 or launched_from_outside():
        yield
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threads = max(1, (os.cpu_count() or 1) // devices)
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0", "OMP_NUM_THREADS": str(threads)}
    before = {name: os.environ.get(name) for name in (*common, "LOCAL_RANK")}
    workers = [_start(job, {**os.environ, **common, "LOCAL_RANK": str(rank)}) for rank in range(1, devices)]
    done = threading.Event()
    threading.Thread(target=_watch, args=(workers, done), daemon=True).start()
    os.environ.update({**common, "LOCAL_RANK": "0"})
    try:
        yield
        for worker in workers:
            worker.wait(timeout=60)
    except RuntimeError as error:  # Raised by a collective when its peer process is gone.
        if failed := _failed_worker(workers, patience=_EXIT_CODE_SECONDS):
            raise TrainingError(_MESSAGE.format(*failed), _HINT) from error
        raise
    finally:
        done.set()
        for worker in workers:
            worker.kill()
            worker.wait()
        _leave_process_group()
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)


def _start(job: dict[str, Any], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Starts a worker, which reads its job from stdin; the pipe stays open until this process ends."""
    worker = subprocess.Popen([sys.executable, "-m", "ltmed.cli.worker"], stdin=subprocess.PIPE, env=environment)
    assert worker.stdin is not None
    worker.stdin.write(json.dumps(job).encode() + b"\n")
    worker.stdin.flush()
    return worker


def _watch(workers: list[subprocess.Popen[bytes]], done: threading.Event) -> None:
    """Ends this process if a worker died while the body runs: a collective without its peer may block forever."""
    while not done.wait(0.5):
        failed = _failed_worker(workers)
        if failed and not done.wait(_GRACE_SECONDS):
            for worker in workers:
                worker.kill()
            print(f"error: {_MESSAGE.format(*failed)}. {_HINT}", file=sys.stderr, flush=True)
            os._exit(EXIT_USER_ERROR)


def _failed_worker(workers: list[subprocess.Popen[bytes]], patience: float = 0.0) -> tuple[int, int] | None:
    """Rank and exit code of the first worker that failed, by now or within `patience` seconds."""
    last = time.monotonic() + patience
    while True:
        for rank, worker in enumerate(workers, 1):
            if worker.poll():
                return rank, worker.returncode
        if time.monotonic() >= last:
            return None
        time.sleep(0.05)


def _leave_process_group() -> None:
    """Destroys the process group, so that the next job of a sweep can create its own."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def end_with_parent() -> None:
    """Ends a worker when the process at the other end of its stdin has ended, for any reason."""

    def wait() -> None:
        while os.read(0, 1024):  # Not through sys.stdin: its lock must be free when the interpreter ends.
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
