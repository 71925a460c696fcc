"""A long-tailed data set in memory, and fits on it, for tests of stages that change a classifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from ltmed.data.batch import Batch
from ltmed.nn.network import Network
from ltmed.training.stage import Stage
from tests.methods.small import Encoder, K, context

S = TypeVar("S", bound=Stage)
COUNTS = (20, 7, 1)


class Batches(list[Batch]):
    """What Lightning takes for one loader; a plain list would be a list of loaders."""


class Data(pl.LightningDataModule):
    """Images of noise around a grey level of the class. The order of the training images is fixed."""

    def __init__(self, seed: int = 0, size: int = 7) -> None:
        super().__init__()
        self.train_part = part(torch.arange(K).repeat_interleave(torch.tensor(COUNTS)), seed)
        self.val_part, self.test_part = (part(torch.arange(40) % K, seed + number) for number in (1, 2))
        self.size = size

    def train_dataloader(self) -> Batches:
        return parts_of(self.train_part, self.size)

    training_part_loader = train_dataloader

    def val_dataloader(self) -> Batches:
        return parts_of(self.val_part, 16)

    def test_dataloader(self) -> Batches:
        return parts_of(self.test_part, 16)


def part(labels: Tensor, seed: int) -> Batch:
    noise = torch.randn(len(labels), 8, 8, 3, generator=torch.Generator().manual_seed(seed))
    pixels = (100 + 30 * labels.view(-1, 1, 1, 1) + 60 * noise).clamp(0, 255).byte()
    return Batch(pixels, labels, torch.arange(len(labels)))


def parts_of(whole: Batch, size: int) -> Batches:
    rows = torch.arange(len(whole.labels)).split(size)
    return Batches(Batch(whole.images[r], whole.labels[r], whole.indices[r]) for r in rows)


def make(stage: Callable[..., S], head: Any, **options: Any) -> S:
    """The stage on a network with weights of unequal norms, as a long tail leaves them."""
    torch.manual_seed(0)
    network = Network(Encoder(), head, K)
    linear = getattr(network.classifier, "linear", network.classifier)
    assert isinstance(linear, nn.Linear)
    with torch.no_grad():
        linear.weight.mul_(torch.tensor([[6.0], [2.0], [0.5]]))
        linear.bias.copy_(torch.tensor([1.0, 0.0, -1.0]))
    told = replace(context(), counts=torch.tensor(COUNTS), tiers={"head": [0], "medium": [1], "tail": [2]})
    return stage(network, told, **options)


def trainer_for(epochs: int) -> pl.Trainer:
    return pl.Trainer(
        max_epochs=epochs, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip


def fit(stage: S, epochs: int = 1, data: Data | None = None) -> S:
    trainer_for(epochs).fit(stage, datamodule=data or Data())
    return stage


def features(stage: Stage, whole: Batch) -> Tensor:
    """Of the frozen encoder, in evaluation mode, float64 `[N, D]`."""
    images = stage.on_after_batch_transfer(whole, 0).images
    with torch.no_grad():
        return stage.network.eval().encoder(images).double()
