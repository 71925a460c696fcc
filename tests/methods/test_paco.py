"""The PaCo stage: what it compares and trains, its queue, one and two processes, messages."""

from __future__ import annotations

import copy
import inspect
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ltmed.data.batch import Batch
from ltmed.errors import UserError
from ltmed.losses.aduni import aduc_loss, alpha_at
from ltmed.methods.paco import PaCo
from ltmed.nn.heads import MLP, Linear
from ltmed.nn.network import Network
from tests.methods.small import Encoder, K, batch, context, updated
from tests.methods.two_ranks import TwoRanks, assert_mean_gradient, half
from tests.no_reading import NoReading
from tests.test_presets import composed


def make(norm: bool = True, classes: int = K, **options: Any) -> PaCo:
    torch.manual_seed(0)
    network = Network(Encoder(norm), Linear, classes, partial(MLP, out_features=4))
    return PaCo(network, context(classes), **{"queue_size": 20, **options})


def _projector(stage: PaCo) -> nn.Module:
    assert stage.network.projector is not None
    return stage.network.projector


@pytest.mark.parametrize(
    "options",
    [{}, {"logit_prior": False}, {"normalize": False}, {"alpha_schedule": "recursive_cosine"}, {"alpha_min": 0.0},
     {"queue_size": 5}, {"queue_size": 1}, {"temperature": 1.0}, {"momentum": 0.0}],
)  # fmt: skip
def test_every_parameter_is_updated_and_the_copy_gets_no_gradient(options: dict[str, Any]) -> None:
    stage = make(**options)
    updated(stage, batch())
    assert not any(parameter.requires_grad for parameter in stage.teacher.parameters())


def test_the_classifier_gets_a_gradient_in_every_step() -> None:
    stage = make()
    for seed in range(3):
        stage.zero_grad()
        stage.training_step(batch(seed=seed), 0).backward()
        gradient = stage.get_parameter("network.classifier.weight").grad
        assert gradient is not None
        assert (gradient.abs().sum(1) > 0).all(), "every class, present or absent, is at least a negative"


@pytest.mark.parametrize("data", [batch(4, 2), batch(2, 1), batch(1, 1), batch(40, 2)])
def test_two_class_problems_batches_of_one_class_and_more_images_than_slots(data: Batch) -> None:
    stage = make(classes=2, norm=False)
    for _ in range(2):
        assert torch.isfinite(stage.training_step(data, 0))


def test_the_step_does_what_the_paper_says_in_its_order() -> None:
    stage = make(norm=False, momentum=0.5, temperature=0.3, alpha_min=0.2)
    prior = torch.tensor([1 / 6, 2 / 6, 3 / 6]).log()
    teacher: list[nn.Module] = copy.deepcopy([stage.network.encoder, _projector(stage)])
    remembered: list[tuple[Tensor, Tensor]] = []
    optimizer = stage.configure_optimizers()
    for seed in range(4):  # From the third on the queue of 20 forgets.
        data, network = batch(seed=seed), stage.network
        assert data.views is not None
        with torch.no_grad():
            for slow, fast in zip(teacher, (network.encoder, _projector(stage)), strict=True):
                for old, new in zip(slow.parameters(), fast.parameters(), strict=True):
                    old.copy_(0.5 * old + 0.5 * new)
            keys = teacher[1](teacher[0](data.views))
        features = network.encoder(data.images)
        queries, logits = _projector(stage)(features), network.classifier(features)
        candidates = torch.cat([queries, keys, *(f for f, _ in remembered)])
        labels = torch.cat([data.labels, data.labels, *(y for _, y in remembered)])
        expected = aduc_loss(
            logits, queries, data.labels, candidates, labels, alpha=0.2, temperature=0.3, log_prior=prior
        )
        loss, weights = stage.training_step(data, 0), list(network.parameters())
        torch.testing.assert_close(loss, expected)
        gradients = torch.autograd.grad(loss, weights, retain_graph=True), torch.autograd.grad(expected, weights)
        torch.testing.assert_close(*gradients)
        every = [*remembered, (keys, data.labels)]
        remembered = [(torch.cat([f for f, _ in every])[-20:], torch.cat([y for _, y in every])[-20:])]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_alpha_is_fixed_or_follows_the_epoch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed, falling = make(), make(alpha_schedule="recursive_cosine", alpha_min=0.01, t_decay=10)
    for epoch in (0, 3, 9):
        monkeypatch.setattr(PaCo, "current_epoch", epoch)
        assert fixed.alpha == 0.05
        assert falling.alpha == alpha_at(epoch, "recursive_cosine", 1.0, 0.01, 10)


def test_the_presets_differ_in_alpha_alone() -> None:
    paco, aduc, aduni = (composed(f"method={name}").method.stages.train for name in ("paco", "paco_aduc", "aduni"))
    assert (paco.module.alpha_schedule, paco.module.alpha_min) == ("constant", 0.05)
    for key in ("alpha_schedule", "alpha_min", "alpha_max", "t_decay", "temperature"):
        assert aduc.module[key] == aduni.module[key]
    paco.module.update(alpha_schedule=aduc.module.alpha_schedule, alpha_min=aduc.module.alpha_min)
    assert paco == aduc


def test_the_plain_sum_is_the_mean_times_its_weights() -> None:
    actual, plain = (make(norm=False, normalize=normalize, alpha_min=0.5) for normalize in (True, False))
    data = batch(6)._replace(labels=torch.zeros(6, dtype=torch.long))
    positives = 11  # The other 5 queries and all 6 keys; the queue is empty.
    expected = (1 + 0.5 * positives) * actual.training_step(data, 0)
    torch.testing.assert_close(plain.training_step(data, 0), expected)


def test_prediction_is_the_online_classifier() -> None:
    stage, images = make().eval(), batch().images
    torch.testing.assert_close(stage(images), stage.network.classifier(stage.network.encoder(images)))


def test_a_restored_stage_goes_on_as_if_never_stopped() -> None:
    def steps(stage: PaCo, numbers: range) -> None:
        optimizer = stage.configure_optimizers()
        for number in numbers:
            optimizer.zero_grad()
            stage.training_step(batch(seed=number), 0).backward()
            optimizer.step()

    straight, stopped, restored = make(), make(), make()
    steps(straight, range(6))
    steps(stopped, range(3))
    assert (stopped.queue.labels >= 0).all()
    restored.load_state_dict(copy.deepcopy(stopped.state_dict()))
    steps(restored, range(3, 6))
    for name, value in straight.state_dict().items():
        assert torch.equal(value, restored.state_dict()[name]), name


def test_autocast_gives_a_float32_loss_near_the_full_one() -> None:
    full = make().training_step(batch(), 0)
    with torch.autocast("cpu", torch.bfloat16):
        half = make().training_step(batch(), 0)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full, rtol=0.05, atol=0)


def test_nothing_is_read_back_from_the_device() -> None:
    stage, data = make(), batch()
    with NoReading():
        stage.training_step(data, 0).backward()


def test_the_training_step_fits_on_a_screen() -> None:
    assert len(inspect.getsource(PaCo.training_step).splitlines()) <= 25


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 1.5}, r"module\.momentum=1.5"),
        ({"queue_size": 0}, r"module\.queue_size=0"),
        ({"temperature": 0}, r"module\.temperature=0"),
        ({"alpha_min": 2.0}, r"module\.alpha_min=2"),
        ({"alpha_schedule": "fixed"}, r"module\.alpha_schedule has no choice 'fixed'"),
    ],
)
def test_wrong_options_are_user_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(**options)


def test_a_network_without_projector_and_a_batch_with_one_view_are_user_errors() -> None:
    with pytest.raises(UserError, match="needs a MLP as projector"):
        PaCo(Network(Encoder(), Linear, K), context())
    with pytest.raises(UserError, match="views=2"):
        make().training_step(batch()._replace(views=None), 0)


def test_two_ranks_with_half_the_batch_are_one_with_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(stage: PaCo, data: Batch) -> None:
        for _ in range(2):  # The second step finds a queue that wraps around.
            stage.zero_grad()
            stage.training_step(data, 0).backward()

    whole, ranks = batch(), TwoRanks(monkeypatch)
    one, *two = (make(norm=False, queue_size=12) for _ in range(3))
    train(one, whole)
    ranks.run(lambda rank: train(two[rank], half(whole, rank)))
    for name, buffer in one.named_buffers():
        if name.startswith(("queue", "teacher")):
            for stage in two:
                torch.testing.assert_close(stage.get_buffer(name), buffer)
    assert_mean_gradient(one, two)
