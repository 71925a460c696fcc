"""Values that settings may have: refused in one line before a run has a folder."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR

from ltmed.config import validate
from ltmed.config.targets import trusted
from ltmed.errors import UserError
from ltmed.evaluation.scalars import SCALARS, better
from ltmed.runs.job import plan
from tests.harness import ROOT

STAGE = "method.stages.train"


@cache
def composed(*overrides: str) -> DictConfig:
    """A config with overrides that choose groups; composing is slow."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", ["run_dir=somewhere", *overrides])


def changed(*overrides: str, base: DictConfig | None = None) -> DictConfig:
    """The default config with `key=value` overrides, whose values are written as in a yaml file."""
    cfg = copy.deepcopy(base or composed())
    for override in overrides:
        key, _, value = override.partition("=")
        OmegaConf.update(cfg, key, yaml.safe_load(value), merge=False, force_add=True)
    return cfg


@pytest.mark.parametrize(
    "override",
    [
        "seed=abc", "seed=null", "seed=1.5", "seed=-1", "seed=true", "fold=abc", "fold=-1",
        "epochs=0", "epochs=-1", "epochs=1.5", "epochs=abc", "epochs={}", "epochs={train: 0}",
        "batch_size=0", "batch_size=abc", "batch_size=2.5", "batch_size={train: -2}",
        "image_size=0", "image_size=-5", "image_size=33.5", "image_size=abc", "dataset.image_size=abc",
        "dataset.cache_scale=-1", "dataset.cache_scale=.nan", "dataset.cache_budget_gb=abc",
        "dataset.threads=-2", "dataset.threads=abc", "dataset.workers=abc", "dataset.fit=stretch", "dataset.head=mel",
        "dataset.on_bad_image=ignore", "dataset.root=''",
        "split.folds=1", "split.test=abc", "split.test=2", "split.val=0.0", "split.seed=x", "split.pool=some",
        "monitor_mode=foo", "monitor=acc", "figures=maybe", "logger.offline=maybe",
        "runs=''", "runs=null", "runs=2026", "cache_dir=''",
        "trainer.devices=abc", "trainer.devices=[0,1]", "trainer.devices=1.5", "trainer.devices=0",
        "trainer.num_nodes=0", "trainer.precision=half", "trainer.accelerator=tpu", "trainer.gradient_clip_val=abc",
        "trainer.precision=bf16-true", "trainer.precision=32", "trainer.accumulate_grad_batches=0",
        "trainer.limit_train_batches=0", "trainer.limit_train_batches=1.5", "trainer.sync_batchnorm=maybe",
        "trainer.gradient_clip_algorithm=max", "trainer.deterministic=maybe", "logger.attempt=-1",
        "logger.artifacts=card", "logger.artifacts=[model]",
        "trainer.log_every_n_steps=0", "trainer.benchmark=sometimes", "trainer.enable_progress_bar=1",
        "backbone.name=???", "backbone.pretrained=maybe", "backbone.weights=''",
        "method.stages=null", f"{STAGE}.epochs=0", f"{STAGE}.batch_size=0", f"{STAGE}.views=3", f"{STAGE}.keep=both",
        f"{STAGE}.sampler={{q: 1}}", f"{STAGE}.augment={{}}", f"{STAGE}.module.loss={{gamma: 1}}",
        f"{STAGE}.optimizer.lr=abc", f"{STAGE}.optimizer.lr=-1", f"{STAGE}.optimizer.momentum=abc",
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_is_refused(override: str) -> None:
    base = composed("logger=wandb", "split=random", "dataset=image_folder")
    with pytest.raises(UserError) as refused:
        validate.check(changed(override, base=base))
    key = override.split("=")[0]
    assert str(refused.value).startswith(f"{key}=") or f"{key}." in str(refused.value)
    assert str(refused.value).endswith(("?", "."))


@pytest.mark.parametrize(
    "override",
    [
        "trainer.devices=-1", "trainer.devices=auto", "trainer.devices=4", "trainer.precision=bf16-mixed",
        "epochs={train: 3}", "trainer.limit_train_batches=0.5", "trainer.deterministic=warn",
        "batch_size=1", "split.test=0.3", "dataset.head=[a, b]", "dataset.threads=3", "trainer.benchmark=null",
    ],
)  # fmt: skip
def test_what_is_possible_passes(override: str) -> None:
    validate.check(changed(override, base=composed("split=random")))


@pytest.mark.parametrize(
    "overrides",
    [["split=long_tailed", "dataset=manifest"], ["method=pcct", "~method.stages.first"], ["dataset=medmnist"]],
)
def test_groups_with_other_settings_pass(overrides: list[str]) -> None:
    validate.check(composed(*overrides))
    with pytest.raises(UserError, match=r"split\.inner\.folds=1"):
        validate.check(changed("split.inner.folds=1", base=composed("split=long_tailed", "dataset=manifest")))


def test_test_images_have_no_random_view() -> None:
    with trusted():
        with pytest.raises(UserError, match="random view"):
            validate.check(composed("augment@evaluation=weak"))
        validate.check(changed("evaluation.crop=false"))


def test_the_direction_belongs_to_the_metric() -> None:
    assert {name for name in SCALARS if better(name) == "min"} == {"ece"}
    validate.check(changed("monitor=ece", "monitor_mode=min"))
    with pytest.raises(UserError, match=r"monitor=ece .*worst epoch. Add monitor_mode=min\."):
        validate.check(changed("monitor=ece"))
    with pytest.raises(UserError, match=r"Add monitor_mode=max\."):
        validate.check(changed("monitor_mode=min"))


def test_a_stage_that_is_not_there() -> None:
    with pytest.raises(UserError, match="'train'"):
        validate.check(changed("batch_size={trian: 3}"))


def test_an_optimiser_that_cannot_be_made_is_named() -> None:
    with pytest.raises(UserError, match=r"method\.stages\.first\.optimizer cannot be made: .*beta"):
        validate.check(changed("method.stages.first.optimizer.betas=[2, 3]", base=composed("method=pcct")))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("+method.stages.classify.schedule.warmup_fraction=2", "warmup_fraction = 2"),
        ("+method.stages.classify.schedule.total_steps=9", "classify.schedule cannot be made: .*total_steps"),
    ],
)
def test_a_schedule_of_a_later_stage_is_made_before_the_first_one_is_trained(override: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        validate.check(composed("method=decoupling", override))


def after_warmup(optimizer: Optimizer, total_steps: int, *, warmup: int) -> ConstantLR:
    """A schedule of a user, that counts its warm-up in steps of training."""
    if not 0 <= warmup < total_steps:
        raise ValueError(f"{warmup} steps of warm-up")
    return ConstantLR(optimizer, total_iters=warmup)


def test_a_schedule_may_count_its_warm_up_in_steps() -> None:
    target = f"_target_={after_warmup.__module__}.after_warmup"
    base = composed(f"{STAGE}.schedule.{target}")
    with trusted():
        validate.check(changed(f"{STAGE}.schedule.warmup=20000", base=base))
        with pytest.raises(UserError, match="schedule cannot be made: -1 steps of warm-up"):
            validate.check(changed(f"{STAGE}.schedule.warmup=-1", base=base))


def test_nothing_is_written_before(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(UserError, match="seed=null"):
        plan(changed("seed=null", f"run_dir={run}"), [], {"dataset": "phantom"})
    assert not run.exists()
