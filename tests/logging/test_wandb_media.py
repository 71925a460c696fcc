"""What Weights & Biases gets besides curves, offline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ltmed.errors import UserError
from ltmed.logging.wandb import WandbLogger
from ltmed.logging.wandb_media import images, row_name, tags
from ltmed.methods.figures.aduni import alpha_curve
from ltmed.plots import style
from tests.logging.test_loggers import CONFIG, found, key_of, no_account, records

__all__ = ["no_account"]


def test_tags_name_data_set_method_and_split():
    assert tags({"split": {"_target_": "ltmed.data.splits.grouped"}}, "isic2018", "erm") == [
        "isic2018",
        "erm",
        "grouped",
    ]
    assert tags({}, "lmd", "lmd") == ["lmd"]
    assert len(tags({}, "x" * 99, "erm")[0]) == 64


def test_no_folder_no_images(tmp_path):
    assert images(tmp_path / "figures") == {}


def test_pictures_and_tags_are_in_the_offline_run(tmp_path, no_account, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    config = {**CONFIG, "split": {"_target_": "ltmed.data.splits.grouped"}}
    style.save(alpha_curve([1.0, 0.5]), tmp_path / "figures" / "alpha.png")
    WandbLogger(tmp_path, config, project="ltmed", entity=None, offline=False).log_final(found())
    logged, tagged, row = {}, [], ""
    for record in records(next((tmp_path / "wandb").glob("offline-run-*/*.wandb"))):
        tagged += record.run.tags
        for item in record.run.config.update:
            row = json.loads(item.value_json) if item.key == "row" else row
        for item in record.history.item:
            logged[key_of(item)] = json.loads(item.value_json)
    assert tagged == ["isic2018", "erm", "grouped"]
    assert row == f"erm ({tmp_path.name})"
    shown = {key.rpartition("/")[2]: value for key, value in logged.items() if key.startswith("figures/alpha/")}
    assert shown["_type"] == "image-file", logged
    (copied,) = (tmp_path / "wandb").glob(f"offline-run-*/files/{shown['path']}")
    assert copied.read_bytes() == (tmp_path / "figures" / "alpha.png").read_bytes()


@pytest.mark.parametrize(
    ("folder", "row"),
    [
        ("runs/isic2018/erm/default/fold0-seed1", "erm"),
        ("runs/isic2018/erm/default/fold4-seed0", "erm"),
        ("runs/isic2018/erm/loss=focal/fold0-seed1", "erm (loss=focal)"),
        ("mine", "erm (mine)"),
    ],
)
def test_a_row_is_a_method_with_its_settings(folder, row):
    assert row_name(Path(folder), "erm") == row


def test_a_setting_that_wandb_refuses_is_one_line(tmp_path, no_account, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "foo")
    with pytest.raises(UserError, match=r"could not start: mode=foo: .*WANDB_") as raised:
        WandbLogger(tmp_path, CONFIG, project="ltmed", entity=None, offline=False)
    assert "\n" not in str(raised.value)
