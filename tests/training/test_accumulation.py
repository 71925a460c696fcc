"""Gradients of several batches in one step: the step, the loss and the teachers of one large batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor

from ltmed.data.batch import Batch
from ltmed.losses.classification import cross_entropy
from ltmed.methods.erm import ERM
from ltmed.methods.lmd import Represent
from ltmed.methods.paco import PaCo
from ltmed.methods.proco import ProCo
from ltmed.nn.heads import MLP, Linear, PrototypeHead
from ltmed.nn.network import Network
from ltmed.nn.teacher import EmaTeacher
from ltmed.training.stage import Stage
from tests.methods.small import WIDTH, Encoder, K, context
from tests.methods.small_decoupling import Batches, Data, trainer_for

SIZE = 4
"""Images of the 28 in a batch: seven batches, which neither two nor three divide."""


class Views(Data):
    """With a second view of each image, in batches of the given sizes."""

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        self.sizes = sizes

    def train_dataloader(self) -> Batches:
        images, labels, indices, _ = self.train_part
        parts = [part.split(self.sizes) for part in (images, labels, indices, images.flip(1))]
        return Batches(Batch(*columns) for columns in zip(*parts, strict=True))


class Noted(pl.Callback):
    """The loss of every epoch."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.losses.append(float(trainer.callback_metrics["train/train/loss"]))


def make(kind: Callable[..., Stage], classifier: Any = Linear, **options: Any) -> Stage:
    """Without BatchNorm, whose statistics are those of a batch."""
    torch.manual_seed(0)
    projector = partial(MLP, out_features=WIDTH, hidden=8)
    told = replace(context(), tiers={"head": [0], "medium": [1], "tail": [2]})
    return kind(Network(Encoder(norm=False), classifier, K, projector), told, **options)


def fit(stage: Stage, sizes: list[int], accumulate: int, epochs: int = 2) -> list[float]:
    noted, trainer = Noted(), trainer_for(epochs)
    trainer.accumulate_grad_batches = accumulate
    trainer.callbacks.append(noted)  # pyright: ignore[reportAttributeAccessIssue]
    trainer.fit(stage, datamodule=Views(sizes))
    return noted.losses


def assert_close(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize(("accumulate", "large"), [(2, [8, 8, 8, 4]), (3, [12, 12, 4]), (7, [28]), (9, [28])])
def test_a_step_over_several_batches_is_that_of_a_large_one(accumulate: int, large: list[int]) -> None:
    """Also the last one of an epoch, which has fewer batches: Lightning divides it by the number in a whole one."""
    small, big = (make(ERM, loss=cross_entropy) for _ in range(2))
    fit(small, [SIZE] * 7, accumulate)
    fit(big, large, 1)
    assert small.global_step == big.global_step == 2 * len(large)
    assert_close(small.state_dict(), big.state_dict())


def test_the_loss_of_an_epoch_is_not_divided() -> None:
    losses = fit(make(ERM, loss=cross_entropy), [SIZE] * 7, 7, epochs=1)
    assert losses == pytest.approx(fit(make(ERM, loss=cross_entropy), [28], 1, epochs=1), rel=1e-5)


def test_gradients_are_scaled_before_they_are_clipped() -> None:
    small, big = (make(ERM, loss=cross_entropy) for _ in range(2))
    for stage, sizes, accumulate in ((small, [14] * 2, 3), (big, [28], 1)):
        trainer = trainer_for(1)
        trainer.accumulate_grad_batches, trainer.gradient_clip_val = accumulate, 0.01
        trainer.fit(stage, datamodule=Views(sizes))
    assert_close(small.state_dict(), big.state_dict())


@pytest.mark.parametrize(
    ("kind", "classifier", "options"),
    [
        (PaCo, Linear, {"queue_size": 16, "momentum": 0.9}),
        (ProCo, partial(PrototypeHead, width=WIDTH), {"queue_size": 16, "gamma": 3, "momentum": 0.9}),
        (Represent, Linear, {}),
    ],
)
def test_a_teacher_moves_once_a_step(
    kind: Callable[..., Stage], classifier: Any, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Towards the weights of every step, each taken once."""
    seen: list[Tensor] = []
    original = EmaTeacher.update

    def update(self: EmaTeacher, *modules: Any, momentum: float) -> None:
        seen.append(torch.cat([p.detach().flatten() for module in modules for p in module.parameters()]))
        original(self, *modules, momentum=momentum)

    monkeypatch.setattr(EmaTeacher, "update", update)
    stage = make(kind, classifier, **options)
    fit(stage, [SIZE] * 7, 3)
    assert len(seen) == stage.global_step == 6
    assert not any(torch.equal(one, other) for one, other in pairwise(seen))


def test_a_teacher_is_that_of_the_large_batch() -> None:
    """LMD with cross-entropy alone: its gradient is a mean over images, and its teacher does not act on it."""
    small, big = (make(Represent, consistency=0.0) for _ in range(2))
    fit(small, [SIZE] * 7, 3)
    fit(big, [12, 12, 4], 1)
    assert_close(small.state_dict(), big.state_dict())


def test_a_queue_takes_the_keys_of_every_batch() -> None:
    stage = make(PaCo, queue_size=32, momentum=0.9)
    fit(stage, [SIZE] * 7, 7, epochs=1)
    assert isinstance(stage, PaCo)
    assert stage.queue.labels[:28].tolist() == Views([28]).train_part.labels.tolist()
    assert stage.queue.labels[28:].eq(-1).all()
