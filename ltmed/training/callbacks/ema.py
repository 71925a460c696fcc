"""A moving average of the weights, which is evaluated, saved and passed to the next stage (timm's `ModelEmaV3`)."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from ltmed.utils import distributed

_RAW = "weights_behind_the_average"


class Ema(Callback):
    """Averages the network's weights after every step: average <- d average + (1 - d) weights.

    The first step copies, as in timm. Parameters and the running statistics of BatchNorm are averaged. Other buffers of
    the network (class means, a selected tau) are not: they are computed in validation, with the averaged weights.
    The state dict of a checkpoint holds the average, so that every reader gets it; the weights themselves, from
    which training continues, are stored beside it.

    Args:
        decay: d.
        warmup: whether d starts lower, 1 - (1 + step)^(-2/3), for short training.
    """

    def __init__(self, decay: float, warmup: bool = False) -> None:
        self.decay, self.warmup = decay, warmup
        self.average: dict[str, Tensor] = {}
        self._steps = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Starts from the initial weights of the stage."""
        if stage == TrainerFn.FITTING:
            pl_module.validates_average = True  # pyright: ignore
            self.average = {name: tensor.detach().clone() for name, tensor in averaged(pl_module.network)}  # pyright: ignore

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Moves the average to the network's device."""
        self.average = {name: tensor.to(pl_module.device) for name, tensor in self.average.items()}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sets the step counter; only now Lightning has restored the number of steps of a checkpoint."""
        self._steps = trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """One update for each step of the optimiser, of which an accumulation has fewer than batches."""
        if trainer.global_step == self._steps:
            return
        self._steps = trainer.global_step
        current = [tensor.detach() for _, tensor in averaged(pl_module.network)]  # pyright: ignore
        torch._foreach_lerp_(list(self.average.values()), current, 1 - self.weight(self._steps))  # pyright: ignore

    def weight(self, step: int) -> float:
        """Weight of the old average at a step, counted from 1."""
        if step <= 1:
            return 0.0
        return min(self.decay, 1 - step ** (-2 / 3)) if self.warmup else self.decay

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts the average into the network; the stage then averages its BatchNorm statistics over ranks."""
        if trainer.state.fn == TrainerFn.FITTING:
            distributed.average_batchnorm(pl_module)
            self._swap(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts the weights back."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._swap(pl_module)

    @torch.no_grad()
    def _swap(self, pl_module: LightningModule) -> None:
        for name, tensor in averaged(pl_module.network):  # pyright: ignore
            average = self.average[name]
            before = tensor.detach().clone()
            tensor.copy_(average)
            average.copy_(before)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Replaces the weights by the average."""
        state = checkpoint["state_dict"]
        checkpoint[_RAW] = {name: state[f"network.{name}"] for name in self.average}
        state.update({f"network.{name}": tensor.clone() for name, tensor in self.average.items()})

    @torch.no_grad()
    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restores the weights for training, and the average."""
        for name, tensor in averaged(pl_module.network):  # pyright: ignore
            self.average[name].copy_(checkpoint["state_dict"][f"network.{name}"])
            tensor.copy_(checkpoint[_RAW][name])


def averaged(network: nn.Module) -> list[tuple[str, Tensor]]:
    """Name and tensor of everything that is averaged: parameters, and running statistics of BatchNorm."""
    norms = {
        f"{name}.{kind}" if name else kind
        for name, module in network.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        for kind in ("running_mean", "running_var")
    }
    buffers = [(name, buffer) for name, buffer in network.named_buffers() if name in norms]
    return [*network.named_parameters(), *buffers]
