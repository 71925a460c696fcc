"""A configuration that the tests remember is the one that Hydra composes."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tests.economy import REMEMBERED
from tests.harness import ROOT

CASES = (
    ["method=erm", "dataset=isic2018", "image_size=32", "seed=0"],
    ["method=erm", "dataset=isic2018", "image_size=64", "seed=1"],
    ["method=lmd", "~logger", "trainer=cpu", "method.stages.represent.optimizer.lr=0.5"],
    ["method=lmd", "~logger", "trainer=cpu", "+trainer.deterministic=true"],
    ["loss=focal", "loss.gamma=1"],
    ["loss=focal"],
)


def composed() -> list[str]:
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        return [OmegaConf.to_yaml(compose("config", case, return_hydra_config=True)) for case in CASES]


def test_it_is_the_same_twice_and_without_remembering(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = composed(), composed()
    for place, name, _ in REMEMBERED:
        monkeypatch.setattr(place, name, getattr(place, name).__wrapped__)
    assert first == second == composed()
