"""The stages of supervised contrast: what each trains and leaves alone, one and two processes, messages."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltmed.data.batch import Batch
from ltmed.errors import UserError
from ltmed.losses.classification import cross_entropy
from ltmed.losses.supcon import supcon_loss
from ltmed.methods.supcon import Contrast, LinearProbe
from ltmed.nn.heads import MLP, Linear
from ltmed.nn.network import Network
from ltmed.training.stage import Stage
from tests.harness import METHODS
from tests.methods.small import Encoder, K, batch, context, updated
from tests.methods.two_ranks import TwoRanks, assert_mean_gradient, half
from tests.no_reading import NoReading
from tests.test_presets import composed, pixels


def network(norm: bool = True) -> Network:
    torch.manual_seed(0)
    return Network(Encoder(norm), Linear, K, partial(MLP, out_features=4))


def contrast(norm: bool = True, **options: Any) -> Contrast:
    return Contrast(network(norm), context(), **options)


def probe(given: Network | None = None) -> LinearProbe:
    return LinearProbe(given or network(), context(), loss=cross_entropy)


def changed(before: dict[str, Tensor], after: nn.Module) -> set[str]:
    return {name.split(".")[0] for name, value in after.state_dict().items() if not torch.equal(value, before[name])}


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_contrast_trains_encoder_and_projector_and_not_the_classifier() -> None:
    stage = contrast()
    before = state(stage.network)
    updated(stage, batch())
    assert changed(before, stage.network) == {"encoder", "projector"}
    assert stage.network.classifier.weight.grad is None


def test_the_classifier_is_trained_by_the_second_stage_and_nothing_else_is() -> None:
    first = contrast()
    updated(first, batch())
    stage = probe(first.network)
    before = state(stage.network)
    updated(stage, batch(), steps=3)
    assert changed(before, stage.network) == {"classifier"}, "weights and BatchNorm statistics of the encoder stay"
    trained = [name for name, p in stage.named_parameters() if p.requires_grad]
    assert trained == ["network.classifier.weight", "network.classifier.bias"]


def test_the_first_stage_can_follow_the_second() -> None:
    stage = Contrast(probe().network, context())
    assert all(p.requires_grad for p in stage.network.encoder.parameters())
    assert not any(p.requires_grad for p in stage.network.classifier.parameters())


def test_the_encoder_of_the_second_stage_stays_in_evaluation_mode_whatever_is_asked_for() -> None:
    stage, data = probe(contrast().network.train()), batch()
    for turn in (lambda: None, stage.train, lambda: stage.eval().train()):
        turn()
        assert not any(module.training for module in stage.network.encoder.modules())
        assert stage.network.classifier.training
    in_training = stage(data.images)
    torch.testing.assert_close(in_training, stage.eval()(data.images), rtol=0, atol=0)


def test_the_step_is_the_loss_of_both_views() -> None:
    stage, data = contrast(norm=False, temperature=0.3), batch()
    assert data.views is not None
    assert stage.network.projector is not None
    f = torch.cat([stage.network.projector(stage.network.encoder(x)) for x in (data.images, data.views)])
    labels = torch.cat([data.labels] * 2)
    torch.testing.assert_close(f.norm(dim=1), torch.ones(16))
    expected = supcon_loss(f, labels, f, labels, temperature=0.3)
    loss, weights = stage.training_step(data, 0), list(stage.network.encoder.parameters())
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, weights), torch.autograd.grad(expected, weights))


def test_the_second_step_is_cross_entropy_of_the_frozen_features() -> None:
    stage, data = probe(), batch()
    features = stage.network.eval().encoder(data.images)
    expected = F.cross_entropy(stage.network.classifier(features), data.labels)
    torch.testing.assert_close(stage.train().training_step(data, 0), expected)


@pytest.mark.parametrize("data", [batch(4, 2), batch(2, 1), batch(1, 1)], ids=["two classes", "one class", "one image"])
def test_batches_of_few_classes_and_images(data: Batch) -> None:
    loss = contrast().training_step(data, 0)
    assert torch.isfinite(loss)


def test_contrast_brings_classes_together() -> None:
    stage, labels = contrast(norm=False), torch.arange(K).repeat(8)
    data = Batch(pixels(labels), labels, labels, pixels(labels).flip(3))
    optimizer = torch.optim.SGD([p for p in stage.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = stage.training_step(data, 0)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("make", [contrast, probe])
def test_nothing_but_the_network_is_in_a_checkpoint(make: Any) -> None:
    assert all(name.startswith("network.") for name in make().state_dict())


def test_autocast_gives_a_float32_loss_near_the_full_one() -> None:
    full = contrast().training_step(batch(), 0)
    with torch.autocast("cpu", torch.bfloat16):
        half = contrast().training_step(batch(), 0)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full, rtol=0.05, atol=0)


@pytest.mark.parametrize("make", [contrast, probe])
def test_nothing_is_read_back_from_the_device(make: Any) -> None:
    stage: Stage = make()
    with NoReading():
        loss = stage.training_step(batch(), 0)
        assert isinstance(loss, Tensor)
        loss.backward()


def test_the_training_step_fits_on_a_screen() -> None:
    assert len(inspect.getsource(Contrast.training_step).splitlines()) <= 25


def test_mistakes_are_user_errors() -> None:
    with pytest.raises(UserError, match=r"module\.temperature=0"):
        contrast(temperature=0)
    with pytest.raises(UserError, match="projector"):
        Contrast(Network(Encoder(), Linear, K), context())
    with pytest.raises(UserError, match="views=2"):
        contrast().training_step(batch()._replace(views=None), 0)


def test_two_ranks_with_half_the_batch_are_one_with_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(stage: Contrast, data: Batch) -> Tensor:
        loss = stage.training_step(data, 0)
        loss.backward()
        return loss.detach()

    whole, ranks = batch(), TwoRanks(monkeypatch)
    one, *two = (contrast(norm=False) for _ in range(3))
    expected = train(one, whole)
    losses = ranks.run(lambda rank: train(two[rank], half(whole, rank)))
    torch.testing.assert_close((losses[0] + losses[1]) / 2, expected)
    assert not torch.allclose(losses[0], losses[1])
    assert_mean_gradient(one, two)


@pytest.mark.parametrize("method", ["cl", "cl_rs", "cicl"])
def test_a_stage_with_an_untrained_classifier_keeps_its_last_checkpoint(method: str) -> None:
    assert method in METHODS
    stages = composed(f"method={method}").method.stages
    assert list(stages) == ["contrast", "classify"]
    assert (stages.contrast.keep, stages.classify.keep) == ("last", "best")


def test_who_is_resampled_where() -> None:
    def samplers(*words: str) -> list[str]:
        return [
            stage.sampler._target_.rpartition(".")[2] + str(stage.sampler.get("q", ""))
            for stage in composed(*words).method.stages.values()
        ]

    assert samplers("method=cl") == ["InstanceSampler"] * 2
    assert samplers("method=cl", "sampler=class_balanced") == ["PowerSampler0.0"] * 2
    assert samplers("method=cl_rs") == ["InstanceSampler", "PowerSampler0.0"]
    assert samplers("method=cicl") == ["ClassBatchSampler"] * 2


def test_the_loss_of_the_second_stage_is_a_choice() -> None:
    stage = composed("method=cl", "loss=balanced_softmax").method.stages.classify
    assert stage.module.loss._target_ == "ltmed.losses.margins.logit_adjusted"
