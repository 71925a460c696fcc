"""Balanced-MixUp: pairs, which half gets lambda, and the two ends of lambda."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from ltmed.config.instantiate import build
from ltmed.data.batch import Batch
from ltmed.errors import UserError
from ltmed.losses.classification import cross_entropy
from ltmed.losses.reweighted import weighted_ce
from ltmed.methods import balanced_mixup
from ltmed.methods.balanced_mixup import BalancedMixUp
from ltmed.methods.erm import ERM
from ltmed.nn.heads import Linear
from ltmed.nn.network import Network
from tests.methods.small import Encoder, K, batch, context, updated
from tests.no_reading import NoReading
from tests.test_presets import composed


def make(kind: type[ERM] = BalancedMixUp, **options: Any) -> ERM:
    torch.manual_seed(0)
    return kind(Network(Encoder(), Linear, K), context(), **{"loss": cross_entropy, **options})


def pairs(data: Batch, which: int) -> Batch:
    return Batch(data.images[which::2], data.labels[which::2], data.indices[which::2])


def fix(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    monkeypatch.setattr(balanced_mixup, "sample_lambda", lambda distribution: torch.tensor(share))


def test_updates_every_parameter() -> None:
    updated(make(), batch())


@pytest.mark.parametrize("loss", [cross_entropy, weighted_ce])
@pytest.mark.parametrize(("share", "which"), [(0.0, 0), (1.0, 1)])
def test_ends_of_lambda_are_plain_training_on_one_half(
    share: float, which: int, loss: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fix(monkeypatch, share)
    actual = make(loss=loss).training_step(batch(), 0)
    torch.testing.assert_close(actual, make(ERM, loss=loss).training_step(pairs(batch(), which), 0), rtol=0, atol=0)


def test_loss_is_cross_entropy_with_the_labels_of_the_authors(monkeypatch: pytest.MonkeyPatch) -> None:
    fix(monkeypatch, 0.3)
    stage, data = make(), batch(10)
    images = torch.stack([0.7 * data.images[2 * i] + 0.3 * data.images[2 * i + 1] for i in range(5)])
    one_hot = F.one_hot(data.labels, K)
    soft = torch.stack([0.7 * one_hot[2 * i] + 0.3 * one_hot[2 * i + 1] for i in range(5)])
    expected = -(stage(images).log_softmax(1) * soft).sum(1).mean()
    torch.testing.assert_close(stage.training_step(data, 0), expected)


def test_a_batch_that_divides_a_pair_is_refused() -> None:
    stage = make()
    stage.require_batch(4)
    with pytest.raises(UserError, match="7 images at a time"):
        stage.training_step(batch(7), 0)
    with pytest.raises(UserError, match="a process has 3 images at a time.*finetune.accumulate"):
        stage.require_batch(3)


def test_lambda_is_mostly_small() -> None:
    torch.manual_seed(0)
    stage = make(alpha=0.2)
    assert isinstance(stage, BalancedMixUp)
    assert stage.lambda_distribution.sample((5000,)).mean() == pytest.approx(0.2 / 1.2, abs=0.02)


def test_the_step_depends_on_the_global_generator_alone_and_reads_nothing() -> None:
    stage, data, actual = make(alpha=1.0).eval(), batch(), []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        with NoReading():
            actual.append(stage.training_step(data, 0))
    assert torch.equal(actual[0], actual[1])
    assert not torch.equal(actual[0], actual[2])


@pytest.mark.parametrize("alpha", [0.0, -0.2])
def test_wrong_alpha_is_a_user_error(alpha: float) -> None:
    with pytest.raises(UserError, match=r"module\.alpha"):
        make(alpha=alpha)


@pytest.mark.parametrize(
    ("words", "pairs"),
    [(["sampler=class_balanced"], False), ([], True), (["sampler.second.q=0.5", "loss=focal"], True)],
)
def test_a_sampler_without_pairs_is_refused(words: list[str], pairs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = composed("method=balanced_mixup", *words)
    stage, sampler = make(), build(cfg.method.stages.train.sampler)
    data = SimpleNamespace(stage_data=SimpleNamespace(sampler=sampler))
    monkeypatch.setattr(BalancedMixUp, "trainer", SimpleNamespace(datamodule=data))
    if pairs:
        stage.on_fit_start()
        return
    with pytest.raises(UserError, match="instance_and_balanced"):
        stage.on_fit_start()
