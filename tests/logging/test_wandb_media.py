"""What Weights & Biases gets besides curves, offline; and the script that builds a report."""

from __future__ import annotations

import json
import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from ltmed.errors import UserError
from ltmed.logging.wandb import WandbLogger
from ltmed.logging.wandb_media import images, tags
from ltmed.methods.figures.aduni import alpha_curve
from ltmed.plots import style
from tests.logging.test_loggers import CONFIG, NAME, found, key_of, no_account, records

__all__ = ["no_account"]
SCRIPT = Path(__file__).resolve().parents[2] / "experiments" / "wandb_workspace.py"


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


@pytest.fixture
def script():
    return SimpleNamespace(**runpy.run_path(str(SCRIPT)))


def test_dry_run_prints_a_section_for_each_data_set(script, capsys):
    script.main(["phantom", "isic2018", "--project", "p", "--split", "grouped", "--dry-run"])
    planned = json.loads(capsys.readouterr().out)
    assert [section["tags"] for section in planned["sections"]] == [["phantom", "grouped"], ["isic2018", "grouped"]]
    shown = [name for panel in planned["sections"][0]["panels"] for name in panel.get("metrics", ())]
    assert {"test/balanced_accuracy", "test/tail_recall"} <= set(shown)


def test_plan_names_what_runs_log(script, tmp_path):
    from ltmed.evaluation.metrics import SCALARS
    from ltmed.plots.run_figures import figures
    from ltmed.runs.reader import read_run
    from tests.plots.cases import make_run

    names = {name for metrics in script.SCORES.values() for name in metrics}
    assert names <= {f"test/{name}" for name in SCALARS}
    run = read_run(make_run(tmp_path / "run"))
    assert run
    assert set(script.PICTURES) <= {f"figures/{name}" for name in figures(run)}


@pytest.mark.parametrize(("package", "message"), [(object(), "wandb login"), (None, "ltmed[reports]")])
def test_without_account_or_library_it_says_what_to_do(package, message, script, no_account, monkeypatch, capsys):
    monkeypatch.setitem(script.main.__globals__, "find_spec", lambda name: package)
    with pytest.raises(SystemExit) as ended:
        script.main(["phantom"])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_report_is_built_as_planned(script):
    report = script.build(script.plan(["phantom", "isic2018"], "team", "p"))
    grids = [block for block in report.blocks if type(block).__name__ == "PanelGrid"]
    assert [grid.runsets[0].name for grid in grids] == ["phantom", "isic2018"]
    assert "phantom" in grids[0].runsets[0].filters
    assert grids[0].runsets[0].groupby == ["config.row"]
    assert len(grids[0].panels) == len(script.plan(["phantom"], "team", "p")["sections"][0]["panels"])
    corners = {(panel.layout.x, panel.layout.y) for panel in grids[0].panels}
    assert len(corners) == len(grids[0].panels)


def test_a_setting_that_wandb_refuses_is_one_line(tmp_path, no_account, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "foo")
    with pytest.raises(UserError, match=r"could not start: mode=foo: .*WANDB_") as raised:
        WandbLogger(tmp_path, NAME, CONFIG, project="ltmed", entity=None, offline=False)
    assert "\n" not in str(raised.value)
