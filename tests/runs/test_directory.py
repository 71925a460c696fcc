"""Run folders: what names them, who may use them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from ltmed.errors import UserError
from ltmed.runs.directory import DamagedRunError, claim, fingerprint, flatten, identity, run_dir_name

CFG = OmegaConf.create(
    {
        "seed": 0,
        "fold": 1,
        "run_dir": "x",
        "method": {"name": "erm", "stages": {"train": {"epochs": 3}}},
        "dataset": {"root": "/here"},
        "trainer": {"devices": 1, "precision": "32-true"},
    }
)


def named(*overrides: str) -> str:
    return str(run_dir_name("phantom", "erm", 1, 0, overrides))


def test_name_is_readable_and_in_the_order_of_the_alphabet() -> None:
    assert named() == "phantom/erm/default/fold1-seed0"
    assert named("image_size=64", "backbone=tiny") == named("backbone=tiny", "image_size=64")
    assert named("image_size=64", "backbone=tiny") == "phantom/erm/backbone=tiny,image_size=64/fold1-seed0"


def test_place_does_not_name_a_run_but_precision_does() -> None:
    where = [
        "trainer.devices=4",
        "dataset.extract_to=/elsewhere",
        "trainer.accelerator=cpu",
        "logger=wandb",
        "logger.project=x",
        "dataset.root=/a/b",
        "runs=r",
    ]
    assert named(*where, "seed=0", "fold=1", "method=erm", "dataset=phantom") == named()
    assert named("trainer.precision=bf16-mixed") != named()


def test_words_that_do_not_fit_into_a_path_stay_apart() -> None:
    assert named("epochs={train:3}") != named("epochs=_train_3_")
    assert named("a=b/c") != named("a=b_c")
    long = [f"method.stages.train.option_{i}={i}" for i in range(20)]
    assert named(*long) != named(*long[:-1], "method.stages.train.option_19=20")
    assert all(len(part) <= 110 for part in Path(named(*long)).parts)


def test_claim_writes_once_and_refuses_another_config(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    claim(run_dir, CFG)
    written = (run_dir / "config.yaml").read_text()
    other_place = OmegaConf.merge(CFG, {"trainer": {"devices": 8}, "dataset": {"root": "/there"}})
    claim(run_dir, other_place)  # pyright: ignore[reportArgumentType]
    assert (run_dir / "config.yaml").read_text() == written
    other = OmegaConf.merge(CFG, {"method": {"stages": {"train": {"epochs": 9}}}})
    with pytest.raises(UserError, match=r"method\.stages\.train\.epochs: 3 there, 9 now"):
        claim(run_dir, other)  # pyright: ignore[reportArgumentType]


def test_claim_sees_a_key_that_only_one_side_has(tmp_path: Path) -> None:
    claim(tmp_path, CFG)
    with pytest.raises(UserError, match="extra: None there, 1 now"):
        claim(tmp_path, OmegaConf.merge(CFG, {"extra": 1}))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("text", ["", "- a list", "3", "a: [", "{}"])
def test_a_configuration_that_is_none_is_called_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(DamagedRunError, match=r"config\.yaml is not the configuration of a run"):
        claim(tmp_path, CFG)


@pytest.mark.parametrize("place", ["/dev/null/x", "/proc/x"])
def test_a_folder_that_cannot_be_made_is_named(place: str) -> None:
    with pytest.raises(UserError, match=f"{place} cannot be written: .*Choose another folder"):
        claim(Path(place), CFG)


def test_flatten_and_identity() -> None:
    assert flatten({"a": {"b": 1, "c": [1, 2]}, "d": {}}) == {"a.b": 1, "a.c": [1, 2], "d": {}}
    assert set(identity(CFG)) == {"seed", "fold", "method.name", "method.stages.train.epochs", "trainer.precision"}


def changed(**settings: object) -> DictConfig:
    cfg = CFG.copy()
    for key, value in settings.items():
        OmegaConf.update(cfg, key.replace("__", "."), value)
    return cfg


def test_a_fingerprint_is_of_what_is_computed() -> None:
    same = [
        {"method__name": "focal"},
        {"loss": {"_target_": "focal"}, "sampler": {"q": 0}},  # What is used of them is in the stages.
        {"dataset__root": "/there", "trainer__devices": 8, "run_dir": "y", "logger": {"project": "p"}},
    ]
    assert {fingerprint(changed(**settings)) for settings in same} == {fingerprint(CFG)}
    other = [
        {"method__stages__train__epochs": 4}, {"seed": 1}, {"fold": 2}, {"trainer__precision": "bf16-mixed"},
        {"method__stages__train__loss": {"_target_": "focal"}}, {"dataset__fit": "crop"}, {"lossy": 1},
    ]  # fmt: skip
    assert len({fingerprint(changed(**settings)) for settings in [{}, *other]}) == 1 + len(other)


def test_a_job_of_a_sweep_has_the_folder_of_the_plain_command() -> None:
    """Hydra's sweeper writes values anew: of 1e-3 the job sees 0.001, of false False."""
    overrides = ["a=1e-3", "b=false", "c=0.10", "d={x:1,y:2}", "e=null", "+f=[1,2]", "g='a b'", "h=a/b"]
    parser = OverridesParser.create()
    swept = [f"{o.get_key_element()}={o.get_value_element_as_str()}" for o in map(parser.parse_override, overrides)]
    assert swept != overrides
    assert named(*swept) == named(*overrides)
    assert named("a=1e-3") != named("a=1e-2")
    assert named("~method.stages.second") == named("~method.stages.second")
