"""Progress of a stage."""

from __future__ import annotations

import sys
import time

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar


def progress(monitor: str, bar: bool) -> list[Callback]:
    """A line per epoch; on a terminal also a rich progress bar.

    Args:
        monitor: full metric name, `stage/val/name`.
        bar: False never shows the bar.
    """
    return [EpochLines(monitor), *([RichProgressBar(refresh_rate=20)] if bar and sys.stdout.isatty() else [])]


class EpochLines(Callback):
    """Prints one line per epoch: number, training loss, monitored metric, seconds.

    Args:
        monitor: full metric name, `stage/val/name`.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor
        self.started = time.perf_counter()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prints the line, on the first rank."""
        if not trainer.is_global_zero:
            return
        stage, _, name = self.monitor.partition("/")
        loss, value = (trainer.callback_metrics.get(key) for key in (f"{stage}/train/loss", self.monitor))
        shown = [
            f"{text} {float(number):.4f}" for text, number in (("loss", loss), (name, value)) if number is not None
        ]
        seconds = time.perf_counter() - self.started
        print(
            f"{stage} {trainer.current_epoch + 1}/{trainer.max_epochs}  {'  '.join(shown)}  {seconds:.1f} s", flush=True
        )
