"""Settings of Lightning's trainer: each is offered, or refused with the one that is meant."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Trainer
from omegaconf import OmegaConf

from ltmed.config import validate
from ltmed.config.trainer import OFFERED, REFUSED, check_trainer
from ltmed.errors import UserError
from ltmed.runs.job import plan
from tests.config.test_validate import changed, composed
from tests.harness import ROOT


def test_every_argument_is_either_offered_or_refused() -> None:
    """One that a new version of Lightning brings must be decided on: nothing is overridden silently."""
    known = set(inspect.signature(Trainer.__init__).parameters) - {"self"}
    assert known == set(OFFERED) | set(REFUSED)
    assert not set(OFFERED) & set(REFUSED)


def test_every_default_is_offered_and_every_offer_has_its_values() -> None:
    for file in (ROOT / "conf/trainer").glob("*.yaml"):
        node: Any = OmegaConf.to_container(OmegaConf.load(file))
        assert set(node) - {"_target_", "defaults"} <= set(OFFERED)
    checked = {key.removeprefix("trainer.") for key in validate.SETTINGS if key.startswith("trainer.")}
    assert checked == set(OFFERED) - {"callbacks"}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_setting_without_effect_is_refused_before_anything_is_written(name: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(UserError) as refused:
        plan(changed(f"run_dir={run}", base=composed(f"+trainer.{name}=1")), [], {"dataset": "phantom"})
    assert f"trainer.{name}" in refused.value.message
    assert refused.value.hint
    assert not run.exists()


@pytest.mark.parametrize(
    ("name", "meant"),
    [("max_epochs", "epochs="), ("logger", "logger=wandb"), ("strategy", "trainer.devices"), ("plugins", "precision")],
)
def test_the_setting_that_is_meant_is_named(name: str, meant: str) -> None:
    assert meant in REFUSED[name]


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({"precison": "32-true"}, "precision"),
        ({"sync_batchnorm": True, "accelerator": "cpu", "devices": 2}, "sync_batchnorm"),
        ({"callbacks": [{"_target_": "lightning.pytorch.callbacks.StochasticWeightAveraging"}]}, "StochasticWeight"),
        ({"callbacks": {"a": {"_target_": "pl.callbacks.StochasticWeightAveraging"}}}, "StochasticWeight"),
    ],
)
def test_what_would_fail_or_have_no_effect_is_refused(node: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_trainer(node)


@pytest.mark.parametrize(
    "node",
    [
        {"callbacks": {"lr": {"_target_": "lightning.pytorch.callbacks.LearningRateMonitor"}}},
        {"callbacks": None},
        {"sync_batchnorm": True, "accelerator": "cpu", "devices": 1, "num_nodes": 1},
        {"sync_batchnorm": True, "accelerator": "gpu", "devices": 2},
    ],
)
def test_what_is_possible_passes(node: dict[str, Any]) -> None:
    check_trainer(node)
