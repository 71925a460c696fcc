"""Every preset, composed and trained in this process: a run of each would only test the same path again."""

from __future__ import annotations

import pickle
import re
from dataclasses import replace
from functools import cache, partial
from io import BytesIO
from unittest import mock

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from ltmed.config.instantiate import build
from ltmed.data.batch import Batch
from ltmed.data.samplers.single import Sampler
from ltmed.errors import UserError
from ltmed.nn.adapters import Adapted
from ltmed.nn.network import Network
from ltmed.training.context import StageContext
from ltmed.training.stage import Stage
from tests.harness import METHODS, PRESETS, ROOT, assert_same_weights
from tests.methods.small import Encoder, K, context

COUNTS = (60, 20, 8)


def composed(*overrides: str) -> DictConfig:
    return pickle.loads(_composed(*overrides))  # A copy: what is built from it resolves its references in place.


@cache
def _composed(*overrides: str) -> bytes:
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        return pickle.dumps(compose("config", list(overrides)))


def pieces(cfg: DictConfig, epochs: int = 4) -> tuple[Stage, Sampler]:
    """The only stage of a preset with a small encoder, and its sampler, as a run makes them."""
    torch.manual_seed(0)
    (recipe,) = cfg.method.stages.values()
    network = Network(Encoder(), num_classes=len(COUNTS), **build(cfg.method.network))
    context = StageContext(
        name="train", seed=0, epochs=epochs, classes=("a", "b", "c"), counts=torch.tensor(COUNTS), tiers={},
        mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), optimizer=build(recipe.optimizer), schedule=None,
    )  # fmt: skip
    labels = np.repeat(np.arange(len(COUNTS)), COUNTS)
    return build(recipe.module)(network=network, context=context), build(recipe.sampler)(labels, 16, epochs, 0)


def pixels(labels: Tensor) -> Tensor:
    """Images whose colour tells the class, with noise."""
    generator = torch.Generator().manual_seed(0)
    colours = torch.randn(len(COUNTS), 3, 1, 1, generator=generator)
    return colours[labels] + 0.3 * torch.randn(len(labels), 3, 8, 8, generator=generator)


def test_presets_and_methods_are_all_there_is() -> None:
    assert {"erm", "alpa", "ldam_drw", "efficient_pcct"} <= set(METHODS)
    assert {"bce", "rs", "ldam", "ldam_rs", "balanced_softmax"} <= set(PRESETS)
    assert sorted(METHODS + PRESETS) == sorted(file.stem for file in (ROOT / "conf/method").glob("*.yaml"))


def test_yamls_have_no_key_that_nothing_reads() -> None:
    """A comment that lost its `#` is a key of every run's config, and changes its identity."""
    files = sorted((ROOT / "conf/method").glob("*.yaml"))
    files_of_all = sorted((ROOT / "conf").rglob("*.yaml"))
    used = {key for file in files_of_all for key in re.findall(r"\$\{method\.(\w+)", file.read_text())}
    for file in files:
        own = OmegaConf.load(file)
        assert isinstance(own, DictConfig)
        assert set(own) <= {"defaults", "name", "network", "stages", "freeze"} | used, file.name


@pytest.mark.parametrize("preset", PRESETS)
def test_trains_and_every_parameter_gets_a_gradient(preset: str) -> None:
    cfg = composed(f"method={preset}")
    assert cfg.method.name == preset
    stage, sampler = pieces(cfg)
    labels = torch.arange(len(COUNTS)).repeat_interleave(torch.tensor(COUNTS))
    images, optimizer = pixels(labels), stage.configure_optimizers()
    losses = []
    for repetition in range(3):
        for positions in torch.from_numpy(sampler.batches(repetition)):
            optimizer.zero_grad()
            loss = stage.training_step(Batch(images[positions], labels[positions], positions), 0)
            assert isinstance(loss, Tensor)
            loss.backward()
            for name, parameter in stage.named_parameters():
                assert parameter.grad is not None, name
                assert torch.isfinite(parameter.grad).all(), name
            optimizer.step()
            losses.append(loss.item())
    assert sum(losses[-5:]) < sum(losses[:5])


def run_epochs(stage: Stage, sampler: Sampler, cfg: DictConfig, epochs: range, saved: bytes | None = None) -> bytes:
    """Trains `stage` as its trainer would, from a checkpoint if there is one, and returns the checkpoint afterwards."""
    labels = torch.arange(len(COUNTS)).repeat_interleave(torch.tensor(COUNTS))
    images, optimizer = pixels(labels), stage.configure_optimizers()
    (recipe,) = cfg.method.stages.values()
    schedule = build(recipe.schedule)(optimizer, sampler.steps * sampler.epochs)
    parts = {"stage": stage, "optimizer": optimizer, "schedule": schedule}
    if saved is not None:
        found = torch.load(BytesIO(saved), weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(found[name])
    for epoch in epochs:
        with mock.patch.object(Stage, "current_epoch", epoch):
            stage.on_train_epoch_start()
            for positions in torch.from_numpy(sampler.batches(epoch)):
                optimizer.zero_grad()
                stage.training_step(Batch(images[positions], labels[positions], positions), 0).backward()  # pyright: ignore
                optimizer.step()
                schedule.step()
    file = BytesIO()
    torch.save({name: part.state_dict() for name, part in parts.items()}, file)
    return file.getvalue()


@pytest.mark.parametrize("preset", [*PRESETS, "ldam_drw"])
def test_goes_on_from_a_checkpoint_as_if_never_stopped(preset: str) -> None:
    """As `tests/test_train.py` does with a whole run of each other method: here the process is left out."""
    cfg = composed(f"method={preset}")
    straight = torch.load(BytesIO(run_epochs(*pieces(cfg, 3), cfg, range(3))), weights_only=True)
    saved = run_epochs(*pieces(cfg, 3), cfg, range(2))
    stage, sampler = pieces(cfg, 3)
    with torch.no_grad():
        for parameter in stage.parameters():
            parameter.normal_()
    resumed = torch.load(BytesIO(run_epochs(stage, sampler, cfg, range(2, 3), saved)), weights_only=True)
    assert_same_weights(straight["stage"], resumed["stage"])
    assert straight["schedule"] == resumed["schedule"]


@pytest.mark.parametrize("method", METHODS)
def test_adapters_are_all_that_a_method_trains_of_an_encoder(method: str) -> None:
    """A stage that unfreezes what an earlier one froze must not unfreeze the weights below the adapters."""
    pytest.importorskip("peft")
    cfg = composed(f"method={method}")
    network = Network(Adapted(Encoder(), 2, targets=["0"]), num_classes=len(COUNTS), **build(cfg.method.network))
    for name, recipe in cfg.method.stages.items():
        told = replace(
            context(len(COUNTS)), name=str(name), counts=torch.tensor(COUNTS), optimizer=build(recipe.optimizer)
        )
        stage = build(recipe.module)(network=network, context=told)
        trained = [key for key, parameter in stage.network.encoder.named_parameters() if parameter.requires_grad]
        assert all("lora_" in key for key in trained), name


CHOICES = {
    "bce": ("bce", "instance"), "rs": ("ce", "class_balanced"), "sqrt_rs": ("ce", "square_root"),
    "progressive": ("ce", "progressive"), "weighted_ce": ("weighted_ce", "instance"), "focal": ("focal", "instance"),
    "weighted_focal": ("weighted_focal", "instance"), "cb_ce": ("cb_ce", "instance"),
    "cb_focal": ("cb_focal", "instance"), "ldam": ("ldam", "instance"), "ldam_drw": ("ldam", "instance"),
    "ldam_rs": ("ldam", "class_balanced"), "balanced_softmax": ("balanced_softmax", "instance"),
    "logit_adjustment": ("logit_adjusted", "instance"), "asl": ("asl", "instance"), "seesaw": ("seesaw", "instance"),
    "ohem": ("ohem", "instance"),
}  # fmt: skip


@pytest.mark.parametrize("preset", CHOICES)
def test_is_erm_with_a_loss_and_a_sampler(preset: str) -> None:
    loss, sampler = CHOICES[preset]
    cfg = composed(f"method={preset}")
    for key, choice in (("loss", loss), ("sampler", sampler)):
        expected = OmegaConf.load(ROOT / f"conf/{key}/{choice}.yaml")
        assert OmegaConf.to_container(cfg[key]) == OmegaConf.to_container(expected)
    mine, erm = (OmegaConf.to_container(c.method.stages.train) for c in (cfg, composed("method=erm")))
    assert isinstance(mine, dict)
    assert isinstance(erm, dict)
    for key in erm:
        if key != "module" or preset != "ldam_drw":
            assert mine[key] == erm[key], key


def test_the_command_line_wins() -> None:
    cfg = composed("method=ldam_rs", "loss=focal", "sampler=square_root")
    plain = composed("method=erm", "loss=focal", "sampler=square_root")
    assert (cfg.loss, cfg.sampler) == (plain.loss, plain.sampler)


def test_the_scale_of_ldam_is_that_of_its_head() -> None:
    cfg = composed("method=ldam", "method.network.classifier.scale=16")
    assert cfg.loss.scale == 16
    stage, _ = pieces(cfg)
    assert isinstance(stage.loss, partial)  # pyright: ignore[reportAttributeAccessIssue]
    assert stage.loss.keywords["scale"] == stage.network.classifier.scale  # pyright: ignore


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["method=erm", "loss=ldam"], "method=ldam"),
        (["method=erm", "loss=ldam", "loss.scale=30"], "method=ldam"),
        (["method=erm", "loss=gcl", "loss.scale=30"], "method=gcl"),
        (["method=mixup", "loss=ldam", "loss.scale=30"], "method=ldam"),
        (["method=posthoc_logit_adjustment", "loss=ldam", "loss.scale=30"], "method=ldam"),
        (["method=ldam", "loss.scale=16"], "is 16, but that of the head is 30.0"),
        (["method=ldam_drw", "loss.scale=16"], "is 16, but that of the head is 30.0"),
        (["method=ldam_drw", "loss=alpa"], "loss=ldam"),
    ],
)
def test_losses_that_do_not_suit_head_or_method_are_refused_before_training(overrides: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        pieces(composed(*overrides))


@pytest.mark.parametrize(("method", "loss"), [("cl", "loss"), ("cb_wd_maxnorm", "method.stages.classify.module.loss")])
def test_second_stages_refuse_them_too(method: str, loss: str) -> None:
    group = "loss" if loss == "loss" else f"loss@{loss}"
    cfg = composed(f"method={method}", f"{group}=ldam", f"{loss}.scale=30")
    network = Network(Encoder(), num_classes=K, **build(cfg.method.network))
    with pytest.raises(UserError, match="method=ldam or method=gcl"):
        build(cfg.method.stages.classify.module)(network=network, context=context())
