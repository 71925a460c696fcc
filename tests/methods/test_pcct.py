"""The stages of PCCT: class means, centres, equations, gradients, configs, messages."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import nn

from ltmed.config.instantiate import build
from ltmed.data.batch import Batch
from ltmed.errors import UserError
from ltmed.losses.triplet import CENTRE_LOSSES, SAMPLE_LOSSES
from ltmed.methods.pcct import CentreStage, SampleStage
from ltmed.nn.centres import CentreHead
from ltmed.nn.heads import Linear
from ltmed.nn.network import Network
from ltmed.training import feature_pass
from tests.losses import triplet_oracle as oracle
from tests.methods.small import Encoder, K, batch, context, updated
from tests.methods.small_pcct import LOSSES, TRAINABLE, VARIANTS, class_means, make, own_centres
from tests.no_reading import NoReading

CONF = Path(__file__).resolve().parents[2] / "conf"


@pytest.fixture
def training_part(monkeypatch: pytest.MonkeyPatch) -> list[Batch]:
    """What a pass over the training part finds: two batches of 7 and 4 images."""
    parts = [batch(7, seed=5), batch(4, seed=6)]

    def over(stage: nn.Module) -> Iterator[Batch]:
        stage.eval()
        yield from parts
        stage.train()

    monkeypatch.setattr(feature_pass, "over_training_part", over)
    return parts


@pytest.mark.parametrize("metric_loss", LOSSES)
@pytest.mark.parametrize(("kind", "options"), [*VARIANTS, (SampleStage, {})])
def test_every_parameter_is_updated(
    kind: Any, options: dict[str, Any], metric_loss: str, training_part: list[Batch]
) -> None:
    stage = make(kind, metric_loss=metric_loss, **options)
    stage.on_train_epoch_start()
    if kind is SampleStage and not options:
        # Distances between images do not depend on an offset that all of them share.
        stage.network.classifier.embedding.bias.requires_grad_(False)
    updated(stage, batch())


@pytest.mark.parametrize("metric_loss", LOSSES)
def test_first_stage_is_the_equation(metric_loss: str) -> None:
    stage, data = make(SampleStage, norm=False, metric_loss=metric_loss), batch()
    points = stage.network.classifier.embed(stage.network.encoder(data.images)).double().tolist()
    expected, formed = oracle.sample(metric_loss, points, data.labels.tolist(), stage._draws(8, 3).tolist(), 5.0, 2.0)
    assert formed > 5
    assert stage.training_step(data, 3).item() == pytest.approx(expected, rel=1e-4)


def test_cross_entropy_is_of_minus_the_distances(training_part: list[Batch]) -> None:
    plain, mixed, data = make(SampleStage, norm=False), make(SampleStage, norm=False, ce_weight=0.3), batch()
    for stage in (plain, mixed):
        stage.on_train_epoch_start()
    assert not own_centres(plain).any(), "without cross-entropy nothing needs centres before the first validation"
    extra = nn.functional.cross_entropy(mixed(data.images), data.labels)
    torch.testing.assert_close(mixed.training_step(data, 0), plain.training_step(data, 0) + 0.3 * extra)


@pytest.mark.parametrize("metric_loss", LOSSES)
@pytest.mark.parametrize("centers", ["estimated", "trainable"])
def test_second_stage_is_the_equation(metric_loss: str, centers: str, training_part: list[Batch]) -> None:
    stage, data = make(CentreStage, norm=False, metric_loss=metric_loss, centers=centers), batch()
    stage.on_train_epoch_start()
    points = stage.network.classifier.embed(stage.network.encoder(data.images)).double().tolist()
    centres = class_means(stage, training_part).double().tolist()
    expected = oracle.centre(metric_loss, points, data.labels.tolist(), centres, 5.0, 2.0)
    assert stage.training_step(data, 0).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", [SampleStage, CentreStage])
def test_validation_starts_with_the_class_means_of_its_weights(kind: Any, training_part: list[Batch]) -> None:
    stage = make(kind)
    for _ in range(2):
        stage.on_validation_start()
        torch.testing.assert_close(own_centres(stage), class_means(stage, training_part))
        distance = torch.cdist(
            stage.network.classifier.embed(stage.network.encoder(batch().images)), own_centres(stage)
        )
        torch.testing.assert_close(stage(batch().images), -distance, rtol=1e-4, atol=1e-4)
        stage.network.classifier.embedding.weight.data.mul_(1.5)


def test_an_absent_class_leaves_finite_centres(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_pass, "over_training_part", lambda stage: iter([batch(5, classes=2)]))
    stage = make(CentreStage)
    stage.on_train_epoch_start()
    assert own_centres(stage).isfinite().all()


def test_centres_stay_for_an_epoch_and_come_from_the_checkpoint_afterwards(
    training_part: list[Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, data = make(CentreStage), batch()
    stage.on_train_epoch_start()
    before = own_centres(stage).clone()
    updated(stage, data)
    assert torch.equal(own_centres(stage), before)
    resumed = make(CentreStage)
    resumed.load_state_dict(copy.deepcopy(stage.state_dict()))
    monkeypatch.setattr(CentreStage, "current_epoch", 4)
    resumed.on_train_epoch_start()
    assert torch.equal(own_centres(resumed), before)


@pytest.mark.parametrize(("kind", "options"), [(CentreStage, {}), (SampleStage, {"ce_weight": 0.5})])
def test_weights_beside_their_average_are_trained_with_centres_of_their_own(
    kind: Any, options: dict[str, Any], training_part: list[Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`finetune.ema`: validation leaves the centres of the average, far from where the trained weights are."""
    stage = make(kind, **options)
    stage.on_validation_start()
    stage.network.classifier.embedding.weight.data.mul_(1.5)
    monkeypatch.setattr(kind, "current_epoch", 4)
    stage.on_train_epoch_start()
    assert not torch.allclose(own_centres(stage), class_means(stage, training_part))
    stage.validates_average = True
    stage.on_train_epoch_start()
    torch.testing.assert_close(own_centres(stage), class_means(stage, training_part))


def test_trainable_centres_start_from_the_means_in_the_tensor_that_the_optimiser_holds(
    training_part: list[Batch],
) -> None:
    stage = make(CentreStage, **TRAINABLE)
    held_out = next(p for p in stage.configure_optimizers().param_groups[0]["params"] if p is stage.centres)
    stage.on_train_epoch_start()
    torch.testing.assert_close(held_out.detach(), class_means(stage, training_part))
    means = own_centres(stage).clone()
    updated(stage, batch())
    assert torch.equal(own_centres(stage), means)
    assert not torch.equal(held_out, means)


def test_negatives_repeat_with_seed_epoch_and_step_only() -> None:
    stage = make(SampleStage)
    first = stage._draws(6, 0)
    torch.manual_seed(123)
    assert torch.equal(stage._draws(6, 0), first)
    assert not torch.equal(stage._draws(6, 1), first)
    stage.context = replace(stage.context, seed=1)
    assert not torch.equal(stage._draws(6, 0), first)


@pytest.mark.parametrize("metric_loss", LOSSES)
@pytest.mark.parametrize(
    ("kind", "options"), [(SampleStage, {"ce_weight": 1.0}), (CentreStage, {}), (CentreStage, TRAINABLE)]
)
def test_nothing_is_read_back_from_the_device(kind: Any, options: dict[str, Any], metric_loss: str) -> None:
    stage, data = make(kind, metric_loss=metric_loss, **options), batch()
    with NoReading():
        stage.training_step(data, 0).backward()


@pytest.mark.parametrize("kind", [SampleStage, CentreStage])
def test_autocast_gives_a_float32_loss_near_the_full_one(kind: Any, training_part: list[Batch]) -> None:
    losses = []
    for enabled in (False, True):
        stage = make(kind)
        stage.on_train_epoch_start()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses.append(stage.training_step(batch(), 0))
    assert losses[1].dtype == torch.float32
    torch.testing.assert_close(losses[1], losses[0], rtol=0.05, atol=0)


def test_the_training_steps_fit_on_a_screen() -> None:
    for kind in (SampleStage, CentreStage):
        assert len(inspect.getsource(kind.training_step).splitlines()) <= 25


@pytest.mark.parametrize(
    ("words", "stages", "centers"),
    [
        (["method=pcct"], ["first", "second"], "estimated"),
        (["method=efficient_pcct"], ["first", "second"], "trainable"),
        (["method=pcct", "~method.stages.second"], ["first"], None),
        (["method=efficient_pcct", "~method.stages.first"], ["second"], "trainable"),
    ],
)
def test_configs_and_ablations(words: list[str], stages: list[str], centers: str | None) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        method = compose("config", [*words, "sampler=square_root"]).method
    assert list(method.stages) == stages
    assert method.name == words[0].split("=")[1]
    for name, recipe in method.stages.items():
        assert build(recipe.schedule) is None
        assert build(recipe.optimizer)([nn.Parameter(torch.zeros(1))]).param_groups[0]["betas"] == (0.9, 0.99)
        stage = build(recipe.module)(network=Network(Encoder(), CentreHead, K), context=context())
        assert type(stage) is {"first": SampleStage, "second": CentreStage}[name]
    if "first" in stages:
        assert method.stages.first.sampler.images_per_class == 10
        assert method.stages.first.batch_size is None
    if centers:
        assert method.stages.second.module.centers == centers


def test_every_loss_has_both_forms() -> None:
    assert tuple(SAMPLE_LOSSES) == tuple(CENTRE_LOSSES) == LOSSES


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (SampleStage, {"metric_loss": "tripplet"}, r"module\.metric_loss has no choice 'tripplet'.*'triplet'"),
        (CentreStage, {"centers": "estimate"}, r"module\.centers has no choice 'estimate'.*'estimated'"),
        (SampleStage, {"margin": 0.0}, r"method\.stages\.train\.module\.margin=0"),
        (SampleStage, {"metric_loss": "quadruplet", "margin": 0.2, "beta": 0.2}, r"module\.beta=0.2.*less than"),
        (CentreStage, {"metric_loss": "quadruplet", "beta": -1.0}, r"module\.beta=-1"),
        (SampleStage, {"ce_weight": -1.0}, r"module\.ce_weight=-1"),
        (SampleStage, {"metric_loss": "quadruplet", "classes": 2}, r"three classes.*metric_loss=triplet"),
    ],
)
def test_wrong_options_are_user_errors(kind: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(kind, **options)


def test_a_network_without_centres_is_a_user_error() -> None:
    with pytest.raises(UserError, match="CentreHead"):
        SampleStage(Network(Encoder(), Linear, K), context())
