"""Progress of a stage."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.trainer.states import TrainerFn

from ltmed.utils.progress import EVERY_SECONDS, duration, heartbeat, time_left


def progress(monitor: str, bar: bool) -> list[Callback]:
    """The callbacks of progress: a line per epoch, and a bar on a terminal or else a line every few seconds.

    Args:
        monitor: full metric name, `stage/val/name`.
        bar: False never shows the bar.
    """
    if bar and sys.stdout.isatty():
        return [EpochLines(monitor, every=None), StageBar(monitor.partition("/")[0])]
    return [EpochLines(monitor)]


class EpochLines(Callback):
    """Prints one line per epoch on the first rank: number, training loss, monitored metric, seconds, time left.

    The time left is that of the stage, assuming that its epochs take as long as those so far.

    Args:
        monitor: full metric name, `stage/val/name`.
        every: seconds after which a line reports the progress of the epoch; None prints none.
    """

    def __init__(self, monitor: str, every: float | None = EVERY_SECONDS) -> None:
        self.monitor, self.every = monitor, every
        self.stage, _, self.metric = monitor.partition("/")
        self._started = self._epoch_started = time.monotonic()
        self._first_epoch = 0
        self._lines = ExitStack()
        self._printed: Callable[[], object] = lambda: None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Starts the lines between epochs, also those of an evaluation."""
        self._started = self._epoch_started = time.monotonic()
        if self.every is not None and trainer.is_global_zero:
            lines = heartbeat(lambda: self._now(trainer), every=self.every, to=sys.stdout)
            self._printed = self._lines.enter_context(lines)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stops the lines."""
        self._lines.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Stops the lines."""
        self._lines.close()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stores the first epoch of this process: the duration of earlier epochs of a resumed stage is not known."""
        self._started, self._first_epoch = time.monotonic(), trainer.current_epoch

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock of the epoch."""
        self._epoch_started = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prints the line of the epoch."""
        if not trainer.is_global_zero:
            return
        loss, value = (trainer.callback_metrics.get(key) for key in (f"{self.stage}/train/loss", self.monitor))
        metrics = [
            f"{text} {float(number):.4f}"
            for text, number in (("loss", loss), (self.metric, value))
            if number is not None
        ]
        seconds = time.monotonic() - self._epoch_started
        time_left = self._time_left(trainer, trainer.current_epoch + 1)
        print(f"{self._epoch(trainer)}  {'  '.join(metrics)}  {seconds:.1f} s{time_left}", flush=True)
        self._printed()

    def _now(self, trainer: Trainer) -> str:
        """The current stage, epoch and step; called by another thread."""
        if trainer.state.fn != TrainerFn.FITTING:
            return f"evaluating, for {duration(time.monotonic() - self._started)}"
        steps, done = trainer.num_training_batches, trainer.fit_loop.epoch_loop.batch_progress.current.completed
        epoch = f"{self._epoch(trainer)}  step {done:,} of {steps:,}"
        if trainer.validating:
            epoch = f"{self._epoch(trainer)}  validation"
        elapsed = duration(time.monotonic() - self._epoch_started)
        return (
            f"{epoch}, {elapsed} in this epoch{self._time_left(trainer, trainer.current_epoch + done / max(1, steps))}"
        )

    def _epoch(self, trainer: Trainer) -> str:
        return f"{self.stage} {trainer.current_epoch + 1}/{trainer.max_epochs}"

    def _time_left(self, trainer: Trainer, epochs: float) -> str:
        done, total = epochs - self._first_epoch, (trainer.max_epochs or 0) - self._first_epoch
        return time_left(time.monotonic() - self._started, done, total)


class StageBar(RichProgressBar):
    """Lightning's bar with the stage's name, epochs counted from 1, and no version.

    Args:
        stage: name.
    """

    def __init__(self, stage: str) -> None:
        super().__init__(refresh_rate=20)
        self.stage = stage

    def _get_train_description(self, current_epoch: int) -> str:
        return f"{self.stage} {current_epoch + 1}/{self.trainer.max_epochs}".ljust(len(self.validation_description))

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """The metrics beside the bar."""
        metrics: dict[str, Any] = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics
