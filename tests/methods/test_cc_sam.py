"""CC-SAM against a slow reference: one copied classifier, one step and one pass for every class."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltmed.errors import UserError
from ltmed.losses.cc_sam import radii, rarity, sharpness_shift, softmax_residuals, uphill_features
from ltmed.methods.cc_sam import Flatten, Robustify
from ltmed.nn.cosine import Cosine
from ltmed.nn.heads import Linear
from ltmed.nn.network import Network
from ltmed.training.stage import Stage
from ltmed.utils import distributed
from tests.methods.small import Encoder, K, batch, context, updated
from tests.methods.two_ranks import TwoRanks, assert_mean_gradient, half
from tests.no_reading import NoReading

COUNTS = context().counts.tolist()


def make(kind: type[Stage] = Flatten, head: Any = Linear, norm: bool = False, **options: Any) -> Any:
    torch.manual_seed(0)
    return kind(Network(Encoder(norm), head, K), context(), **options).double()


def data(size: int = 12) -> Any:
    made = batch(size)
    return made._replace(images=made.images.double(), views=None)


def slow_flatten(network: Network, images: Tensor, labels: Tensor, rho: float, share: float) -> tuple[float, dict]:
    """Value and gradients, as a second pass through a classifier that was really moved gives them."""
    features = network.encoder(images)
    loss = (1 - share) * F.cross_entropy(network.classifier(features), labels)
    loss.backward(retain_graph=True)
    head: Any = network.classifier
    numbers = sum(p.numel() for p in head.parameters())
    total = loss.item()
    for c in labels.unique().tolist():
        own = labels == c
        expected = torch.autograd.grad(
            F.cross_entropy(head(features[own]), labels[own]), list(head.parameters()), retain_graph=True
        )
        moved = copy.deepcopy(head)
        moved.zero_grad()
        with torch.no_grad():
            for parameter, g in zip(moved.parameters(), expected, strict=True):
                length = rho * numbers**0.25 / max(COUNTS[c] - 1, 1) ** 0.25
                length *= math.sqrt(parameter.norm().item() / 2 / g.norm().item())
                parameter += length * g / g.norm()
        part = share * F.cross_entropy(moved(features[own]), labels[own], reduction="sum") / len(labels)
        part.backward(retain_graph=True)
        total += part.item()
        for parameter, other in zip(head.parameters(), moved.parameters(), strict=True):
            parameter.grad += other.grad
    return total, {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("rho", [1e-6, 0.05, 1.0])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_first_stage_is_the_slow_one(rho: float, share: float) -> None:
    stage, made = make(rho=rho, flatness=share), data()
    loss = stage.training_step(made, 0)
    loss.backward()
    reference = make()
    expected, gradients = slow_flatten(reference.network, made.images, made.labels, rho, share)
    assert loss.item() == pytest.approx(expected, rel=1e-9)
    assert gradients
    for name, gradient in gradients.items():
        torch.testing.assert_close(stage.network.get_parameter(name).grad, gradient)


def test_the_step_is_uphill_and_longer_for_a_smaller_class() -> None:
    stage, made = make(), data(24)
    features = stage.network.encoder(made.images).detach()
    head = stage.network.classifier
    logits = head(features)
    misses = softmax_residuals(logits, made.labels)

    def rise(counts: Tensor, rho: float = 1e-3) -> float:
        shift = sharpness_shift(
            features, made.labels, features, misses, made.labels, head.weight, head.bias, counts, rho=rho
        )
        return (F.cross_entropy(logits + shift, made.labels) - F.cross_entropy(logits, made.labels)).item()

    small, large = rise(torch.tensor([3] * K)), rise(torch.tensor([3000] * K))
    assert small > large > 0
    assert small / large == pytest.approx((2999 / 2) ** 0.25, rel=0.01)
    assert rise(torch.tensor([3] * K), 0.0) == 0


def test_a_head_without_bias() -> None:
    stage = make(head=lambda d, k: Linear(d, k, bias=False), rho=0.1)
    loss = stage.training_step(data(), 0)
    reference = make(head=lambda d, k: Linear(d, k, bias=False))
    expected, _ = slow_flatten(reference.network, data().images, data().labels, 0.1, 0.5)
    assert loss.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("value", [0.0, 1e4, 1e-20])
def test_equal_or_extreme_features_are_finite(value: float) -> None:
    features = torch.full((6, 4), value, requires_grad=True)
    labels, head = torch.tensor([0, 0, 1, 1, 2, 0]), nn.Linear(4, 3)
    logits = head(features)
    shift = sharpness_shift(
        features, labels, features.detach(), softmax_residuals(logits, labels), labels, head.weight, head.bias,
        torch.tensor([100, 10, 1]), rho=0.05,
    )  # fmt: skip
    F.cross_entropy(logits + shift, labels).backward()
    assert torch.isfinite(shift).all()
    assert torch.isfinite(features.grad).all()  # pyright: ignore[reportArgumentType]


def test_certain_predictions_make_no_step() -> None:
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4]])
    labels, features = torch.tensor([0, 1]), torch.ones(2, 3)
    misses = softmax_residuals(logits, labels)
    assert torch.equal(misses, torch.zeros(2, 2))
    shift = sharpness_shift(
        features, labels, features, misses, labels, torch.ones(2, 3), torch.ones(2), torch.tensor([9, 2]), rho=1.0
    )
    assert torch.equal(shift, torch.zeros(2, 2))


def test_batchnorm_takes_its_statistics_once_a_step() -> None:
    torch.manual_seed(0)
    stage = Flatten(Network(Encoder(), Linear, K), context(), rho=0.1).train()
    stage.training_step(batch(), 0)
    (layer,) = (m for m in stage.modules() if isinstance(m, nn.BatchNorm2d))
    assert layer.num_batches_tracked == 1


def slow_robustify(network: Network, images: Tensor, labels: Tensor, share: float, step: float) -> Tensor:
    features = network.encoder(images).detach()
    total = torch.zeros((), dtype=torch.float64)
    for c in labels.unique().tolist():
        own = labels == c
        weight = math.log(max(COUNTS) / COUNTS[c] + 0.01) / 2
        leaf = features.clone().requires_grad_()
        (g,) = torch.autograd.grad(F.cross_entropy(network.classifier(leaf)[own], labels[own]), leaf)
        moved = features + step * weight * g / g.norm()
        total = total + weight * F.cross_entropy(network.classifier(moved)[own], labels[own], reduction="sum")
    return (1 - share) * F.cross_entropy(network.classifier(features), labels) + share * total / len(labels)


@pytest.mark.parametrize(("epoch", "share"), [(0, 0.1), (2, 0.3), (9, 0.3)])
@pytest.mark.parametrize("step", [0.0, 1.0, 5.0])
def test_second_stage_is_the_slow_one(epoch: int, share: float, step: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Robustify, "current_epoch", epoch)
    stage, made = make(Robustify, step=step), data()
    object.__setattr__(stage.context, "epochs", 10)
    loss = stage.training_step(made, 0)
    loss.backward()
    reference = make(Robustify)
    expected = slow_robustify(reference.network, made.images, made.labels, share, step)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    for name, parameter in stage.network.classifier.named_parameters():
        wanted = reference.network.classifier.get_parameter(name).grad
        torch.testing.assert_close(parameter.grad, wanted, rtol=1e-5, atol=1e-7)


def test_second_stage_trains_the_classifier_alone() -> None:
    torch.manual_seed(0)
    stage = Robustify(Network(Encoder(), Linear, K), context()).train()
    before = {name: tensor.clone() for name, tensor in stage.network.encoder.state_dict().items()}
    updated(stage, batch())
    assert all(torch.equal(before[name], tensor) for name, tensor in stage.network.encoder.state_dict().items())


@pytest.mark.parametrize("kind", [Flatten, Robustify])
def test_two_processes_have_the_gradient_of_one(kind: type[Stage], monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"rho": 0.5} if kind is Flatten else {"step": 2.0}
    ranks, made = TwoRanks(monkeypatch), data(16)
    one, two = make(kind, **options), [make(kind, **options) for _ in range(2)]
    one.training_step(made, 0).backward()
    for loss in ranks.run(lambda rank: two[rank].training_step(half(made, rank), 0)):
        loss.backward()
    assert_mean_gradient(one, two)
    assert not distributed.is_distributed()


@pytest.mark.parametrize("kind", [Flatten, Robustify])
def test_a_step_waits_for_nothing_and_runs_under_autocast(kind: type[Stage]) -> None:
    torch.manual_seed(0)
    stage = kind(Network(Encoder(), Linear, K), context())
    stage.training_step(batch(), 0)
    with NoReading():
        stage.training_step(batch(), 0)
    with torch.autocast("cpu", torch.bfloat16):
        loss: Any = stage.training_step(batch(), 0)
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)


def test_radii_and_rarity() -> None:
    counts = torch.tensor([10_001, 17, 2, 1])
    assert radii(counts, torch.float64).tolist() == pytest.approx([0.1, 0.5, 1, 1])
    expected = [math.log(10_001 / n + 0.01) / 2 for n in counts.tolist()]
    assert rarity(counts, torch.float64, 2.0).tolist() == pytest.approx(expected)


def test_features_that_cost_nothing_are_not_moved() -> None:
    still = uphill_features(torch.zeros(2, 3), torch.tensor([0, 1]), torch.ones(3, 4), torch.ones(3), lambda x: x)
    assert torch.equal(still, torch.zeros(2, 4))


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (Flatten, {"rho": -1.0}, "rho"), (Flatten, {"flatness": 1.5}, "flatness"),
        (Flatten, {"head": Cosine}, "linear"), (Robustify, {"max_share": 2.0}, "max_share"),
        (Robustify, {"divisor": 0.0}, "divisor"),
        (Robustify, {"step": -1.0}, "step"), (Robustify, {"head": Cosine}, "linear"),
    ],
)  # fmt: skip
def test_wrong_options_are_user_errors(kind: type[Stage], options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(kind, **options)
