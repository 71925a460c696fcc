"""A run has every setting that it needs and none that nothing reads."""

from __future__ import annotations

from typing import Any, cast

import pytest
from omegaconf import OmegaConf

from ltmed.config.compose import compose
from ltmed.config.paths import choices
from ltmed.config.structure import require_structure
from ltmed.errors import UserError


def check(line: str) -> None:
    require_structure(cast("dict[str, Any]", OmegaConf.to_container(compose(line.split()), resolve=False)))


@pytest.mark.parametrize("group", ["method", "dataset", "callbacks", "logger", "protocol", "split", "trainer"])
def test_every_choice_of_ours_passes(group: str) -> None:
    for name in choices(group):
        check(f"{group}={name}")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("++finetune.layer_deacy=0.5", "Did you mean 'layer_decay'"),
        ("+finetune.peft.rnk=8", "Did you mean 'rank'"),
        ("+features.view=4", "Did you mean 'views'"),
        ("+pixels.men=[0.5,0.5,0.5]", "Did you mean 'mean'"),
        ("+method.freze=true", "Did you mean 'freeze'"),
        ("+method.network.projectr=null", "Did you mean 'projector'"),
        ("++method.stages.train.optimizr.lr=0.1", "Did you mean 'optimizer'"),
        ("+method.stages.train.epoch=3", "Did you mean 'epochs'"),
        ("+callbacks.early._target_=a.b", "no setting 'callbacks'"),
    ],
)
def test_an_added_setting_that_nothing_reads_is_refused(override: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        check(override)
    assert "change nothing" in str(error.value)


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("~seed", "seed"),
        ("~features", "features"),
        ("~figures", "figures"),
        ("~finetune.accumulate", "finetune.accumulate"),
        ("~method.stages.train.schedule", "method.stages.train.schedule"),
        ("~method.network.classifier", "method.network.classifier"),
        ("features=null", "features"),
        ("finetune=null", "finetune"),
        ("pixels=3", "pixels"),
        ("evaluation=null", "evaluation"),
        ("method.network=null", "method.network"),
        ("method.network.classifier=null", "method.network.classifier"),
        ("method.stages=null", "method.stages"),
        ("method.stages.train=null", "method.stages.train"),
        ("method.stages.train.optimizer=adam", "method.stages.train.optimizer"),
        ("method.stages.train.sampler=null", "method.stages.train.sampler"),
        ("method.name=null", "method.name"),
        ("method.name=../other", "method.name"),
    ],
)
def test_what_a_run_needs_is_neither_removed_nor_null(override: str, key: str) -> None:
    with pytest.raises(UserError) as error:
        check(override)
    assert error.value.message.startswith((f"{key} ", f"{key}="))


@pytest.mark.parametrize(
    "line",
    [
        "+loss.gamma=1",  # Arguments are checked where the loss is built.
        "+epochs.train=3",
        "finetune.peft=null",
        "+trainer.callbacks.mine._target_=a.b",
        "method.stages.train.schedule=null",
        "method.stages.train.optimizer=${evaluation}",  # Built, and reported there.
        "+augment@strong=flips method.stages.train.augment=${strong}",
    ],
)
def test_what_is_read_passes(line: str) -> None:
    check(line)
