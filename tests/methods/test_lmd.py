"""The two stages of LMD: what each step trains, the teacher, the EM loop, one and two processes, messages."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import LightningDataModule, Trainer
from torch import Tensor

from ltmed.data.batch import Batch
from ltmed.data.samplers.single import InstanceSampler, PowerSampler, Sampler
from ltmed.errors import UserError
from ltmed.losses import lmd
from ltmed.methods.lmd import Calibrate, Represent, decay, with_every_class
from ltmed.nn.heads import Linear
from ltmed.nn.network import Network
from ltmed.nn.virtual import real_batches, virtual_batches
from ltmed.utils.seeding import derive
from tests.losses.test_lmd import relation_oracle
from tests.methods.small import Encoder, K, batch, context, updated
from tests.methods.two_ranks import TwoRanks, assert_mean_gradient, half
from tests.no_reading import NoReading

N = 30


def represent(norm: bool = True, **options: Any) -> Represent:
    torch.manual_seed(0)
    return Represent(Network(Encoder(norm), Linear, K), context(), **options)


def test_decay_is_the_papers() -> None:
    assert [decay(step) for step in (0, 1, 3, 10_000)] == [0, 0.5, 0.75, 0.999]


@pytest.mark.parametrize(
    "options",
    [{}, {"ce_view": "strong"}, {"consistency": 0}, {"normalize_rows": False}, {"consistency_start_epoch": 1}],
)
def test_represent_updates_every_parameter_but_the_teachers(options: dict[str, Any]) -> None:
    stage = represent(**options)
    updated(stage, batch())
    assert not any(parameter.requires_grad for parameter in stage.teacher.parameters())
    assert stage.teacher.training


@pytest.mark.parametrize("ce_view", ["weak", "strong"])
def test_represent_minimises_equation_4(ce_view: Any) -> None:
    stage, data = represent(norm=False, ce_view=ce_view, consistency=3.0, probability=0.25), batch()
    assert data.views is not None
    with torch.no_grad():
        student, teacher = (stage.network.encoder(images).double() for images in (data.images, data.views))
        logits, targets = (stage.network.classifier(z.float()).double() for z in (student, teacher))
    terms = relation_oracle(student, teacher, True) + relation_oracle(student.T, teacher.T, True)
    p, q = targets.softmax(1), logits.softmax(1)
    terms += 0.25 * float((p * (p / q).log()).sum(1).mean())
    observed = targets if ce_view == "weak" else logits
    expected = float(F.cross_entropy(observed, data.labels)) + 3.0 * terms
    # At the first step the teacher is the student.
    assert stage.training_step(data, 0).item() == pytest.approx(expected, rel=1e-4)


def test_the_teacher_is_the_average_of_the_students() -> None:
    stage, data = represent(), batch()
    optimizer = stage.configure_optimizers()
    slow = copy.deepcopy(stage.network.classifier.state_dict())
    for step in range(4):
        stage._trainer = SimpleNamespace(global_step=step, current_epoch=0, accumulate_grad_batches=1)  # pyright: ignore
        for name, value in stage.network.classifier.state_dict().items():
            slow[name] = decay(step) * slow[name] + (1 - decay(step)) * value
        optimizer.zero_grad()
        stage.training_step(data, step).backward()
        for name, value in stage.teacher.copies[1].state_dict().items():
            torch.testing.assert_close(value, slow[name])
        optimizer.step()


def test_two_ranks_with_half_the_batch_are_one_with_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(stage: Represent, data: Batch) -> None:
        for _ in range(2):
            stage.training_step(data, 0).backward()
            with torch.no_grad():  # So that the teacher is another network at the second step, on each rank the same.
                for copied in stage.teacher.parameters():
                    copied.mul_(0.9)

    whole, ranks = batch(), TwoRanks(monkeypatch)
    one, *two = (represent(norm=False) for _ in range(3))
    for stage in (one, *two):
        monkeypatch.setattr(stage.teacher, "update", lambda *_, **__: None)
    train(one, whole)
    ranks.run(lambda rank: train(two[rank], half(whole, rank)))
    assert_mean_gradient(one, two)


def test_represent_reads_nothing_back_and_needs_two_views() -> None:
    stage, data = represent(), batch()
    with NoReading():
        stage.training_step(data, 0)
    with pytest.raises(UserError, match="views=2"):
        stage.training_step(data._replace(views=None), 0)
    for option in ("consistency", "probability"):
        with pytest.raises(UserError, match=rf"module\.{option}=-1"):
            represent(**{option: -1})
    with pytest.raises(UserError, match="'weak'"):
        represent(ce_view="week")


# --- stage 2 --------------------------------------------------------------------------------------------------


class Batches(list[Batch]):
    """What Lightning takes for one loader; a plain list would be a list of loaders."""


class Data(LightningDataModule):
    """N images of noise around a pixel of the class, in memory."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.labels = torch.arange(N) % (K - 1)
        self.labels[0] = K - 1  # One image of the last class.
        self.images = torch.randn(N, 3, 8, 8, generator=generator) + self.labels.view(-1, 1, 1, 1)
        # Rows of the manifest are not positions in the training part.
        self.split = SimpleNamespace(train=np.arange(N) + 5)
        self.manifest = SimpleNamespace(labels=np.concatenate([np.zeros(5, np.int64), self.labels.numpy()]))

    def training_part_loader(self) -> Batches:
        return Batches(Batch(self.images[p], self.labels[p], p + 5) for p in torch.arange(N).split(8))

    def train_dataloader(self) -> Batches:
        return self.training_part_loader()


class Unnormalised(Calibrate):
    """Takes float images as they are."""

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        return batch


def calibrate(**options: Any) -> Calibrate:
    torch.manual_seed(0)
    network = Network(Encoder(), Linear, K)
    sampler: Any = partial(PowerSampler, q=0.0)
    defaults = {"m_sampler": sampler, "virtual_per_class": 200, "classifier_lr": 0.1, "classifier_batch": 32}
    return Unnormalised(network, context(), **{**defaults, **options})


def fit(stage: Calibrate, epochs: int = 1) -> Calibrate:
    trainer = Trainer(
        max_epochs=epochs, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(stage, datamodule=Data())
    return stage


def drawn(sampler: type[Sampler] | Any) -> np.ndarray:
    labels = Data().labels.numpy()
    return np.bincount(sampler(labels=labels, batch_size=1, epochs=1, seed=0).batches(0).ravel(), minlength=N)


def features(stage: Calibrate) -> Tensor:
    network = copy.deepcopy(stage.network).eval()
    with torch.no_grad():
        return network.encoder(Data().images)


def test_the_rate_of_heads_is_that_of_the_m_step_too() -> None:
    """The classifier is trained by the M step, and by no optimiser that `finetune.head_lr_scale` could reach."""
    network = Network(Encoder(), Linear, K)
    stage = Calibrate(network, replace(context(), head_lr_scale=10), m_sampler=InstanceSampler, classifier_lr=0.002)
    assert stage.sgd["lr"] == pytest.approx(0.02)


@pytest.mark.parametrize("sampler", [InstanceSampler, partial(PowerSampler, q=0.0)])
def test_m_step_trains_the_new_classifier_on_virtual_features_of_the_resampled_classes(sampler: Any) -> None:
    stage = calibrate(e_step=False, m_sampler=sampler)
    encoder, classifier = copy.deepcopy(stage.network.encoder.state_dict()), copy.deepcopy(stage.network.classifier)
    fit(stage)
    for name, value in stage.network.encoder.state_dict().items():
        assert torch.equal(value, encoder[name]), name
    actual, labels, times = features(stage).double().numpy(), Data().labels.numpy(), drawn(sampler)
    for label in range(K):
        mine = np.repeat(actual, times, axis=0)[np.repeat(labels, times) == label]
        np.testing.assert_allclose(stage.statistics.means[label], mine.mean(0), rtol=1e-4, atol=1e-6)
        expected = (np.cov(mine.T) if len(mine) > 1 else 0) + 0.01 * np.eye(6)
        np.testing.assert_allclose(stage.statistics.covariances[label], expected, rtol=1e-3, atol=1e-6)

    generator = torch.Generator().manual_seed(derive(0, "train", "virtual", 0))
    optimizer = torch.optim.SGD(classifier.requires_grad_(True).parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    means, factors = stage.statistics.means, stage.statistics.factors()
    for x, y in virtual_batches(means, factors, 200, 32, generator):
        optimizer.zero_grad()
        F.cross_entropy(classifier(x), y).backward()
        optimizer.step()
    for one, other in zip(stage.network.classifier.parameters(), classifier.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_class_that_is_never_sampled_has_the_statistics_of_its_images() -> None:
    """Not a mean of 0 and a covariance of I, the values before the first iteration."""
    sampler = partial(PowerSampler, q=10.0)
    assert drawn(sampler)[0] == 0  # Image 0 is the only one of the last class.
    stage = fit(calibrate(e_step=False, m_sampler=sampler), epochs=2)
    torch.testing.assert_close(stage.statistics.means[K - 1], features(stage)[0])
    torch.testing.assert_close(stage.statistics.covariances[K - 1], 0.01 * torch.eye(6))


def test_every_class_counts_in_the_first_iteration() -> None:
    times, labels = torch.tensor([3, 0, 0, 1, 0]), torch.tensor([0, 0, 1, 2, 1])
    assert with_every_class(times, labels).tolist() == [3, 0, 1, 1, 1]


def test_without_virtual_features_the_resampled_ones_train_the_classifier() -> None:
    stage = calibrate(e_step=False, virtual_per_class=0, classifier_batch=10_000, classifier_weight_decay=0.0)
    classifier = copy.deepcopy(stage.network.classifier).requires_grad_(True)
    fit(stage)
    repeated = torch.arange(N).repeat_interleave(torch.from_numpy(drawn(partial(PowerSampler, q=0.0))))
    F.cross_entropy(classifier(features(stage)[repeated]), Data().labels[repeated]).backward()
    for one, other in zip(stage.network.classifier.parameters(), classifier.parameters(), strict=True):
        assert other.grad is not None
        torch.testing.assert_close(one, other - 0.1 * other.grad)


def test_real_features_take_the_place_of_virtual_ones_step_by_step() -> None:
    stage = calibrate(e_step=False, features="real", virtual_per_class=50)
    classifier = copy.deepcopy(stage.network.classifier).requires_grad_(True)
    actual, labels = features(stage), Data().labels
    fit(stage)
    optimizer = torch.optim.SGD(classifier.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    generator = torch.Generator().manual_seed(derive(0, "train", "virtual", 0))
    steps = 0
    for x, y in real_batches(actual, labels, 50, 32, generator):
        optimizer.zero_grad()
        F.cross_entropy(classifier(x), y).backward()
        optimizer.step()
        steps += 1
    assert steps == -(-50 * K // 32)
    for one, other in zip(stage.network.classifier.parameters(), classifier.parameters(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("options", [{}, {"e_step": False}, {"features": "real"}])
def test_ablations_take_as_many_m_steps(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    plain = Calibrate._train_classifier

    def counted(stage: Calibrate, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
        actual = list(batches)
        steps.append(len(actual))
        plain(stage, iter(actual))

    monkeypatch.setattr(Calibrate, "_train_classifier", counted)
    fit(calibrate(**options), epochs=3)
    assert steps == [-(-200 * K // 32)] * 3


def test_classifier_starts_anew_and_its_weights_do_not_move_in_the_e_step() -> None:
    stage = calibrate(classifier_lr=0.0)
    torch.manual_seed(0)
    assert not torch.equal(stage.network.classifier.weight, Network(Encoder(), Linear, K).classifier.weight)  # pyright: ignore
    before = copy.deepcopy(stage.network.state_dict())
    fit(stage)
    for name, parameter in stage.network.named_parameters():
        assert torch.equal(parameter, before[name]) == name.startswith("classifier"), name
        assert parameter.requires_grad == name.startswith("encoder"), name


def test_e_step_reaches_the_encoder_through_classifier_and_distances() -> None:
    stage, data = fit(calibrate()), batch()
    assert stage.whitening is not None
    z = stage.network.eval().encoder(data.images)
    ce = F.cross_entropy(stage.network.classifier(z), data.labels)
    fdc = lmd.distribution_consistency(lmd.mahalanobis(z, *stage.whitening), data.labels)
    for stage.distribution in (0.0, 0.5):
        loss = stage.training_step(data, 0)
        torch.testing.assert_close(loss, ce + stage.distribution * fdc)
        gradients = torch.autograd.grad(loss, list(stage.network.encoder.parameters()))
        assert all(gradient.abs().sum() > 0 for gradient in gradients)
    with NoReading():
        stage.training_step(data, 0)


def test_iterations_average_the_statistics_and_lower_both_rates() -> None:
    one, two = fit(calibrate(e_step=False)), fit(calibrate(e_step=False), epochs=2)
    sampler = PowerSampler(Data().labels.numpy(), 1, 1, 0, q=0.0)
    actual, times = features(two).double().numpy(), np.bincount(sampler.batches(1).ravel(), minlength=N)
    labels = Data().labels.numpy()
    for label in range(K):
        mine = np.repeat(actual, times, axis=0)[np.repeat(labels, times) == label]
        expected = 0.5 * one.statistics.means[label].numpy() + 0.5 * mine.mean(0)
        np.testing.assert_allclose(two.statistics.means[label], expected, rtol=1e-4, atol=1e-6)


def test_after_a_fit_the_whole_stage_trains_again() -> None:
    stage = fit(calibrate())
    assert stage.network.encoder.training
    assert "statistics.covariances" in stage.state_dict()


def test_options_and_size() -> None:
    with pytest.raises(UserError, match="classifier_batch=0"):
        calibrate(classifier_batch=0)
    with pytest.raises(UserError, match=r"module\.features has no choice 'reel'"):
        calibrate(features="reel")
    with pytest.raises(UserError, match=r"module\.distribution=-1"):
        calibrate(distribution=-1)
    fixed = replace(context(), optimizer=partial(torch.optim.SGD, lr=0.0))
    with pytest.raises(UserError, match=r"optimizer\.lr=0 .*e_step=false"):
        Calibrate(Network(Encoder(), Linear, K), fixed, m_sampler=partial(PowerSampler, q=0.0))
    with pytest.raises(UserError, match="features=real .*virtual_per_class"):
        calibrate(features="real", virtual_per_class=0)
    for stage in (Represent, Calibrate):
        assert len(inspect.getsource(stage.training_step).splitlines()) <= 25
