"""Weight balancing: norms never leave the ball, and inside of it nothing is changed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from ltmed.errors import UserError
from ltmed.losses.reweighted import class_balanced_ce
from ltmed.methods.max_norm import MaxNorm, project
from ltmed.nn.cosine import Cosine
from ltmed.nn.heads import Linear
from ltmed.nn.linear import linear_classifier
from ltmed.nn.network import Network
from ltmed.training.callbacks.ema import Ema
from tests.methods.small import Encoder, K, batch, context, updated
from tests.methods.small_decoupling import Data, trainer_for
from tests.methods.small_decoupling import make as make_after_stage_one


def make(head: Any = Linear, **options: Any) -> MaxNorm:
    torch.manual_seed(0)
    network = Network(Encoder(), head, K)
    with torch.no_grad():
        if isinstance(network.classifier, nn.Linear):
            network.classifier.weight.mul_(torch.tensor([[3.0], [1.0], [0.2]]))
    return MaxNorm(network, context(), **{"loss": class_balanced_ce, **options})


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.5, 1.0])
def test_radius_is_between_the_norms_of_stage_one(threshold: float) -> None:
    stage = make(threshold=threshold)
    norms = [row.norm().item() for row in linear_classifier(stage.network).weight]
    assert stage.radius.item() == pytest.approx(min(norms) + threshold * (max(norms) - min(norms)))
    assert "radius" in stage.state_dict()


def test_projection_is_the_nearest_point_of_the_ball() -> None:
    weight = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0], [0.0, -2.0]])
    project(weight, torch.tensor(2.0))
    torch.testing.assert_close(weight, torch.tensor([[1.2, 1.6], [0.3, 0.4], [0.0, 0.0], [0.0, -2.0]]))


def test_projection_agrees_with_torch_renorm() -> None:
    weight = torch.randn(50, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.renorm(weight, 2, 0, 2.5)
    project(weight, torch.tensor(2.5))
    torch.testing.assert_close(weight, expected, rtol=1e-6, atol=0)
    assert weight.norm(dim=1).max() <= 2.5 * (1 + 1e-12)


def test_norms_are_never_above_the_radius_after_a_step() -> None:
    stage = make(threshold=0.1)
    radius, weight = stage.radius.clone(), linear_classifier(stage.network).weight
    optimizer = torch.optim.SGD([p for p in stage.parameters() if p.requires_grad], lr=1.0)
    outside = 0
    for seed in range(5):

        def closure(seed: int = seed) -> torch.Tensor:
            optimizer.zero_grad()
            loss = stage.training_step(batch(seed=seed), 0)
            loss.backward()
            return loss

        closure()
        outside += int(((weight - weight.grad).norm(dim=1) > radius).any())  # pyright: ignore
        stage.optimizer_step(0, 0, optimizer, closure)
        assert (weight.norm(dim=1) <= radius * (1 + 1e-6)).all()
    assert outside, "the constraint was at work"
    assert torch.equal(stage.radius, radius)


def test_an_average_of_the_weights_is_inside_of_the_ball_too() -> None:
    """The ball is convex: the average has to be one of projected weights."""
    stage, average = make_after_stage_one(MaxNorm, Linear, loss=class_balanced_ce), Ema(0.9)
    assert linear_classifier(stage.network).weight.norm(dim=1).max() > 2 * stage.radius
    trainer = trainer_for(2)
    trainer.callbacks.append(average)  # pyright: ignore
    trainer.fit(stage, datamodule=Data())
    assert (average.average["classifier.weight"].norm(dim=1) <= stage.radius * (1 + 1e-6)).all()


def test_only_the_classifier_is_trained_and_batchnorm_stays() -> None:
    stage = make().train()
    before = {name: tensor.clone() for name, tensor in stage.network.encoder.state_dict().items()}
    updated(stage, batch())
    assert all(torch.equal(before[name], tensor) for name, tensor in stage.network.encoder.state_dict().items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.1}, "threshold=1.1"),
        ({"threshold": -0.1}, "threshold"),
        ({"head": Cosine}, "linear classifier"),
    ],
)
def test_wrong_options_are_user_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(**options)
