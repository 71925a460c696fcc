"""`ltmed.config.compose`: choices of config groups that are added in place of an interpolation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from ltmed.config.compose import compose
from ltmed.config.paths import VARIABLE, choices
from ltmed.runs.job import job_of

SAMPLERS = ["instance", "class_balanced", "class_batches", "effective_number", "instance_and_balanced"]


def in_file(group: str, choice: str) -> Any:
    return OmegaConf.to_container(OmegaConf.load(choices(group)[choice]))


@pytest.mark.parametrize("added", SAMPLERS)
@pytest.mark.parametrize("common", SAMPLERS)
def test_an_added_sampler_is_the_one_in_its_file(common: str, added: str) -> None:
    """Not merged into the sampler that `${sampler}` stands for, which the other stage keeps."""
    cfg = compose(["method=lmd", f"sampler={common}", f"+sampler@method.stages.calibrate.sampler={added}"])
    stages = cfg.method.stages
    assert stages.calibrate.sampler == in_file("sampler", added)
    assert stages.represent.sampler == cfg.sampler == in_file("sampler", common)
    assert "_added_0" not in cfg


def test_settings_of_the_common_and_of_added_choices_stay_apart() -> None:
    stages = compose(
        [
            "method=lmd", "sampler=class_batches", "sampler.length=50",
            "+sampler@method.stages.calibrate.sampler=class_batches",
            "method.stages.calibrate.sampler.images_per_class=3",
        ]
    ).method.stages  # fmt: skip
    assert stages.represent.sampler == {**in_file("sampler", "class_batches"), "length": 50}
    assert stages.calibrate.sampler == {**in_file("sampler", "class_batches"), "images_per_class": 3}


def test_an_added_augmentation_keeps_no_transform_of_the_common_one() -> None:
    """Merged, it would run without an error, with the crop of `weak` before the resizing of `flips`."""
    cfg = compose(["method=decoupling", "augment=weak", "+augment@method.stages.represent.augment=flips"])
    assert cfg.method.stages.represent.augment == compose(["augment=flips"]).augment
    assert cfg.method.stages.classify.augment == compose(["augment=weak"]).augment


def test_a_run_is_given_the_added_choice() -> None:
    job = job_of(
        ["method=lmd", "dataset=phantom", "sampler=class_balanced", "+sampler@method.stages.calibrate.sampler=instance"]
    )
    assert job.cfg.method.stages.calibrate.sampler == in_file("sampler", "instance")


def test_a_package_of_the_users_own_stays() -> None:
    cfg = compose(["method=lmd", "+sampler@method.mine.sampler=square_root"])
    assert cfg.method.mine.sampler == in_file("sampler", "square_root")


def test_an_added_choice_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sampler").mkdir()
    (tmp_path / "sampler/my-own.yaml").write_text("_target_: mine\nrate: 2\n")
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    cfg = compose(["method=lmd", "sampler=class_balanced", "+sampler@method.stages.calibrate.sampler=my-own"])
    assert cfg.method.stages.calibrate.sampler == {"_target_": "mine", "rate": 2}
