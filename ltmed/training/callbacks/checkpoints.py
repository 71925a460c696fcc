"""The checkpoints of a stage: `best.ckpt` and `last.ckpt` at the end of every epoch, and how they are written."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.plugins.io import CheckpointIO

from ltmed.runs.checkpoint import BEST, LAST, ResumePoint, read, write


class EpochCheckpoints(Checkpoint):
    """Saves `best.ckpt`, by the monitored validation metric, and then `last.ckpt` after every epoch.

    The state contains no path, unlike that of Lightning's ModelCheckpoint, which loses its best epoch when the run's
    folder was moved. The order matters: `best` is set before either file is written, and a run that is killed between
    the two repeats its epoch and decides as if it had never been killed. Lightning calls it after all other callbacks,
    so that their states are those of the same epoch.

    Args:
        folder: of the stage.
        monitor: full metric name, `stage/val/name`.
        mode: "max" or "min".
    """

    def __init__(self, folder: Path, monitor: str, mode: str) -> None:
        self.folder, self.monitor, self.sign = folder, monitor, {"max": 1.0, "min": -1.0}[mode]
        self.best: float | None = None
        """Score of `best.ckpt`, larger is better; -inf for an undefined metric; None before the first epoch."""
        self.stopped_early = False
        """Whether a callback of Lightning's class EarlyStopping chose this epoch as the last one."""

    @property
    def state_key(self) -> str:
        """The name of this callback's state in a checkpoint."""
        return type(self).__qualname__

    def state_dict(self) -> dict[str, Any]:
        """The state that a resumed run needs."""
        return {"best": self.best, "stopped_early": self.stopped_early}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the state of the epoch that training resumes from."""
        self.best, self.stopped_early = state_dict["best"], state_dict["stopped_early"]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves the epoch, if it is whole; the first rank decides for all."""
        if not trainer.is_last_batch:  # A callback, such as Lightning's Timer, has cut it short: it is trained anew.
            return
        value = self.sign * float(trainer.callback_metrics[self.monitor])
        score = -math.inf if math.isnan(value) else value
        better = trainer.strategy.broadcast(self.best is None or score > self.best)
        self.stopped_early = any(_ended_here(callback, trainer.current_epoch) for callback in trainer.callbacks)  # pyright: ignore
        if better:
            self.best = score
            trainer.save_checkpoint(self.folder / BEST)
        trainer.save_checkpoint(self.folder / LAST)


def _ended_here(callback: Any, epoch: int) -> bool:
    """Whether a callback is Lightning's EarlyStopping and has ended the training with this epoch."""
    # Its `stopped_epoch` is 0 from the beginning.
    return (
        isinstance(callback, EarlyStopping)
        and callback.stopping_reason != EarlyStoppingReason.NOT_STOPPED
        and callback.stopped_epoch == epoch
    )


def was_stopped_early(start: ResumePoint) -> bool:
    """Whether early stopping ended the stage with the epoch of this checkpoint, so that the stage is complete."""
    return bool(start.callbacks.get(EpochCheckpoints.__qualname__, {}).get("stopped_early"))


class WholeCheckpointIO(CheckpointIO):
    """Lightning's reading and writing of checkpoints, through `ltmed.runs.checkpoint`.

    Its own writes to the temporary folder and copies from there, which is torn by a kill or a full disk if that is
    another file system.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """See `ltmed.runs.checkpoint.write`."""
        write(Path(path), checkpoint)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """See `ltmed.runs.checkpoint.read`; always on the CPU and without pickled code."""
        return read(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Removes the file."""
        Path(path).unlink(missing_ok=True)
