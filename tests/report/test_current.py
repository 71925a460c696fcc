"""Runs of a study whose configuration files changed between two folds."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from ltmed.report.study_table import table
from ltmed.runs.job import job_of
from ltmed.studies.catalogue import load
from tests.report.factory import METRIC, write

STUDY = """# mine
defaults: [/study, _self_]
study:
  paper: mine
  title: Mine
  metrics: [balanced_accuracy]
  shared: dataset=phantom backbone=tiny split=random split.pool=all
  rows: {Mine: method=mymethod, ERM: method=erm}
  columns: {phantom: {overrides: dataset=phantom}}
  repeat: {fold: "0,1,2,3"}
"""
METHOD = """# mine
defaults: [erm, _self_]
name: mymethod
stages:
  train:
    optimizer:
      lr: 0.001
"""


@pytest.fixture
def method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a method of a study, both of a user's own."""
    conf = tmp_path / "conf"
    for folder in ("mine", "method"):
        (conf / folder).mkdir(parents=True)
    (conf / "mine" / "s.yaml").write_text(STUDY)
    (conf / "method" / "mymethod.yaml").write_text(METHOD)
    monkeypatch.setenv("LTMED_CONF", str(conf))
    monkeypatch.chdir(tmp_path)
    return conf / "method" / "mymethod.yaml"


def finish(tmp_path: Path, fold: int, row: str = "Mine", **settings: object) -> Path:
    """A finished run of the study, with the configuration that its command has at present and `settings`."""
    (repetition,) = (one for one in load("mine/s").cells() if one.row == row and one.repetition["fold"] == str(fold))
    run = write(tmp_path / "written", row, fold, scalars={METRIC: 0.5 + fold / 10})
    repetition.run_dir.parent.mkdir(parents=True, exist_ok=True)
    run.path.rename(repetition.run_dir)
    cfg = OmegaConf.create(OmegaConf.to_container(job_of(repetition.overrides).cfg))
    for key, value in settings.items():
        OmegaConf.update(cfg, key, value)
    OmegaConf.save(cfg, repetition.run_dir / "config.yaml")
    return repetition.run_dir


def folds(cell) -> list[int]:
    return [run.division.fold for run in cell.runs]


def test_a_fold_of_an_earlier_version_of_the_method_is_not_averaged(method: Path, tmp_path: Path) -> None:
    old = [finish(tmp_path, fold) for fold in (0, 1)]
    for fold in (0, 1):
        finish(tmp_path, fold, "ERM")
    method.write_text(METHOD.replace("0.001", "0.3"))
    finish(tmp_path, 2)
    with pytest.warns(UserWarning, match="left out") as warned:
        found = table("mine/s")
    (said,) = [str(warning.message) for warning in warned]
    assert "\n" not in said
    assert str(old[0]) in said
    assert "and 1 more" in said
    assert "method.stages.train.optimizer.lr was 0.001 and is now 0.3" in said
    assert folds(found.cells["Mine", "phantom"]) == [2], "although two of three had the other rate"
    assert len(found.cells["Mine", "phantom"].missing) == 3
    assert folds(found.cells["ERM", "phantom"]) == [0, 1]


def test_all_of_one_version_are_shown_without_a_warning(method: Path, tmp_path: Path) -> None:
    for fold in range(3):
        finish(tmp_path, fold, **{"trainer.precision": "bf16-mixed"})  # Of another device than this one.
    method.write_text(METHOD + "      nesterov: true\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert folds(table("mine/s").cells["Mine", "phantom"]) == [0, 1, 2], "a newer setting says nothing of them"


def test_a_setting_that_only_some_folds_have_divides_them(method: Path, tmp_path: Path) -> None:
    finish(tmp_path, 0)
    method.write_text(METHOD + "      nesterov: true\n")
    finish(tmp_path, 1)
    with pytest.warns(UserWarning, match="nesterov is unset, and True in other runs of the cell"):
        assert folds(table("mine/s").cells["Mine", "phantom"]) == [1]


def test_without_the_method_the_most_common_settings_count(method: Path, tmp_path: Path) -> None:
    finish(tmp_path, 0)
    finish(tmp_path, 1, **{"method.stages.train.optimizer.lr": 0.3})
    finish(tmp_path, 2)
    method.write_text(METHOD.replace("erm", "nothing"))
    with pytest.warns(UserWarning, match=r"lr is 0\.3, and 0\.001 in other runs of the cell"):
        assert folds(table("mine/s").cells["Mine", "phantom"]) == [0, 2]


def test_what_the_study_varies_itself_is_no_difference(method: Path, tmp_path: Path) -> None:
    study = method.parents[1] / "mine" / "s.yaml"
    study.write_text(STUDY.replace("method=mymethod,", "method=mymethod method.stages.train.optimizer.lr=$fold,"))
    for fold in (1, 2):
        finish(tmp_path, fold)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert folds(table("mine/s").cells["Mine", "phantom"]) == [1, 2]
