"""A configuration that the tests remember is the one that Hydra composes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tests.economy import REMEMBERED, remembered_translations
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


def test_what_one_export_adds_to_the_translations_is_not_in_the_next() -> None:
    read = remembered_translations(lambda cls, version: SimpleNamespace(functions={"add": [f"of {version}"]}))
    first = read(None, version=18)
    first.functions["add"].insert(0, "mine")
    first.functions["other"] = ["mine"]
    assert read(None, version=18).functions == {"add": ["of 18"]}
    assert read(None, version=17).functions == {"add": ["of 17"]}


def test_a_file_of_somebody_that_changes_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "loss" / "mine.yaml"
    file.parent.mkdir()
    for rate in (1, 2, 1):
        file.write_text(f"_target_: mine\nrate: {rate}\n")
        with initialize_config_dir(str(ROOT / "conf"), version_base=None):
            assert compose("config", ["loss=mine", f"hydra.searchpath=[file://{tmp_path}]"]).loss.rate == rate
