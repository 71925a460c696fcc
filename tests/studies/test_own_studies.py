"""Studies that users write: what they may leave to others, and mistakes in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltmed.cli.command_line import for_hydra
from ltmed.errors import UserError
from ltmed.report.study_table import table
from ltmed.studies.catalogue import load
from ltmed.studies.sweeper import jobs_of

START = "# mine\ndefaults: [/study, _self_]\n"
STUDY = """
study:
  paper: mine
  title: Mine
  metrics: [accuracy]
  shared: method=lmd backbone=tiny
  rows: {low: method.stages.represent.optimizer.lr=0.01, high: method.stages.represent.optimizer.lr=$rate}
  columns: {phantom: {overrides: dataset=phantom, values: {rate: 1}}}
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a study in a folder of studies of its own."""
    monkeypatch.setenv("LTMED_CONF", str(tmp_path))
    (tmp_path / "mine").mkdir()
    file = tmp_path / "mine" / "lr.yaml"
    file.write_text(START + STUDY)
    return file


def test_the_method_may_be_shared_at_every_scale(mine: Path) -> None:
    assert [cell.run_dir.parts[2] for cell in load("mine/lr").cells()] == ["lmd", "lmd"]
    (small, _) = load("mine/lr", "smoke").cells()
    assert "method=lmd" in small.overrides
    assert "method.stages.calibrate.module.virtual_per_class=200" in small.overrides
    assert table("mine/lr").cells["low", "phantom"].missing


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("method=lmd ", "", "nothing says which method the row 'low' is"),
        ("overrides: dataset=phantom", "overrides: fold=0", "nothing says which data set the column 'phantom' is"),
        ("metrics: [accuracy]", "", "lr.yaml has no study.metrics"),
        ("metrics: [accuracy]", "metrics: [acuracy]", "has no choice 'acuracy'. Did you mean 'accuracy'"),
        ("metrics: [accuracy]", "metrics: accuracy", "study.metrics of .*lr.yaml is not a list"),
        ("rows: {low", "rows: [low", "lr.yaml, line 9: this is not YAML"),
        ("low: method.stages.represent.optimizer.lr=0.01", "low: [1]", "study.rows.low of .*lr.yaml"),
        ("overrides: dataset=phantom", "override: x", "study.columns.phantom of .*lr.yaml has no overrides"),
        ("values: {rate: 1}", "values: {}", r"\$rate has no value"),
        ("method=lmd ", "method=lmd epochs 3 ", "'epochs' is no override"),
        ("method=lmd ", "${study.recipes.no} ", "lr.yaml: .*study.recipes.no"),
        ("study:\n", "stdy:\n", "lr.yaml has no study"),
        ("[/study, ", "[/studi, ", "studi.yaml does not exist"),
    ],
)
def test_mistakes_name_the_file_and_the_key(mine: Path, old: str, new: str, said: str) -> None:
    mine.write_text((START + STUDY).replace(old, new))
    with pytest.raises(UserError, match=said) as raised:
        table("mine/lr")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("multirun", [[], ["-m"]])
def test_a_study_that_is_not_yaml_is_one_line_of_run_py_too(mine: Path, multirun: list[str]) -> None:
    mine.write_text(START + STUDY.replace("rows: {low", "rows: [low"))
    with pytest.raises(UserError, match="lr.yaml, line 9: this is not YAML") as raised:
        jobs_of(for_hydra([*multirun, "+mine=lr"])[1])
    assert "\n" not in str(raised.value)
