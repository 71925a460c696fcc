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
        ("overrides: dataset=phantom", "overrides: epochs=1", "nothing says which data set the column 'phantom' is"),
        ("metrics: [accuracy]", "", "lr.yaml has no study.metrics"),
        ("metrics: [accuracy]", "metrics: [acuracy]", "has no choice 'acuracy'. Did you mean 'accuracy'"),
        ("metrics: [accuracy]", "metrics: accuracy", "study.metrics of .*lr.yaml is not a list"),
        ("rows: {low", "rows: [low", "lr.yaml, line 9: this is not YAML"),
        ("low: method.stages.represent.optimizer.lr=0.01", "low: [1]", "study.rows.low of .*lr.yaml"),
        ("overrides: dataset=phantom", "override: x", "study.columns.phantom of .*lr.yaml has no overrides"),
        ("values: {rate: 1}", "values: {}", r"\$rate has no value"),
        ("method=lmd ", "method=lmd epochs 3 ", "'epochs' is no override"),
        ("method=lmd ", "${study.recipes.no} ", "lr.yaml: .*study.recipes.no"),
        (
            "dataset=phantom,",
            "dataset=phantom fold=1,",
            "'fold=1' would have no effect",
        ),
        (
            "metrics:",
            "repeat: {fold: range(3)}\n  metrics:",
            "study.repeat.fold of .*lr.yaml is .*, not num",
        ),
        ("metrics:", "repeat: {fold: 0,1}\n  metrics:", "study.repeat of .*lr.yaml is not a map of fold and seed"),
        ("metrics:", "notes: one\n  metrics:", "study.notes of .*lr.yaml is not a list"),
        ("shared: method=lmd backbone=tiny", "shared: [method=lmd]", "study.shared of .*lr.yaml is not overrides"),
        ("values: {rate: 1}", "values: [rate]", "study.columns.phantom.values of .*lr.yaml is not a map"),
        ("values: {", "published: skin7, values: {", "study.columns.phantom.published of .*lr.yaml is not a map"),
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


@pytest.mark.parametrize("values", ["[0, 2]", "'0, 2'", '"0,2"'])
def test_repetitions_are_a_list_or_text(mine: Path, values: str) -> None:
    mine.write_text(START + STUDY.replace("metrics:", f"repeat: {{fold: {values}}}\n  metrics:"))
    cells = [(cell.row, cell.repetition["fold"], "fold=2" in cell.overrides) for cell in load("mine/lr").cells()]
    assert cells == [("low", "0", False), ("low", "2", True), ("high", "0", False), ("high", "2", True)]


PUBLISHED = (
    "table,method,ratio,classes,metric,mean_percent,std_percent\n1,low,7,all,accuracy,50.5,\n1,low,70,all,accuracy,1,\n"
)


def _with_figures(mine: Path, selection: str, published: str | None = PUBLISHED) -> Path:
    mine.write_text(
        START + STUDY.replace("metrics:", "table: 1\n  metrics:").replace("values: {", f"{selection}, values: {{")
    )
    file = mine.with_name("published.csv")
    if published is not None:
        file.write_text(published)
    return file


@pytest.mark.parametrize("ratio", ["7", "'7'"])
def test_a_number_selects_published_figures_with_and_without_quotes(mine: Path, ratio: str) -> None:
    _with_figures(mine, f"published: {{ratio: {ratio}}}, classes: null")
    (cell, figures), *others = load("mine/lr").published.items()
    assert cell == ("low", "phantom")
    assert [(one.metric, one.mean) for one in figures] == [("accuracy", 0.505)]
    assert not others


@pytest.mark.parametrize(
    ("selection", "published", "said"),
    [
        ("published: {ratoi: 7}", PUBLISHED, "published.csv has no column 'ratoi'. Did you mean 'ratio'"),
        ("published: {ratio: 7}", PUBLISHED.replace("mean_", ""), "published.csv has no column 'mean_percent'"),
        ("published: {ratio: 7}", None, "mine/published.csv does not exist"),
    ],
)
def test_mistakes_in_published_figures(mine: Path, selection: str, published: str | None, said: str) -> None:
    _with_figures(mine, selection, published)
    with pytest.raises(UserError, match=said):
        _ = load("mine/lr").published
