"""Runs that are stopped, timed or in two processes on one device: `python measure.py stopped|speed|ranks OVERRIDES`.

Parts of run.py beside this file, each in a process of its own.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence


def stopped(words: list[str]) -> None:
    """A run that gets SIGTERM at the first step of the second epoch of its first stage."""
    from ltmed.training.callbacks.recorders import Durations

    def stop(callback: object, trainer: object, module: object, batch: object, batch_idx: int) -> None:
        if module.current_epoch == 1 and batch_idx == 0:  # pyright: ignore
            os.kill(os.getpid(), signal.SIGTERM)

    Durations.on_train_batch_start = stop  # pyright: ignore
    _command(words)


def measured(words: list[str]) -> None:
    """Prints images a second of the last epoch, from its second step on, and of the bare loop on its last batch.

    `waited` is the share of the time between two steps: the next batch, its copy and its normalisation.
    """
    import torch

    from ltmed.training.callbacks.recorders import Durations

    clock = {"waited": 0.0}

    def now() -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()

    def step_begins(callback, trainer, module, batch, batch_idx) -> None:
        if "begun" in clock:
            clock["waited"] += time.perf_counter() - clock["ended"]

    def step_ended(callback, trainer, module, outputs, batch, batch_idx) -> None:
        if module.current_epoch != trainer.max_epochs - 1:
            return
        if batch_idx == 0:
            clock["begun"] = clock["ended"] = now()
        elif trainer.is_last_batch:
            ours = batch_idx * len(batch.images) / (now() - clock["begun"])
            waited = clock["waited"] / (time.perf_counter() - clock["begun"])
            bare = _bare(trainer, module, batch, batch_idx, now)
            threads = trainer.train_dataloader._stream.pace.threads
            rates = {**_rates(ours, bare, batch), "waited": round(waited, 3), "threads": threads}
            print(f"RESULT: {json.dumps(rates)}", flush=True)
        clock["ended"] = time.perf_counter()

    Durations.on_train_batch_start = step_begins  # pyright: ignore
    Durations.on_train_batch_end = step_ended  # pyright: ignore
    _command(words)


def _bare(trainer, module, batch, number: int, now) -> float:
    """Images a second of the same step in a loop without loader, trainer, log and callbacks."""
    (optimizer,) = trainer.optimizers
    module.__dict__["log"] = module.__dict__["log_dict"] = lambda *_, **__: None

    def step() -> None:
        with trainer.precision_plugin.forward_context():
            loss = module.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    step()
    begun = now()
    for _ in range(number):
        step()
    rate = number * len(batch.images) / (now() - begun)
    del module.__dict__["log"], module.__dict__["log_dict"]
    return rate


def _rates(ours: float, bare: float, batch) -> dict[str, float]:
    views = 1 if batch.views is None else 2
    return {"images_per_s": round(ours, 1), "bare": round(bare, 1), "ratio": round(ours / bare, 3), "views": views}


def ranks(words: list[str]) -> None:
    """A run in two processes on the same device, as torchrun starts them on two machines, over gloo.

    NCCL refuses a device that is shared.
    """
    if "RANK" not in os.environ:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
        common |= {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "ranks"}
        own = [sys.executable, *sys.argv]
        both = [subprocess.Popen(own, env={**os.environ, **common, "RANK": r, "GROUP_RANK": r}) for r in ("0", "1")]
        sys.exit(max(process.wait() for process in both))
    from lightning.pytorch.strategies import DDPStrategy

    from ltmed.training import trainer

    def over_gloo(**settings: object) -> DDPStrategy:
        return DDPStrategy(**{**settings, "process_group_backend": "gloo"})  # pyright: ignore

    trainer.DDPStrategy = over_gloo  # pyright: ignore
    _command(words)


def _command(words: Sequence[str]) -> None:
    from ltmed.cli import train

    train.main(list(words))


if __name__ == "__main__":
    {"stopped": stopped, "speed": measured, "ranks": ranks}[sys.argv[1]](sys.argv[2:])
