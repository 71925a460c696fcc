"""The AdUni stage: what it trains, alpha over the epochs, one and two processes, messages."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from ltmed.data.batch import Batch
from ltmed.errors import UserError
from ltmed.losses.aduni import aduc_loss, alpha_at
from ltmed.methods.aduni import AdUni
from ltmed.nn.dropout_head import DropoutLinear
from ltmed.nn.heads import MLP, Linear
from ltmed.nn.network import Network
from tests.methods.small import Encoder, K, batch, context, updated
from tests.methods.two_ranks import TwoRanks, assert_mean_gradient, half
from tests.no_reading import NoReading


def make(norm: bool = True, p: float = 0.5, classes: int = K, **options: Any) -> AdUni:
    torch.manual_seed(0)
    network = Network(Encoder(norm), partial(DropoutLinear, p=p), classes, partial(MLP, out_features=4))
    return AdUni(network, context(classes), **options)


@pytest.mark.parametrize(
    "options",
    [{}, {"logit_prior": True}, {"normalize": False}, {"alpha_schedule": "constant"}, {"alpha_schedule": "cosine"},
     {"temperature": 1.0}, {"alpha_min": 0.0, "t_decay": 1}, {"label_per_positive": True}, {"temper_logits": True}],
)  # fmt: skip
def test_every_parameter_is_updated(options: dict[str, Any]) -> None:
    updated(make(**options), batch())


@pytest.mark.parametrize("data", [batch(4, 2), batch(2, 1), batch(1, 1)], ids=["two classes", "one class", "one image"])
def test_two_class_problems_and_batches_of_one_class(data: Batch) -> None:
    assert torch.isfinite(make(classes=2).training_step(data, 0))


@pytest.mark.parametrize("logit_prior", [True, False])
def test_the_step_is_the_loss_of_both_views_with_the_class_frequencies(logit_prior: bool) -> None:
    stage, data = make(norm=False, p=0.0, logit_prior=logit_prior), batch()
    assert data.views is not None
    logits, features = [], []
    for images in (data.images, data.views):
        representations = stage.network.encoder(images)
        logits.append(stage.network.classifier(representations))
        assert stage.network.projector is not None
        features.append(stage.network.projector(representations))
    f, labels = torch.cat(features), torch.cat([data.labels] * 2)
    torch.testing.assert_close(f.norm(dim=1), torch.ones(16))
    prior = torch.tensor([1 / 6, 2 / 6, 3 / 6]).log() if logit_prior else None
    expected = aduc_loss(torch.cat(logits), f, labels, f, labels, alpha=1.0, log_prior=prior)
    torch.testing.assert_close(stage.training_step(data, 0), expected)


def test_the_printed_form_reaches_the_loss() -> None:
    options: dict[str, Any] = {"normalize": False, "label_per_positive": True, "temper_logits": True}
    stage, data = make(norm=False, p=0.0, **options), batch()
    assert data.views is not None
    assert stage.network.projector is not None
    z = stage.network.encoder(torch.cat([data.images, data.views]))
    f, labels = stage.network.projector(z), torch.cat([data.labels] * 2)
    expected = aduc_loss(stage.network.classifier(z), f, labels, f, labels, alpha=1.0, **options)
    torch.testing.assert_close(stage.training_step(data, 0), expected)
    assert not torch.allclose(expected, make(norm=False, p=0.0, normalize=False).training_step(data, 0))


def test_alpha_follows_the_epoch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = make(norm=False, p=0.0, t_decay=10, alpha_max=0.8, alpha_min=0.1)
    losses = []
    for epoch in (0, 3, 9, 3):
        monkeypatch.setattr(AdUni, "current_epoch", epoch)
        assert stage.alpha == alpha_at(epoch, "recursive_cosine", 0.8, 0.1, 10)
        losses.append(stage.training_step(batch(), 0).item())
    assert len(set(losses)) == 3
    assert losses[1] == losses[3]


def test_prediction_is_the_linear_classifier_without_dropout_and_prior() -> None:
    stage, images = make().eval(), batch().images
    head = stage.network.classifier
    assert isinstance(head, DropoutLinear)
    torch.testing.assert_close(stage(images), head.linear(stage.network.encoder(images)))


def test_dropout_is_on_in_training_and_repeats_with_the_seed() -> None:
    def loss(seed: int) -> float:
        stage = make()
        torch.manual_seed(seed)
        return stage.training_step(batch(), 0).item()

    assert loss(1) == loss(1)
    assert loss(1) != loss(2)


def test_nothing_but_the_network_is_in_a_checkpoint() -> None:
    assert all(name.startswith("network.") for name in make().state_dict())


def test_autocast_gives_a_float32_loss_near_the_full_one() -> None:
    full = make(p=0.0).training_step(batch(), 0)
    with torch.autocast("cpu", torch.bfloat16):
        half = make(p=0.0).training_step(batch(), 0)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full, rtol=0.05, atol=0)


def test_nothing_is_read_back_from_the_device() -> None:
    stage, data = make(), batch()
    with NoReading():
        stage.training_step(data, 0).backward()
        with pytest.raises(AssertionError):
            bool(data.labels.sum() > 0)


def test_the_training_step_fits_on_a_screen() -> None:
    assert len(inspect.getsource(AdUni.training_step).splitlines()) <= 25


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha_schedule": "cosin"}, r"module\.alpha_schedule has no choice 'cosin'.*'cosine'"),
        ({"temperature": 0}, r"module\.temperature=0"),
        ({"alpha_max": -1.0}, r"module\.alpha_max=-1"),
        ({"alpha_min": 2.0}, r"module\.alpha_min=2.*between 0 and 1"),
        ({"t_decay": 0}, r"module\.t_decay=0"),
    ],
)
def test_wrong_options_are_user_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(**options)


def test_a_network_without_projector_and_a_batch_with_one_view_are_user_errors() -> None:
    with pytest.raises(UserError, match="projector"):
        AdUni(Network(Encoder(), Linear, K), context())
    with pytest.raises(UserError, match="views=2"):
        make().training_step(batch()._replace(views=None), 0)


def test_two_ranks_with_half_the_batch_are_one_with_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(stage: AdUni, data: Batch) -> Tensor:
        loss = stage.training_step(data, 0)
        loss.backward()
        return loss.detach()

    whole, ranks = batch(), TwoRanks(monkeypatch)
    one, *two = (make(norm=False, p=0.0) for _ in range(3))
    expected = train(one, whole)
    losses = ranks.run(lambda rank: train(two[rank], half(whole, rank)))
    torch.testing.assert_close((losses[0] + losses[1]) / 2, expected)
    assert not torch.allclose(losses[0], losses[1])
    assert_mean_gradient(one, two)
