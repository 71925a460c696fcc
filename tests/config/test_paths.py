"""A user's own configuration files and studies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ltmed.cli.help import help_screen
from ltmed.config import paths
from ltmed.config.compose import compose, reader
from ltmed.errors import UserError
from ltmed.studies import catalogue
from tests.harness import ROOT

LOSS = "# mine: twice the loss\n_target_: ltmed.losses.classification.cross_entropy\n_partial_: true\n"
STUDY = """# @package _global_
# my table
defaults: [/study, _self_]
study:
  paper: mine
  title: Mine
  metrics: [accuracy]
  shared: dataset=phantom
  rows: {CE: method=erm loss=own_ce}
  columns: {phantom: {overrides: dataset=phantom}}
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of configuration files with a loss and a study."""
    for name, text in (("loss/own_ce.yaml", LOSS), ("mine/table.yaml", STUDY)):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    monkeypatch.setenv(paths.VARIABLE, str(tmp_path))
    return tmp_path


def test_the_packages_own_are_those_of_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(paths.VARIABLE, raising=False)
    assert paths.config_folders() == (ROOT / "conf",)
    assert paths.study_folders() == (ROOT / "experiments",)
    assert set(paths.choices("loss")) == {file.stem for file in (ROOT / "conf/loss").glob("*.yaml")}


def test_an_own_choice_is_found_composed_and_listed(own: Path) -> None:
    assert compose(["loss=own_ce"]).loss._target_ == "ltmed.losses.classification.cross_entropy"
    assert paths.choices("loss")["own_ce"] == own / "loss/own_ce.yaml"
    assert "  own_ce             mine: twice the loss" in help_screen("ltmed train").splitlines()


def test_an_own_study_is_found_and_the_choices_are_no_studies(own: Path) -> None:
    assert catalogue.files()["mine/table"] == own / "mine/table.yaml"
    assert "lmd/table3" in catalogue.names()
    assert not any(name.startswith("loss/") for name in catalogue.names())
    (cell,) = catalogue.load("mine/table").cells()
    assert "loss=own_ce" in cell.overrides
    assert not catalogue.load("mine/table").published


def test_an_own_data_set_may_be_checked(own: Path) -> None:
    (own / "dataset").mkdir()
    (own / "dataset/ours.yaml").write_text((ROOT / "conf/dataset/manifest.yaml").read_text())
    assert reader("ours") is reader("manifest")


def test_several_folders_and_none(
    own: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    paths.add_own_folder(str(other))
    assert os.environ[paths.VARIABLE] == f"{other}{os.pathsep}{own}"
    assert paths.own_folders() == (other, own)
    with pytest.raises(UserError, match="none"):
        paths.add_own_folder(str(other / "none"))
    monkeypatch.setenv(paths.VARIABLE, str(other / "none"))
    with pytest.raises(UserError, match=paths.VARIABLE):
        paths.config_folders()


@pytest.mark.parametrize(
    "name", ["method/erm.yaml", "config.yaml", "lmd/table3.yaml", "lmd/published.csv", "study.yaml"]
)
def test_a_name_that_is_taken_is_refused_instead_of_ignored(own: Path, name: str) -> None:
    (own / name).parent.mkdir(exist_ok=True)
    (own / name).touch()
    with pytest.raises(UserError) as refused:
        compose(["method=erm"])
    assert str(own / name) in refused.value.message


def test_two_own_files_of_one_name_are_refused(own: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "loss").mkdir()
    (other / "loss/own_ce.yaml").write_text(LOSS)
    paths.add_own_folder(str(other))
    with pytest.raises(UserError, match="own_ce"):
        paths.require_own_names()
    paths.add_own_folder(str(own))  # The same folder twice is one.
    os.environ[paths.VARIABLE] = f"{own}{os.pathsep}{own}"
    paths.require_own_names()


def test_the_checkout_itself_is_no_own_folder_with_taken_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(paths.VARIABLE, os.pathsep.join([str(ROOT / "conf"), str(ROOT / "experiments")]))
    paths.require_own_names()
