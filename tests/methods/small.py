"""A small ProCo and what trains it, for tests of stages without a trainer."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ltmed.data.batch import Batch
from ltmed.methods.proco import ProCo
from ltmed.nn.heads import MLP, PrototypeHead
from ltmed.nn.network import Network
from ltmed.training.context import StageContext
from ltmed.training.stage import Stage

K, WIDTH = 3, 4


class Encoder(nn.Module):
    """A small stand-in for a timm model."""

    num_features = 6

    def __init__(self, norm: bool = True) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 6, 3, bias=not norm), nn.BatchNorm2d(6) if norm else nn.Identity(), nn.Tanh()
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).mean((2, 3))


def context(classes: int = K) -> StageContext:
    return StageContext(
        name="train", seed=0, epochs=1, classes=tuple("abcdefgh"[:classes]), counts=torch.arange(classes) + 1, tiers={},
        mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), optimizer=partial(torch.optim.SGD, lr=0.1),
    )  # fmt: skip


def make(
    classes: int = K, norm: bool = True, width: int = WIDTH, projector: int | None = None, **options: Any
) -> ProCo:
    torch.manual_seed(0)
    network = Network(
        Encoder(norm),
        partial(PrototypeHead, width=width),
        classes,
        partial(MLP, out_features=projector or width, hidden=8),
    )
    return ProCo(network, context(classes), **{"queue_size": 16, "gamma": 3, **options})


def batch(size: int = 8, classes: int = K, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randn(size, 3, 8, 8, generator=generator) for _ in range(2))
    labels = torch.randint(classes, (size,), generator=generator)
    return Batch(first, labels, torch.arange(size), second)


def updated(stage: Stage, data: Batch, steps: int = 2) -> None:
    """Trains and asserts that every parameter that wants a gradient was changed by it."""
    before = {name: p.detach().clone() for name, p in stage.named_parameters() if p.requires_grad}
    optimizer = stage.configure_optimizers()
    for _ in range(steps):
        optimizer.zero_grad()
        loss = stage.training_step(data, 0)
        assert isinstance(loss, Tensor)
        loss.backward()
        for name, parameter in stage.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None, name
                assert torch.isfinite(parameter.grad).all(), name
        optimizer.step()
    for name, parameter in stage.named_parameters():
        assert name not in before or not torch.equal(parameter, before[name]), name
