"""One stage, one fit: its trainer, and training that resumes where it was stopped."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.strategies import DDPStrategy
from omegaconf import DictConfig

from ltmed.config.instantiate import build, without
from ltmed.config.targets import trusted
from ltmed.data.datamodule import DataModule
from ltmed.errors import TrainingError, UserError
from ltmed.runs import checkpoint
from ltmed.training.callbacks.checkpoints import WholeCheckpointIO, was_stopped_early
from ltmed.training.stage import Stage
from ltmed.training.termination import SigtermCallback, Terminated
from ltmed.utils import processes
from ltmed.utils.allocator import keep_freed_memory
from ltmed.utils.files import write_atomic

FINISHED = "finished.json"


def make_trainer(
    node: DictConfig, accelerator: str, devices: int, *, callbacks: Sequence[Callback] = (), **arguments: Any
) -> Trainer:
    """A Lightning trainer with this framework's rules: own samplers, own checkpoints, no broadcast of buffers.

    Args:
        node: the config group `trainer`; its own `callbacks`, if any, come before those of `callbacks`.
        accelerator: "cpu" or "gpu".
        devices: processes on this machine.
        callbacks: the framework's.
        arguments: further arguments of `lightning.pytorch.Trainer`.
    """
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)  # Lightning's import sets it to INFO.
    distributed = devices * node.num_nodes > 1
    if accelerator == "cpu":
        keep_freed_memory()
        # Otherwise threads accumulate the gradient of `prototypes[labels]` in nondeterministic order.
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
    if distributed:
        # Buffers (queues, covariances) would be sent again at every forward; stages keep them equal themselves.
        backend = "nccl" if accelerator == "gpu" else "gloo"
        arguments["strategy"] = DDPStrategy(broadcast_buffers=False, process_group_backend=backend)
    configured = callbacks_of(node)
    if any(isinstance(callback, ProgressBar) for callback in configured):
        callbacks = [callback for callback in callbacks if not isinstance(callback, ProgressBar)]
    node = without(node, "callbacks")
    with trusted():
        return build(
            node, accelerator=accelerator, devices=devices, plugins=[WholeCheckpointIO(), *_environment()],
            callbacks=[*configured, *callbacks, SigtermCallback()], use_distributed_sampler=False,
            num_sanity_val_steps=0, enable_model_summary=False,
            enable_progress_bar=node.enable_progress_bar and sys.stdout.isatty(), **arguments,
        )  # fmt: skip


def _environment() -> list[Any]:
    """The cluster environment, where Lightning must not detect it by itself."""
    if not processes.is_left_to_lightning():
        # Otherwise Lightning takes a single task of Slurm, and the ranks that it starts, for ranks of Slurm.
        return [LightningEnvironment()]
    if processes.is_torchrun():
        return []
    # Its requeueing saves a checkpoint in the middle of an epoch, and resumes from that one instead of from ours.
    return [SLURMEnvironment(auto_requeue=False)]


def callbacks_of(node: DictConfig) -> list[Callback]:
    """Builds the callbacks of the configuration.

    Args:
        node: the config group `trainer`; its `callbacks` are a list of nodes with `_target_`, or a map of them whose
            names do not matter.

    Raises:
        UserError: an entry is no callback of Lightning's.
    """
    entries = node.get("callbacks")
    nodes = list(entries.values()) if isinstance(entries, DictConfig) else list(entries or [])
    with trusted():  # Training is always the user's own command.
        callbacks = [build(node) if isinstance(node, DictConfig) else node for node in nodes]
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise UserError(
                f"trainer.callbacks has an entry that is no callback of Lightning's ({type(callback).__name__})",
                "Write +trainer.callbacks.NAME._target_=CLASS, and the settings of the class beside it.",
            )
    return callbacks


def fit_stage(
    stage: Stage, data: DataModule, folder: Path, trainer: Trainer, keep: str, start: checkpoint.ResumePoint
) -> None:
    """Trains `stage` to its end and loads the selected weights; a stage that was finished before only loads them.

    Afterwards `stage.network` is the input of the next stage, and `finished.json` marks the stage as ended: it is
    written only after the selected checkpoint has been read.

    Args:
        stage: the module.
        data: opened, with the settings of this stage (`DataModule.use`).
        folder: where the stage keeps `best.ckpt`, `last.ckpt` and `finished.json`.
        trainer: made for this stage.
        keep: "best" or "last" checkpoint.
        start: where the stage resumes, from `stage_start`.

    Raises:
        TrainingError: training ended before the last epoch.
        DamagedCheckpointError: the selected checkpoint cannot be read.
    """
    finished = is_finished(folder)
    if not finished:
        if not was_stopped_early(start):
            _fit(stage, data, trainer, start.file)
        start = checkpoint.resume_point(folder)
        if start.epochs < int(trainer.max_epochs or 0) and not was_stopped_early(start):
            raise TrainingError(
                f"Stage '{stage.context.name}' ended after {start.epochs} of {trainer.max_epochs} epochs, because "
                "something set trainer.should_stop",
                "The same command continues.",
            )
    state = checkpoint.read(
        folder / f"{keep}.ckpt", f"Delete {folder}, and the folders of later stages, to train it anew."
    )
    stage.load_state_dict(state["state_dict"])
    if not finished and trainer.is_global_zero:
        write_atomic(folder / FINISHED, json.dumps({"kept": keep, "epochs": start.epochs}))


def _fit(stage: Stage, data: DataModule, trainer: Trainer, file: Path | None) -> None:
    try:
        trainer.fit(stage, datamodule=data, ckpt_path=file, weights_only=True)
    except Terminated:
        raise
    except SystemExit:
        if trainer.interrupted:  # Lightning turns Ctrl-C into exit code 1.
            raise KeyboardInterrupt from None
        raise
    trainer.strategy.barrier()


def is_finished(folder: Path) -> bool:
    """Whether the stage in `folder` was trained to its end."""
    return (folder / FINISHED).exists()


def stage_start(folder: Path) -> checkpoint.ResumePoint:
    """The resume point of the stage in `folder`; for a finished stage its epochs, without reading checkpoints."""
    if not is_finished(folder):
        return checkpoint.resume_point(folder)
    return checkpoint.ResumePoint(epochs=int(json.loads((folder / FINISHED).read_text(encoding="utf-8"))["epochs"]))
