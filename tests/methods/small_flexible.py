"""A small `Curriculum` and what trains it, for tests without images on a disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch import Tensor

from ltmed.data.batch import Batch
from ltmed.data.samplers.single import InstanceSampler, Sampler
from ltmed.losses.classification import cross_entropy
from ltmed.methods.flexible import Curriculum
from ltmed.nn.dropout_head import DropoutLinear
from ltmed.nn.heads import MLP
from ltmed.nn.network import Network
from tests.methods.small import Encoder, K, context

COUNTS = (40, 12, 1)
N, AHEAD = sum(COUNTS), 5
"""Training images, and rows of the manifest before them."""
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(K), COUNTS))


def network(p: float = 0.5) -> Network:
    torch.manual_seed(0)
    return Network(Encoder(), partial(DropoutLinear, p=p), K, partial(MLP, out_features=4, hidden=8))


class Plain(Curriculum):
    """Takes float images as they are, and notes the state at the start of every epoch."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.seen: list[dict[str, Tensor]] = []

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        return batch

    def on_train_epoch_start(self) -> None:
        before = {name: value.clone() for name, value in self.state_dict().items()}
        super().on_train_epoch_start()
        self.seen.append({**before, "after": self.in_use.clone(), "class_counts": self.class_counts.clone()})


def curriculum(epochs: int = 6, **options: Any) -> Plain:
    about = replace(
        context(), epochs=epochs, counts=torch.tensor(COUNTS), tiers={"head": [0], "medium": [1], "tail": [2]}
    )
    selected = {"loss": cross_entropy, "warmup": 0.0, "interval": 0.0, "patience": 1.0, "query": 0.5, **options}
    return Plain(network(), about, **selected)


@dataclass
class Wanted:
    sampler: Any = InstanceSampler


class Batches(list[Batch]):
    """What Lightning takes for one loader; a plain list would be a list of loaders."""


class Loader:
    """What Lightning takes for a loader whose sampler knows the epoch."""

    def __init__(self, data: Data, sampler: Sampler) -> None:
        self.data, self.drawn, self.sampler = data, sampler, self
        self.epoch, self.used = 0, []

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.drawn.steps

    def __iter__(self) -> Iterator[Batch]:
        batches = self.drawn.batches(self.epoch)
        self.used.append(batches)
        yield from (self.data.batch(torch.from_numpy(places)) for places in batches)


class Data(LightningDataModule):
    """N images of noise around a pixel of the class, in memory; rows of the manifest are not places of the part."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.labels = torch.from_numpy(LABELS)
        self.images = torch.randn(N, 3, 8, 8, generator=generator) + self.labels.view(-1, 1, 1, 1)
        self.split = SimpleNamespace(train=np.arange(N) + AHEAD)
        self.manifest = SimpleNamespace(labels=np.concatenate([np.zeros(AHEAD, np.int64), LABELS]))
        self.stage_data = Wanted()
        self.loader: Loader | None = None

    def use(self, wanted: Wanted) -> None:
        self.stage_data = wanted

    def batch(self, places: Tensor) -> Batch:
        return Batch(self.images[places], self.labels[places], places + AHEAD)

    def training_part_loader(self) -> list[Batch]:
        return [self.batch(places) for places in torch.arange(N).split(8)]

    def train_dataloader(self) -> Loader:
        self.loader = Loader(self, self.stage_data.sampler(labels=LABELS, batch_size=8, epochs=6, seed=0))
        return self.loader

    def val_dataloader(self) -> Batches:
        return Batches(self.training_part_loader())


def fit(stage: Plain, epochs: int, resume: Path | None = None) -> Data:
    data = Data()
    trainer = Trainer(
        max_epochs=epochs, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(stage, datamodule=data, ckpt_path=resume, weights_only=True)
    return data
