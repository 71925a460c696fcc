"""What Weights & Biases gets besides curves, offline."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

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


def test_checkpoint_predictions_and_card_are_artifacts(tmp_path, no_account, monkeypatch):
    """Offline: the artifacts are in the record of the run, and what they hold is what the folder has."""
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staging"))
    run_dir = tmp_path / "run"
    contents = {
        "stages/first/best.ckpt": b"first", "stages/second/best.ckpt": b"best", "stages/second/last.ckpt": b"last",
        "config.yaml": b"config", "run.json": b"{}", "predictions.parquet": b"test", "validation.parquet": b"val",
        "card.html": b"card",
    }  # fmt: skip
    for name, content in contents.items():
        (run_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (run_dir / name).write_bytes(content)
    config = {**CONFIG, "method": {"name": "erm", "stages": {"first": {"keep": "last"}, "second": {"keep": "best"}}}}
    logger = WandbLogger(
        run_dir,
        NAME,
        config,
        project="ltmed",
        entity=None,
        offline=True,
        artifacts=["checkpoint", "predictions", "card"],
    )
    numbers = {**found(), "run": {"name": "isic2018-erm", "fold": 0}}
    logger.log_final(numbers)
    kept = {}
    for record in records(next((run_dir / "wandb").glob("offline-run-*/*.wandb"))):
        artifact = record.artifact if record.HasField("artifact") else record.request.log_artifact.artifact
        if artifact.name:
            kept[artifact.type] = {
                entry.path: Path(entry.local_path).read_bytes() for entry in artifact.manifest.contents
            }
    assert kept["predictions"] == {"predictions.parquet": b"test", "validation.parquet": b"val"}
    assert kept["card"] == {"card.html": b"card"}
    metrics = kept["model"].pop("metrics.json")
    assert json.loads(metrics) == numbers
    assert kept["model"] == {name: contents[name] for name in ("stages/second/best.ckpt", "config.yaml", "run.json")}


def test_an_unknown_artifact_is_refused_before_anything_is_sent(tmp_path, no_account):
    with pytest.raises(UserError, match="'checkpoint'"):
        WandbLogger.require_usable(offline=True, artifacts=["chekpoint"])


def test_a_card_that_cannot_be_made_is_a_warning_and_no_artifact(tmp_path, monkeypatch):
    import importlib

    from ltmed.logging.wandb_artifacts import artifacts_of
    from ltmed.plots.run import card_figures

    def fails(*_: object) -> None:
        raise ValueError("no such class")

    monkeypatch.setattr(card_figures, "write_html", fails)
    with pytest.warns(UserWarning, match="no such class"):
        importlib.import_module("ltmed.train")._write_card(tmp_path, {})
    assert (
        list(artifacts_of(tmp_path, {"method": {"stages": {"train": {"keep": "best"}}}}, {"run": {}}, ["card"], "id"))
        == []
    )
