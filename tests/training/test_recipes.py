"""Recipes of fine-tuning: what each does to a stage, and where it is refused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import ltmed
from ltmed.data.augment import EvaluationView
from ltmed.data.cache.images import ImageCache
from ltmed.data.loading.loader import TrainLoader
from ltmed.data.samplers.single import InstanceSampler, ProgressiveSampler, shard
from ltmed.errors import UserError
from ltmed.losses.classification import cross_entropy
from ltmed.losses.reweighted import class_balanced_ce
from ltmed.losses.two_way import two_way
from ltmed.methods.cc_sam import Flatten, Robustify
from ltmed.methods.erm import ERM
from ltmed.methods.erm_drw import ERMDRW
from ltmed.methods.max_norm import MaxNorm
from ltmed.methods.proco import ProCo
from ltmed.methods.supcon import Contrast
from ltmed.nn.frozen import Frozen
from ltmed.nn.heads import MLP, Linear
from ltmed.nn.network import Network
from ltmed.nn.standardised import StandardisedLinear
from ltmed.runs.job import job_of
from ltmed.train import train
from ltmed.training import recipes
from ltmed.training.recipes import ClassMeans, HeadWarmup, Recipe, recipe_of, require_all_epochs, require_possible
from ltmed.training.stage import Stage
from tests.harness import assert_same_weights, ok, run_ranks, stopped, weights
from tests.methods.small import Encoder
from tests.methods.small_decoupling import Data, make, trainer_for
from tests.methods.small_decoupling import features as features_of
from tests.methods.small_flexible import curriculum
from tests.trained_runs import config


def erm(head: Any = Linear) -> ERM:
    return make(ERM, head, loss=cross_entropy)


def fit(stage: Stage, epochs: int, *callbacks) -> Stage:
    trainer = trainer_for(epochs)
    trainer.callbacks += callbacks  # pyright: ignore
    trainer.fit(stage, datamodule=Data())
    return stage


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


# --- heads first ----------------------------------------------------------------------------------------------


def test_only_heads_are_trained_at_first() -> None:
    stage = erm()
    before = state(stage.network)
    fit(stage, 1, HeadWarmup(1))
    assert_same_weights(
        state(stage.network.encoder),
        {k.removeprefix("encoder."): v for k, v in before.items() if k.startswith("encoder.")},
    )
    assert not torch.equal(stage.network.classifier.weight, before["classifier.weight"])
    assert all(parameter.requires_grad for parameter in stage.parameters()), "for the next stage"
    stage = erm()
    fit(stage, 2, HeadWarmup(1))
    assert all(not torch.equal(v, before[k]) for k, v in state(stage.network).items() if k != "nothing")


def test_a_stage_that_ends_during_the_warmup_leaves_the_encoder_trainable() -> None:
    """The next stage would else train with the statistics of BatchNorm that this one began with."""
    stage = erm()
    fit(stage, 1, HeadWarmup(2))
    assert stage.network.encoder.training
    assert all(parameter.requires_grad for parameter in stage.network.encoder.parameters())


def test_dropped_gradients_are_what_absent_ones_are() -> None:
    """The first is what several processes do, the second what one does."""
    assert_same_weights(state(fit(erm(), 3, HeadWarmup(2)).network), state(fit(erm(), 3, Dropping(2)).network))


class Dropping(HeadWarmup):
    """As with several processes."""

    def on_train_epoch_start(self, trainer, pl_module) -> None:
        pl_module.network.encoder.train(not self._is_warming(trainer))


# --- class means ----------------------------------------------------------------------------------------------


def test_a_head_starts_from_the_class_means() -> None:
    class StopError(Exception):
        pass

    class Before(ERM):
        def training_step(self, batch, batch_idx):
            raise StopError

    stage = make(Before, Linear, loss=cross_entropy)
    with pytest.raises(StopError):
        fit(stage, 1, ClassMeans(10.0))
    whole = Data().train_part
    features = features_of(stage, whole).numpy()
    labels = whole.labels.numpy()
    centred = features - features.mean(0)
    radius = np.linalg.norm(centred, axis=1)
    unit = centred / radius[:, None]
    means = np.stack([unit[labels == c].mean(0) for c in range(3)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    expected = 10 * centred @ means.T / radius.mean()
    found = stage.network.classifier(torch.from_numpy(features).float()).detach().numpy()
    assert np.abs(found - expected).max() < 1e-3
    assert np.abs(found).max() < 60


# --- batches in parts -----------------------------------------------------------------------------------------


def test_parts_of_a_batch_have_the_pixels_of_the_whole() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 12, 12, 3), np.uint8)
    labels = np.arange(40) % 3

    def loader(parts: int) -> TrainLoader:
        sampler = InstanceSampler(labels, batch_size=12, epochs=1, seed=0)
        view, cache = EvaluationView(size=8), ImageCache(pixels)  # pyright: ignore[reportArgumentType]
        return TrainLoader(cache, np.arange(40), labels, sampler, view, seed=0, rank=1, world=2, parts=parts)

    whole, parts = ([type(b)(*(None if t is None else t.clone() for t in b)) for b in loader(n)] for n in (1, 3))
    assert len(parts) == len(loader(3)) == 3 * len(whole)
    for number, batch in enumerate(whole):
        for field in ("images", "labels", "indices"):
            joined = torch.cat([getattr(part, field) for part in parts[3 * number : 3 * number + 3]])
            assert torch.equal(joined, getattr(batch, field))


def test_parts_that_do_not_divide_a_batch_are_refused() -> None:
    with pytest.raises(UserError, match="batch_size"):
        shard(np.zeros((2, 12), int), 0, 2, parts=4)


# --- refusals -------------------------------------------------------------------------------------------------


def on(encoder: nn.Module, head: Any = Linear) -> ERM:
    stage = erm()
    return ERM(Network(encoder, head, 3), replace(stage.context, epochs=2), loss=cross_entropy)


def only_the_encoder() -> ERM:
    stage = on(Encoder())
    stage.network.classifier.requires_grad_(False)
    return stage


def proco() -> ProCo:
    from tests.methods.small import make as make_proco

    return make_proco()


def contrast() -> Contrast:
    return Contrast(Network(Encoder(), Linear, 3, partial(MLP, out_features=4)), erm().context)


def epochs_of(stage: Stage, epochs: int) -> Stage:
    stage.context = replace(stage.context, epochs=epochs)
    return stage


def deferred(epochs: int) -> ERMDRW:
    """Whose weights come in the last 20 % of the epochs."""
    about = replace(erm().context, epochs=epochs)
    return ERMDRW(Network(Encoder(), Linear, 3), about, loss=class_balanced_ce)


def test_an_early_end_may_follow_the_epoch_in_which_a_method_is_complete() -> None:
    assert deferred(10).complete_from == 8
    require_possible(Recipe(early_stopping=8), deferred(10), "cpu")
    require_possible(Recipe(early_stopping=0), erm(), "cpu")


@pytest.mark.parametrize(
    ("recipe", "stage", "said"),
    [
        (Recipe(layer_decay=0.5), lambda: on(Encoder()), "layer_decay"),
        (Recipe(layer_decay=0.5), lambda: on(Frozen(Encoder())), "backbone.freeze"),
        (Recipe(freeze_epochs=1), lambda: on(Frozen(Encoder())), "backbone.freeze"),
        (Recipe(freeze_epochs=2), lambda: on(Encoder()), "backbone.freeze=true, or fewer"),
        (Recipe(freeze_epochs=1), only_the_encoder, "trains only the encoder"),
        (Recipe(class_means=10.0), lambda: on(Encoder(), StandardisedLinear), "linear classifier"),
        (Recipe(accumulate=2), proco, "finetune.accumulate"),
        (Recipe(accumulate=2), lambda: make(ERM, Linear, loss=partial(two_way)), "finetune.accumulate"),
        (Recipe(accumulate=2), lambda: make(Flatten, Linear), "finetune.accumulate"),
        (Recipe(accumulate=2), lambda: make(Robustify, Linear), "finetune.accumulate"),
        (Recipe(class_means=10.0), lambda: make(Robustify, Linear), "continues the classifier"),
        (Recipe(class_means=10.0), lambda: make(MaxNorm, Linear, loss=class_balanced_ce), "continues the classifier"),
        (Recipe(early_stopping=5), contrast, "does not train the classifier"),
        (Recipe(early_stopping=1, freeze_epochs=2), lambda: epochs_of(erm(), 9), "finetune.early_stopping=2 or more"),
        (Recipe(early_stopping=7), lambda: deferred(10), r"before epoch 9, .* \(ERMDRW\)"),
        (Recipe(early_stopping=3), lambda: curriculum(10, warmup=0.3), "finetune.early_stopping=4 or more"),
    ],
)
def test_what_a_stage_cannot_do_is_refused(recipe: Recipe, stage: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        require_possible(recipe, stage(), "cpu")
    require_possible(Recipe(), stage(), "cpu")


def test_only_the_stages_that_are_named_are_compiled() -> None:
    stage = erm()
    recipes.apply(Recipe(compile=True), stage)
    assert stage.network.encoder._compiled_call_impl is not None
    recipes.apply(Recipe(), stage)
    assert stage.network.encoder._compiled_call_impl is None


def test_a_compiler_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipes.shutil, "which", lambda _: None)
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UserError, match="compiler"):
        require_possible(Recipe(compile=True), on(Encoder()), "cpu")


def test_options_are_of_all_stages_or_of_those_that_are_named() -> None:
    cfg = config("method=decoupling", "finetune.freeze_epochs={represent:2}", "finetune.ema=0.5")
    assert recipe_of(cfg, "represent") == Recipe(freeze_epochs=2, ema=0.5)
    assert recipe_of(cfg, "classify") == Recipe(ema=0.5)
    with pytest.raises(UserError, match="Did you mean 'classify'"):
        recipe_of(config("method=decoupling", "finetune.ema={clasify:0.5}"), "classify")


def test_nothing_is_on_by_default() -> None:
    assert recipe_of(config("method=decoupling"), "represent") == Recipe()


# --- whole runs -----------------------------------------------------------------------------------------------

ALL = {
    "warm-up": ["finetune.freeze_epochs=1", "finetune.head_lr_scale=10"],
    "layers": ["finetune.layer_decay=0.5"],
    "average": ["finetune.ema=0.5", "finetune.accumulate=2"],
    "class means": ["finetune.class_means=10"],
    "adapters": ["finetune.peft.rank=2", "finetune.peft.targets=[conv1]"],
    "callbacks": ["callbacks=learning_rate"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_a_run_goes_on_as_if_never_stopped(name: str, tiny: list[str], tmp_path: Path) -> None:
    overrides = [*tiny, "method=erm", "epochs=2", *ALL[name]]
    straight = ltmed.train([*overrides, f"runs={tmp_path / 'straight'}"]).path
    with stopped(1, 3):
        ltmed.train(overrides)
    run = ltmed.train(overrides).path
    for file in ("best", "last"):
        assert_same_weights(weights(tmp_path / "straight", file), weights(tmp_path / "runs", file))
    assert (run / "metrics.csv").read_text() == (straight / "metrics.csv").read_text()


@pytest.mark.slow
def test_a_batch_in_parts_takes_the_steps_of_the_whole(tiny: list[str], tmp_path: Path) -> None:
    """With a network without BatchNorm, whose statistics are those of a part."""
    for parts in (1, 2):
        overrides = ["method=erm", "epochs=2", f"finetune.accumulate={parts}", f"runs={tmp_path / str(parts)}"]
        ltmed.train([*tiny, "backbone=timm", "backbone.name=test_vit", *overrides])
    one, two = weights(tmp_path / "1"), weights(tmp_path / "2")
    for key in one:
        assert torch.allclose(one[key].float(), two[key].float(), atol=1e-4), key


@pytest.mark.slow
def test_adapters_are_merged_when_a_run_is_used(tiny: list[str], tiny_ham: Path) -> None:
    import pandas as pd

    from ltmed.inference.predictor import Predictor

    run = ltmed.train([*tiny, "method=erm", "epochs=1", *ALL["adapters"]]).path
    assert not any("lora" in key for key in ltmed.load(run).state_dict())
    expected = pd.read_parquet(run / "predictions.parquet")
    table = Predictor(run, device="cpu")([tiny_ham / image for image in expected["image"]])
    columns = [name for name in expected if name.startswith("prob_")]
    assert np.abs(table[columns].to_numpy() - expected[columns].to_numpy()).max() < 1e-4


@pytest.mark.slow
def test_a_stage_ends_early(tiny: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    overrides = ["method=erm", "epochs=30", "finetune.early_stopping=0", "method.stages.train.optimizer.lr=0"]
    ltmed.train([*tiny, *overrides])
    out = capsys.readouterr().out
    assert "train 2/30" in out
    assert "train 3/30" not in out


@pytest.mark.parametrize(
    ("overrides", "patience", "said"),
    [
        ("sampler=progressive epochs=4", "2", "before epoch 4, in which its sampler"),
        ("sampler=progressive epochs=4 backbone.freeze=true augment=none", "2", "before epoch 4, in which its sampler"),
        (
            "method=lmd epochs={represent:4,calibrate:1} method.stages.represent.module.consistency_start_epoch=2",
            "{represent:1}",
            "before epoch 3, from which on all of the method acts",
        ),
    ],
)
def test_an_early_end_leaves_out_no_part_of_sampling_or_method(
    overrides: str, patience: str, said: str, tiny: list[str]
) -> None:
    with pytest.raises(UserError, match=said):
        ltmed.train([*tiny, *overrides.split(), f"finetune.early_stopping={patience}"])


def test_an_early_end_may_follow_the_last_change_of_the_classes() -> None:
    labels = np.repeat([0, 1], [6, 2])
    assert InstanceSampler(labels, 4, 4, 0).complete_from == 0
    progressive = ProgressiveSampler(labels, 4, 4, 0)
    require_all_epochs(Recipe(early_stopping=3), "train", progressive.complete_from)
    require_all_epochs(Recipe(), "train", progressive.complete_from)
    assert np.allclose(progressive.class_probabilities(progressive.complete_from), 0.5)
    assert not np.allclose(progressive.class_probabilities(progressive.complete_from - 1), 0.5)


@dataclass(frozen=True)
class TrainStopAndGoOn:
    """In this process, which is a rank: a run without a stop, and one with a stop in its second epoch."""

    overrides: tuple[str, ...]
    straight: Path

    def __call__(self) -> None:
        overrides = [*self.overrides, "trainer.devices=2"]
        train(job_of([*overrides, f"runs={self.straight}"]))
        job = job_of(overrides)
        with stopped(1, 3):
            train(job)
        train(job)


@pytest.mark.slow
def test_two_processes_go_on_as_if_never_stopped(tiny: list[str], tmp_path: Path) -> None:
    overrides = (*tiny, "method=erm", "epochs=2", *ALL["warm-up"], "finetune.ema=0.5")
    for done in run_ranks(TrainStopAndGoOn(overrides, tmp_path / "straight"), tmp_path):
        ok(done)
    assert_same_weights(weights(tmp_path / "straight"), weights(tmp_path / "runs"))
