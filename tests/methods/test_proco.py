"""The ProCo stage: order of updates, state, gradients, one and two processes, messages. ERM is trained beside it."""

from __future__ import annotations

import copy
import inspect
import multiprocessing
import os
import socket
import traceback
from functools import partial
from multiprocessing.queues import Queue
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltmed.data.batch import Batch
from ltmed.errors import UserError
from ltmed.losses import proco as losses
from ltmed.losses.classification import cross_entropy
from ltmed.methods.erm import ERM
from ltmed.methods.proco import ProCo
from ltmed.nn.heads import MLP, Linear, PrototypeHead
from ltmed.nn.network import Network
from ltmed.stage import Stage, StageContext
from tests.losses import proco_oracle as oracle

K, WIDTH = 3, 4


class Encoder(nn.Module):
    """A small stand-in for a timm model."""

    num_features = 6

    def __init__(self, norm: bool = True) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6) if norm else nn.Identity(), nn.Tanh())

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).mean((2, 3))


def context(classes: int = K) -> StageContext:
    return StageContext(
        name="train", seed=0, epochs=1, classes=tuple("abcdefgh"[:classes]), counts=torch.arange(classes) + 1, tiers={},
        mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), optimizer=partial(torch.optim.SGD, lr=0.1),
    )  # fmt: skip


def make(classes: int = K, norm: bool = True, projector: int = WIDTH, **options: Any) -> ProCo:
    torch.manual_seed(0)
    network = Network(
        Encoder(norm), partial(PrototypeHead, width=WIDTH), classes, partial(MLP, out_features=projector, hidden=8)
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


def test_erm_updates_every_parameter() -> None:
    torch.manual_seed(0)
    updated(ERM(Network(Encoder(), Linear, K), context(), loss=cross_entropy), batch())


def test_erm_gives_its_loss_logits_labels_and_training_counts() -> None:
    seen: list[Tensor] = []

    def loss(*arguments: Tensor) -> Tensor:
        seen.extend(arguments)
        return arguments[0].sum()

    stage, data = ERM(Network(Encoder(), Linear, K), context(), loss=loss).eval(), batch()
    stage.training_step(data, 0)
    torch.testing.assert_close(seen[0], stage(data.images))
    assert torch.equal(seen[1], data.labels)
    assert torch.equal(seen[2], context().counts)


@pytest.mark.parametrize(
    "options",
    [{}, {"queue_reduction": "sum"}, {"recalibration": "broadcast"}, {"recalibration": "none"},
     {"proto_instances": False}, {"temperature": 0.07}, {"queue_size": 5}, {"queue_size": 1, "gamma": 7}],
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
    # A tensor on "meta" has no values: reading one, or a shape that depends on one, raises.
    stage = make().to("meta")
    data = Batch(*(None if part is None else part.to("meta") for part in batch()))  # pyright: ignore
    stage.training_step(data, 0).backward()


def test_the_training_step_fits_on_a_screen() -> None:
    assert len(inspect.getsource(ProCo.training_step).splitlines()) <= 25


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recalibration": "biass"}, r"module\.recalibration has no choice 'biass'.*'bias'"),
        ({"queue_reduction": "max"}, r"module\.queue_reduction has no choice"),
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
    with pytest.raises(UserError, match="PrototypeHead"):
        ProCo(Network(Encoder(), Linear, K), context())
    with pytest.raises(UserError, match=r"method\.stages\.train\.views=2"):
        make().training_step(batch()._replace(views=None), 0)


def _half(rank: int, port: int, answers: Queue) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    try:
        torch.set_num_threads(1)
        torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
        stage, whole = make(norm=False, mix=0.0, queue_size=12), batch()
        mine = Batch(*(part[4 * rank : 4 * rank + 4] for part in whole if part is not None))
        for _ in range(2):  # The second step finds a queue that wraps around.
            stage.zero_grad()
            stage.training_step(mine, 0).backward()
        gradients = {n: p.grad.tolist() for n, p in stage.named_parameters() if p.grad is not None}
        answers.put((rank, gradients, stage.omega.tolist(), [b.tolist() for b in stage.queue.buffers()]))
        torch.distributed.destroy_process_group()
    except Exception:
        answers.put((rank, traceback.format_exc(), None, None))


@pytest.mark.slow
def test_two_processes_with_half_the_batch_are_one_with_all_of_it() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    spawn = multiprocessing.get_context("forkserver")
    spawn.set_forkserver_preload(["lightning.pytorch", "torchmetrics"])
    answers = spawn.Queue()
    processes = [spawn.Process(target=_half, args=(rank, port, answers), daemon=True) for rank in range(2)]
    for process in processes:
        process.start()
    found = sorted(answers.get(timeout=120) for _ in processes)
    for process in processes:
        process.join()

    stage = make(norm=False, mix=0.0, queue_size=12)
    for _ in range(2):
        stage.zero_grad()
        stage.training_step(batch(), 0).backward()
    for _, gradients, omega, queue in found:
        assert isinstance(gradients, dict), gradients
        torch.testing.assert_close(torch.tensor(omega), stage.omega)
        for one, other in zip(queue, stage.queue.buffers(), strict=True):
            torch.testing.assert_close(torch.tensor(one, dtype=other.dtype), other)
    for name, parameter in stage.named_parameters():
        if parameter.grad is not None:
            mean = (torch.tensor(found[0][1][name]) + torch.tensor(found[1][1][name])) / 2
            torch.testing.assert_close(mean, parameter.grad, rtol=1e-4, atol=1e-6)


def test_the_functions_of_the_loss_know_nothing_of_lightning_or_processes() -> None:
    source = inspect.getsource(losses)
    assert "lightning" not in source
    assert "distributed" not in source
