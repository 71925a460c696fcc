"""A moving average of the weights, which is what is evaluated, saved and handed on (timm's `ModelEmaV3`)."""

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

    The first step copies, as in timm. Parameters and the running statistics of BatchNorm are averaged; other buffers of
    the network (class means, a chosen tau) are found in validation, under the averaged weights, and stay as they are.
    The state dict of a checkpoint has the average, so that whatever reads it later does; the weights themselves, from
    which training goes on, stand beside it.

    Args:
        decay: d.
        warmup: whether d starts lower, 1 - (1 + step)^(-2/3), for short training.
    """

    def __init__(self, decay: float, warmup: bool = False) -> None:
        self.decay, self.warmup = decay, warmup
        self.average: dict[str, Tensor] = {}
        self._steps = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Starts from the weights that the stage was given."""
        if stage == TrainerFn.FITTING:
            self.average = {name: tensor.detach().clone() for name, tensor in averaged(pl_module.network)}  # pyright: ignore

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Follows the network to its device."""
        self.average = {name: tensor.to(pl_module.device) for name, tensor in self.average.items()}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Counts on; only now Lightning has the number of steps of a checkpoint."""
        self._steps = trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """One update for each step of the optimiser, of which an accumulation has fewer than batches."""
        if trainer.global_step == self._steps:
            return
        self._steps = trainer.global_step
        now = [tensor.detach() for _, tensor in averaged(pl_module.network)]  # pyright: ignore
        torch._foreach_lerp_(list(self.average.values()), now, 1 - self.weight(self._steps))  # pyright: ignore

    def weight(self, step: int) -> float:
        """Of the old average at a step, which count from 1."""
        if step <= 1:
            return 0.0
        return min(self.decay, 1 - step ** (-2 / 3)) if self.warmup else self.decay

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts the average into the network; the stage then makes its BatchNorm statistics one for all ranks."""
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
            kept = self.average[name]
            before = tensor.detach().clone()
            tensor.copy_(kept)
            kept.copy_(before)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """The average takes the place of the weights."""
        state = checkpoint["state_dict"]
        checkpoint[_RAW] = {name: state[f"network.{name}"] for name in self.average}
        state.update({f"network.{name}": tensor.clone() for name, tensor in self.average.items()})

    @torch.no_grad()
    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Training goes on from the weights, and the average from itself."""
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
