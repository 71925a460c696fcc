"""One stage, one fit: its trainer, its checkpoints, and where it continues after a stop."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from omegaconf import DictConfig

from ltmed.config.instantiate import build
from ltmed.data.datamodule import DataModule
from ltmed.training.stage import Stage
from ltmed.utils import processes
from ltmed.utils.files import write_atomic


def make_trainer(node: DictConfig, accelerator: str, devices: int, **arguments: Any) -> Trainer:
    """A Lightning trainer with this framework's rules: own samplers, own checkpoints, no broadcast of buffers.

    Args:
        node: the config group `trainer`.
        accelerator: "cpu" or "gpu".
        devices: processes on this machine.
        arguments: further arguments of `lightning.pytorch.Trainer`.
    """
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)  # Lightning's import sets it to INFO.
    several = devices * node.num_nodes > 1
    if accelerator == "cpu":
        # Else threads add up the gradient of `prototypes[labels]` in an order of chance, and no run equals another.
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
    if not processes.is_left_to_lightning():
        # Otherwise Lightning takes a single task of Slurm, and the ranks that it starts, for ranks of Slurm's.
        arguments["plugins"] = [LightningEnvironment()]
    if several:
        # Buffers (queues, covariances) would be sent again at every forward; stages keep them equal themselves.
        backend = "nccl" if accelerator == "gpu" else "gloo"
        arguments["strategy"] = DDPStrategy(broadcast_buffers=False, process_group_backend=backend)
    return build(
        node, accelerator=accelerator, devices=devices, use_distributed_sampler=False, num_sanity_val_steps=0,
        enable_model_summary=False, enable_progress_bar=node.enable_progress_bar and sys.stdout.isatty(), **arguments,
    )  # fmt: skip


def fit_stage(stage: Stage, data: DataModule, folder: Path, trainer: Trainer, keep: str) -> None:
    """Trains `stage` to its end, from its last finished epoch if there is one, and loads the chosen weights.

    A stage that was finished before only loads them. Afterwards `stage.network` is what the next stage gets.

    Args:
        stage: the module.
        data: opened and told how this stage wants its images.
        folder: where the stage keeps `best.ckpt`, `last.ckpt` and `finished.json`.
        trainer: made for this stage.
        keep: "best" or "last" checkpoint.
    """
    done, last = folder / "finished.json", folder / "last.ckpt"
    if not done.exists():
        try:
            trainer.fit(stage, datamodule=data, ckpt_path=last if last.exists() else None, weights_only=True)
        except SystemExit:
            if trainer.interrupted:  # Lightning turns Ctrl-C into exit code 1.
                raise KeyboardInterrupt from None
            raise
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            write_atomic(done, json.dumps({"kept": keep, "epochs": trainer.current_epoch}))
    checkpoint = torch.load(folder / f"{keep}.ckpt", map_location="cpu", weights_only=True)
    stage.load_state_dict(checkpoint["state_dict"])


def epochs_done(folder: Path) -> int:
    """How many epochs of the stage in `folder` are in its `last.ckpt`."""
    last = folder / "last.ckpt"
    if not last.exists():
        return 0
    return int(torch.load(last, map_location="cpu", weights_only=True, mmap=True)["epoch"]) + 1
