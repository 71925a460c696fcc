"""The configuration that a run is computed with: complete, in one form, read-only; and which groups a method uses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf, errors

from ltmed.config.compose import compose
from ltmed.config.resolve import OPTIONAL_GROUPS, require_own, require_used, resolve, resolve_precision, used_groups
from ltmed.errors import UserError
from tests.harness import METHODS, ROOT

USES = {
    "erm": {"loss", "sampler", "augment"},
    "proco": {"sampler", "augment"},
    "pcct": {"sampler", "augment"},
    "lmd": {"sampler", "augment", "weak_augment"},
    "flexible_sampling": {"loss", "sampler", "augment", "weak_augment"},
    "gcl": {"loss", "sampler", "augment"},
}


def test_shorthands_are_in_the_stages_and_nowhere_else() -> None:
    cfg = compose(["method=lmd", "epochs={represent:3}", "batch_size=14", "dataset=phantom", "image_size=32"])
    before = OmegaConf.to_yaml(cfg)
    resolved = resolve(cfg, Path("/runs/x"))
    own = cfg.method.stages.calibrate.epochs
    assert [stage.epochs for stage in resolved.method.stages.values()] == [3, own]
    assert [stage.batch_size for stage in resolved.method.stages.values()] == [14, 14]
    assert not {"epochs", "batch_size"} & set(resolved)
    assert resolved.run_dir == "/runs/x"
    assert resolved.dataset.image_size == resolved.image_size == 32
    assert OmegaConf.to_yaml(cfg) == before, "the composed configuration is not changed"
    assert "${" not in OmegaConf.to_yaml(resolved)
    with pytest.raises(errors.ReadonlyConfigError):
        resolved.seed = 1
    with pytest.raises(errors.ReadonlyConfigError):
        resolved.method.stages.calibrate.epochs = 1


def test_data_are_where_they_were_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    resolved = resolve(compose(["dataset=isic2018", "dataset.root=../data", "cache_dir=cache"]), Path("r"))
    assert resolved.dataset.root == str(tmp_path.parent / "data")
    assert resolved.cache_dir == str(tmp_path / "cache")
    assert resolve(compose(["dataset=isic2018"]), Path("r")).dataset.root is None
    unpacked = resolve(compose(["dataset=medmnist", "dataset.root=/data", "dataset.extract_to=png"]), Path("r"))
    assert unpacked.dataset.extract_to == str(tmp_path / "png")


@pytest.mark.parametrize(("fast", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_precision_auto_is_what_the_device_has(monkeypatch: pytest.MonkeyPatch, fast: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: fast)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert resolve_precision("auto", "cpu") == resolve_precision("auto", "auto") == expected
    with pytest.raises(UserError, match="16-mixed"):
        resolve_precision("16-mixed", "cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: not fast)
    assert resolve_precision("auto", "gpu") == ("32-true" if fast else "bf16-mixed")
    assert resolve_precision("auto", "cpu") == expected


@pytest.mark.parametrize("method", USES)
def test_the_groups_that_a_method_uses(method: str) -> None:
    assert set(used_groups(compose([f"method={method}"]))) == USES[method]


def named(node: object) -> set[str]:
    """The groups that stand as `${group}` in a part of a yaml file."""
    if isinstance(node, DictConfig | dict):
        return set().union(*(named(child) for child in node.values()))
    if isinstance(node, list):
        return set().union(*map(named, node))
    return {group for group in OPTIONAL_GROUPS if node == f"${{{group}}}"}


@pytest.mark.parametrize("method", METHODS)
def test_groups_of_all_methods_are_those_that_their_files_name(method: str) -> None:
    own = named(OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "method" / f"{method}.yaml")))
    assert set(used_groups(compose([f"method={method}"]))) >= own


def test_a_setting_of_a_group_is_a_use_of_it() -> None:
    cfg = compose(["loss=focal"])
    plain = OmegaConf.create({"loss": {"gamma": 2.0}, "sampler": {"q": 1}, "method": {"gamma": "${loss.gamma}"}})
    assert used_groups(plain) == ("loss",)
    assert "loss" in used_groups(cfg)


@pytest.mark.parametrize(
    ("method", "override", "group"),
    [
        ("pcct", "loss=focal", "loss"),
        ("aduni", "loss.gamma=1", "loss"),
        ("proco", "+augment@weak_augment=flips", "weak_augment"),
    ],
)
def test_a_choice_without_a_use_is_refused(method: str, override: str, group: str) -> None:
    cfg = compose([f"method={method}"])
    with pytest.raises(UserError, match=f"method={method} does not use {group}"):
        require_used(cfg.method.name, [override], used_groups(cfg))


def test_choices_with_a_use_pass() -> None:
    cfg = compose(["method=lmd", "augment@weak_augment=weak"])
    overrides = ["augment@weak_augment=weak", "augment@evaluation=none", "sampler=instance", "method.stages.x.loss=1"]
    require_used(cfg.method.name, overrides, used_groups(cfg))


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        (
            "~method.stages.represent.sampler.q",
            "~sampler.q for all stages, or give this one its own with +sampler@method.stages.represent.sampler=NAME.",
        ),
        ("~method.stages.calibrate.augment.vertical_flip", "Write ~weak_augment.vertical_flip for all stages, or"),
        ("~method.stages.calibrate.augment.vertical_flip.p", "Write ~weak_augment.vertical_flip.p for all stages, or"),
    ],
)
def test_nothing_is_removed_from_a_common_choice_in_the_name_of_one_stage(override: str, hint: str) -> None:
    overrides = ["method=lmd", "sampler=class_balanced", override]
    with pytest.raises(UserError) as refused:
        require_own(OmegaConf.to_container(compose(overrides)), overrides)
    assert str(refused.value).startswith(f"{override} would remove it from ")
    assert hint in str(refused.value)


def test_what_a_stage_has_for_itself_may_be_removed() -> None:
    own = "method.stages.represent.sampler"
    for overrides in (
        ["method=lmd", "sampler=class_balanced", "~sampler.q", "~method.stages.represent.schedule", "~method.stages"],
        ["method=lmd", "sampler=class_balanced", f"+sampler@{own}=square_root", f"~{own}.q"],
    ):
        require_own(OmegaConf.to_container(compose(overrides)), overrides)
    assert compose(["method=lmd", f"+sampler@{own}=square_root", f"~{own}.q"]).method.stages.represent.sampler == {
        "_target_": "ltmed.data.samplers.single.PowerSampler", "_partial_": True,
    }  # fmt: skip
