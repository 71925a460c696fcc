"""Records of a stage besides its metrics: the learning rates and durations of its epochs."""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from ltmed.runs import facts


class LearningRates(Callback):
    """Logs the learning rate of every parameter group at the start of each epoch.

    The first group is `<stage>/train/lr`, further ones `<stage>/train/lr_1` and so on, over all optimisers in order.
    `self.log` would round them to float32.

    Args:
        stage: its name.
    """

    def __init__(self, stage: str) -> None:
        self.stage = stage

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs them, on the first rank."""
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        names = (f"{self.stage}/train/lr{f'_{number}' if number else ''}" for number in range(len(groups)))
        rates = {name: float(group["lr"]) for name, group in zip(names, groups, strict=True)}
        for logger in trainer.loggers:
            logger.log_metrics({**rates, "epoch": trainer.current_epoch}, step=trainer.global_step)


class Durations(Callback):
    """Writes the seconds of each epoch, the device and the peak of memory into the run's record.

    An epoch counts from the end of the one before, or from the start of the fit: preparation, feature passes,
    validation and checkpoints are part of it. Epochs of an earlier start of the run keep their seconds.

    Args:
        stage: its name.
        run_dir: the run's folder.
    """

    def __init__(self, stage: str, run_dir: Path) -> None:
        self.stage, self.run_dir = stage, run_dir
        self.since = time.perf_counter()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self.since = time.perf_counter()
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pl_module.device)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Records the epoch, on the first rank."""
        now = time.perf_counter()
        seconds, self.since = now - self.since, now
        if not trainer.is_global_zero:
            return
        on_gpu = pl_module.device.type == "cuda"
        facts.add_epoch(
            self.run_dir, self.stage, trainer.current_epoch, seconds,
            device=torch.cuda.get_device_name(pl_module.device) if on_gpu else "CPU", processes=trainer.world_size,
            peak_memory_bytes=torch.cuda.max_memory_allocated(pl_module.device) if on_gpu else _peak_of_process(),
        )  # fmt: skip


def _peak_of_process() -> int | None:
    """The largest resident size of this process so far, in bytes; None where the system does not report it."""
    try:
        resource = importlib.import_module("resource")
    except ImportError:  # Windows.
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
