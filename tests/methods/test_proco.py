"""The ProCo stage: order of updates, state, gradients, one and two processes, messages."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ltmed.data.batch import Batch
from ltmed.errors import UserError
from ltmed.methods.proco import ProCo
from ltmed.nn.heads import Linear, PrototypeHead
from ltmed.nn.network import Network
from ltmed.nn.queue import QueueItems
from tests.losses import proco_oracle as oracle
from tests.methods.small import Encoder, K, batch, context, make, updated
from tests.methods.two_ranks import TwoRanks, assert_mean_gradient, half
from tests.no_reading import NoReading


@pytest.mark.parametrize(
    "options",
    [{}, {"queue_reduction": "sum"}, {"recalibration": "broadcast"}, {"recalibration": "none"},
     {"proto_instances": False}, {"temperature": 0.07}, {"queue_size": 5}, {"queue_size": 1, "gamma": 7},
     {"mixed_prototypes": "unit"}, {"mixed_prototypes": "bounded"}, {"predicted_by": "momentum"}],
)  # fmt: skip
def test_proco_updates_every_parameter_and_no_other(options: dict[str, Any]) -> None:
    stage = make(**options)
    updated(stage, batch())
    assert not any(parameter.requires_grad for parameter in stage.teacher.parameters())


@pytest.mark.parametrize("data", [batch(4, 2), batch(2, 1), batch(40, 2)], ids=["two classes", "one class", "large"])
def test_two_class_problems_and_batches_of_one_class(data: Batch) -> None:
    assert torch.isfinite(make(classes=2).training_step(data, 0))


def test_the_step_does_what_the_paper_says_in_its_order() -> None:
    stage, data = make(norm=False, momentum=0.5, mix=0.0, omega_beta=0.6), batch()
    labels = data.labels.tolist()
    queue: list[oracle.Item] = []
    teacher = [copy.deepcopy(stage.network.encoder), copy.deepcopy(stage.network.projector)]
    omega = [0.01] * K
    optimizer = stage.configure_optimizers()
    assert data.views is not None
    for _ in range(3):
        network = stage.network
        with torch.no_grad():
            for slow, fast in zip(teacher, (network.encoder, network.projector), strict=True):
                assert isinstance(slow, nn.Module)
                assert isinstance(fast, nn.Module)
                for old, new in zip(slow.parameters(), fast.parameters(), strict=True):
                    old.copy_(0.5 * old + 0.5 * new)
            features = network.encoder(data.images)
            queries = network.projector(features).double().tolist()  # pyright: ignore[reportOptionalCall]
            embeddings = network.classifier.embed(features).double().tolist()  # pyright: ignore[reportCallIssue]
            prototypes = network.classifier.prototypes.double().tolist()  # pyright: ignore[reportCallIssue]
            keys = teacher[1](teacher[0](data.views)).double().tolist()  # pyright: ignore[reportOptionalCall]
        logits = [[oracle.dot(f, p) for p in prototypes] for f in embeddings]
        predicted = [z.index(max(z)) for z in logits]
        queue = [*queue, *(oracle.Item(k, y, c, 0.0) for k, y, c in zip(keys, labels, predicted, strict=True))][-16:]
        omega = oracle.running(omega, logits, labels, 0.6)
        recalibrated = [oracle.recalibrated(f, prototypes, omega, "bias") for f in embeddings]
        none = [dict.fromkeys(range(len(queue)), 0.0)] * len(labels)
        expected = oracle.loss(queries, recalibrated, labels, queue, prototypes, none, 3, 1.0, "mean", True)

        loss = stage.training_step(data, 0)
        assert loss.item() == pytest.approx(expected, rel=1e-5)
        assert stage.omega.tolist() == pytest.approx(omega, rel=1e-5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_keys_are_classified_by_the_momentum_copy_on_their_own_view() -> None:
    torch.manual_seed(0)
    stage, data = make(predicted_by="momentum", momentum=0.5), batch()
    head = stage.network.classifier
    assert isinstance(head, PrototypeHead)
    slow = [copy.deepcopy(module) for module in (stage.network.encoder, head.embedding, head.norm)]
    optimizer = stage.configure_optimizers()
    differ = 0
    for step in range(4):
        with torch.no_grad():
            for old, new in zip(slow, (stage.network.encoder, head.embedding, head.norm), strict=True):
                for mine, reference in zip(old.parameters(), new.parameters(), strict=True):
                    mine.copy_(0.5 * mine + 0.5 * reference)
            taken_for = (F.relu(slow[2](slow[1](slow[0](data.views)))) @ head.prototypes.T).argmax(1)
            online = (head.embed(stage.network.encoder(data.images)) @ head.prototypes.T).argmax(1)
        optimizer.zero_grad()
        stage.training_step(data, step).backward()
        newest = (torch.arange(len(data.labels)) + 8 * step) % 16
        assert torch.equal(stage.queue.predicted[newest], taken_for)
        differ += int((taken_for != online).sum())
        optimizer.step()
    assert differ > 0, "else this says nothing about which network it was"
    assert not any(parameter.requires_grad for parameter in stage.key_embedding.parameters())  # pyright: ignore


def test_mixed_prototypes_reach_both_kinds_of_proto_instances() -> None:
    actual = {}
    for how in ("raw", "unit"):
        stage = make(mixed_prototypes=how)
        stage.training_step(batch(), 0)
        stage.queue.predicted.add_(1).remainder_(K)  # So that every key is a misclassified one.
        with torch.no_grad():
            stage.network.classifier.prototypes.mul_(4)  # pyright: ignore
        z = stage.network.projector(stage.network.encoder(batch().images))  # pyright: ignore
        torch.manual_seed(1)
        items = QueueItems(stage.queue.keys, stage.queue.labels, stage.queue.predicted)
        prototypes: Any = stage.network.classifier.prototypes
        actual[how] = [part[1].similarity for part in stage._contrast(z, batch().labels, prototypes, items)]
    for raw, unit in zip(actual["raw"], actual["unit"], strict=True):
        assert not torch.allclose(raw, unit)


def test_prediction_is_the_nearest_prototype_of_the_online_branch() -> None:
    stage, images = make().eval(), batch().images
    head = stage.network.classifier
    assert isinstance(head, PrototypeHead)
    expected = F.relu(head.embedding(stage.network.encoder(images))) @ head.prototypes.T
    torch.testing.assert_close(stage(images), expected)


def test_the_teacher_stays_in_training_mode_and_the_network_does_not() -> None:
    stage = make().eval()
    assert stage.teacher.training
    assert not stage.network.training


def test_a_restored_stage_goes_on_as_if_never_stopped() -> None:
    def steps(stage: ProCo, numbers: range) -> None:
        optimizer = stage.configure_optimizers()
        for number in numbers:
            torch.manual_seed(number)
            optimizer.zero_grad()
            stage.training_step(batch(seed=number), 0).backward()
            optimizer.step()

    straight, stopped, restored = make(), make(), make()
    steps(straight, range(6))
    steps(stopped, range(3))
    restored.load_state_dict(copy.deepcopy(stopped.state_dict()))
    steps(restored, range(3, 6))
    for name, value in straight.state_dict().items():
        assert torch.equal(value, restored.state_dict()[name]), name


def test_proto_instances_are_drawn_anew_and_repeat_with_the_seed() -> None:
    def loss(seed: int) -> float:
        stage = make()
        stage.training_step(batch(), 0)
        torch.manual_seed(seed)
        return stage.training_step(batch(), 0).item()

    assert loss(1) == loss(1)
    assert loss(1) != loss(2)


def test_autocast_gives_a_float32_loss_near_the_full_one() -> None:
    full = make(mix=0.0).training_step(batch(), 0)
    with torch.autocast("cpu", torch.bfloat16):
        half = make(mix=0.0).training_step(batch(), 0)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full, rtol=0.05, atol=0)


def test_nothing_is_read_back_from_the_device() -> None:
    stage, data = make(), batch()
    with NoReading():
        stage.training_step(data, 0)
        with pytest.raises(AssertionError):
            bool(data.labels.sum() > 0)


def test_the_training_step_fits_on_a_screen() -> None:
    assert len(inspect.getsource(ProCo.training_step).splitlines()) <= 25


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recalibration": "biass"}, r"module\.recalibration has no choice 'biass'.*'bias'"),
        ({"queue_reduction": "max"}, r"module\.queue_reduction has no choice"),
        ({"mixed_prototypes": "norm"}, r"module\.mixed_prototypes has no choice"),
        ({"predicted_by": "teacher"}, r"module\.predicted_by has no choice"),
        ({"momentum": 1.5}, r"module\.momentum=1.5"),
        ({"queue_size": 0}, r"module\.queue_size=0"),
        ({"gamma": 0}, r"module\.gamma=0"),
        ({"temperature": 0}, r"module\.temperature=0"),
        ({"omega_init": 0}, r"module\.omega_init=0"),
        ({"projector": 5}, r"width 5 with prototypes of width 4"),
    ],
)
def test_wrong_options_are_user_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(**options)


def test_a_network_without_prototypes_and_a_batch_with_one_view_are_user_errors() -> None:
    with pytest.raises(UserError, match="projector"):
        ProCo(Network(Encoder(), Linear, K), context())
    with pytest.raises(UserError, match="views=2"):
        make().training_step(batch()._replace(views=None), 0)


def test_two_ranks_with_half_the_batch_are_one_with_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(stage: ProCo, data: Batch) -> None:
        for _ in range(2):  # The second step finds a queue that wraps around.
            stage.zero_grad()
            stage.training_step(data, 0).backward()

    whole, ranks = batch(), TwoRanks(monkeypatch)
    one, *two = (make(norm=False, mix=0.0, queue_size=12) for _ in range(3))
    train(one, whole)
    ranks.run(lambda rank: train(two[rank], half(whole, rank)))
    for name, buffer in one.named_buffers():
        if name.startswith(("queue", "omega", "teacher")):
            for stage in two:
                torch.testing.assert_close(stage.get_buffer(name), buffer)
    assert_mean_gradient(one, two)
