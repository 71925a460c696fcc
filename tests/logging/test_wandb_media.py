"""What Weights & Biases gets besides curves, offline."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ltmed.errors import UserError
from ltmed.logging.wandb import WandbLogger
from ltmed.logging.wandb_media import images, tags
from ltmed.methods.figures.aduni import alpha_curve
from ltmed.plots import style
from tests.logging.test_loggers import CONFIG, NAME, found, key_of, no_account, records

__all__ = ["no_account"]


def test_tags_name_data_set_method_and_split():
    assert tags(NAME) == ["isic2018", "erm", "grouped"]
    assert tags(replace(NAME, dataset="lmd", method="lmd")) == ["lmd", "grouped"]
    assert len(tags(replace(NAME, dataset="x" * 99))[0]) == 64


def test_no_folder_no_images(tmp_path):
    assert images(tmp_path / "figures") == {}


def test_pictures_and_tags_are_in_the_offline_run(tmp_path, no_account, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    style.save(alpha_curve([1.0, 0.5]), tmp_path / "figures" / "alpha.png")
    WandbLogger(tmp_path, NAME, CONFIG, project="ltmed", entity=None, offline=False).log_final(found())
    logged, tagged, row = {}, [], ""
    for record in records(next((tmp_path / "wandb").glob("offline-run-*/*.wandb"))):
        tagged += record.run.tags
        for item in record.run.config.update:
            row = json.loads(item.value_json) if item.key == "row" else row
        for item in record.history.item:
            logged[key_of(item)] = json.loads(item.value_json)
    assert tagged == ["isic2018", "erm", "grouped"]
    assert row == "erm (loss=focal)"
    shown = {key.rpartition("/")[2]: value for key, value in logged.items() if key.startswith("figures/alpha/")}
    assert shown["_type"] == "image-file", logged
    (copied,) = (tmp_path / "wandb").glob(f"offline-run-*/files/{shown['path']}")
    assert copied.read_bytes() == (tmp_path / "figures" / "alpha.png").read_bytes()


def test_a_setting_that_wandb_refuses_is_one_line(tmp_path, no_account, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "foo")
    with pytest.raises(UserError, match=r"could not start: mode=foo: .*WANDB_") as raised:
        WandbLogger(tmp_path, NAME, CONFIG, project="ltmed", entity=None, offline=False)
    assert "\n" not in str(raised.value)
