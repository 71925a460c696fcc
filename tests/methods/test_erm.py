"""The ERM stage; and both it and ProCo learn a toy problem."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ltmed.data.batch import Batch
from ltmed.losses.classification import cross_entropy
from ltmed.methods.erm import ERM
from ltmed.nn.heads import Linear
from ltmed.nn.network import Network
from ltmed.training.stage import Stage
from tests.methods.small import Encoder, K, batch, context, make, updated


def test_erm_updates_every_parameter() -> None:
    torch.manual_seed(0)
    updated(ERM(Network(Encoder(), Linear, K), context(), loss=cross_entropy), batch())


def test_erm_gives_its_loss_logits_labels_and_training_counts() -> None:
    observed: list[Tensor] = []

    def loss(*arguments: Tensor) -> Tensor:
        observed.extend(arguments)
        return arguments[0].sum()

    stage, data = ERM(Network(Encoder(), Linear, K), context(), loss=loss).eval(), batch()
    stage.training_step(data, 0)
    torch.testing.assert_close(observed[0], stage(data.images))
    assert torch.equal(observed[1], data.labels)
    assert torch.equal(observed[2], context().counts)


@pytest.mark.parametrize("method", ["erm", "proco"])
def test_learns_every_class_of_a_long_tailed_toy_problem(method: str) -> None:
    generator = torch.Generator().manual_seed(1)
    centres = torch.randn(K, 3, 1, 1, generator=generator)

    def draw(labels: Tensor) -> Tensor:
        return centres[labels] + 0.7 * torch.randn(len(labels), 3, 8, 8, generator=generator)

    stage: Stage = make(width=32, queue_size=64, momentum=0.9)
    if method == "erm":
        stage = ERM(Network(Encoder(), Linear, K), context(), loss=cross_entropy)
    optimizer = stage.configure_optimizers()
    for _ in range(80):
        labels = torch.multinomial(torch.tensor([0.8, 0.15, 0.05]), 32, replacement=True, generator=generator)
        optimizer.zero_grad()
        loss = stage.training_step(Batch(draw(labels), labels, labels, draw(labels)), 0)
        assert isinstance(loss, Tensor)
        loss.backward()
        optimizer.step()
    labels = torch.arange(K).repeat_interleave(50)
    right = (stage.eval()(draw(labels)).argmax(1) == labels).view(K, 50).float().mean(1)
    assert (right > 0.8).all(), right
