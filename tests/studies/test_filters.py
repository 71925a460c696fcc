"""Overrides after a study's name choose cells as run.py does, and missing cells come with commands that make them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from ltmed.cli.command_line import for_hydra
from ltmed.config.overrides import expand, shell, values
from ltmed.errors import UserError
from ltmed.report.model import Table
from ltmed.report.study_table import table
from ltmed.runs.job import job_of
from ltmed.studies.catalogue import load
from ltmed.studies.filters import StudyFilters
from ltmed.studies.study import Repetition


def missing(found: Table) -> list[str]:
    return [command for cell in found.cells.values() for command in cell.missing]


def as_run_py_has_it(command: str) -> tuple[list[str], Path]:
    """The overrides of the one job that a command is, and its folder."""
    python, run, *overrides = shlex.split(command)
    assert (python, run) == ("ltmed", "train")
    plain, _ = for_hydra(overrides)
    return plain, job_of(plain).run_dir


def only_cell(name: str, scale: str | None, row: str, *further: str) -> Repetition:
    (cell,) = load(name, scale).only("row", [row]).cells(further)
    return cell


def test_the_command_of_a_missing_cell_makes_it_where_it_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LTMED_DATA", "/my data")
    (command,) = missing(table("lmd/table1", None, ["row='LMD w/o VFC'", "runs=/else where", "logger=wandb"]))
    overrides, folder = as_run_py_has_it(command)
    assert "dataset.root='/my data/hyper_kvasir'" in overrides
    assert "logger=wandb" in overrides
    assert folder == only_cell("lmd/table1", None, "LMD w/o VFC", "runs=/else where").run_dir
    assert folder.is_relative_to("/else where")


def test_a_scale_is_in_the_command_and_needs_no_data() -> None:
    (command,) = missing(table("lmd/table1", None, ["+scale=smoke", "row=CE", "data=/data"]))
    assert "data=" not in command
    _, folder = as_run_py_has_it(command)
    assert folder == only_cell("lmd/table1", "smoke", "CE").run_dir


def test_data_is_named_only_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LTMED_DATA", raising=False)
    assert missing(table("lmd/table1", None, ["row=CE"]))[0].endswith(" data=DIR")
    assert "data=" not in missing(table("phantom/methods", None, ["row=ERM"]))[0]
    assert "data=" not in missing(table("lmd/table1", None, ["row=CE", "dataset.root=/here"]))[0]


def test_data_and_scale_do_not_change_which_runs_are_found(tmp_path: Path) -> None:
    plain = [c.run_dir for c in load("lmd/table3", "smoke").cells([f"runs={tmp_path}"])]
    filters = StudyFilters(["scale=smoke", f"runs={tmp_path}", "data=/data", "hydra/launcher=joblib"])
    assert [c.run_dir for c in filters.narrow(load("lmd/table3", filters.scale)).cells(filters.further)] == plain


def test_filters() -> None:
    found = table("pcct/table3", None, ["fold=0,3", "row=BCE,PCCT", "column=skin7"])
    assert (found.rows, found.columns) == (("BCE", "PCCT"), ("skin7",))
    commands = missing(found)
    assert len(commands) == len(set(commands)) == 4
    assert "fold=3" in commands[1].split()
    (command,) = missing(table("lmd/table1", None, ["row=CE", "seed=7"]))
    assert "seed=7" in command.split()
    assert table("lmd/table1", None, ["row=FCD"]).cells["FCD", "hyper_kvasir"].published
    assert len(table("lmd/table1", None, ["row=null"]).rows) > 2


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("row=CD", "has no row 'CD'. Did you mean"),
        ("column=kvasir", "Did you mean 'hyper_kvasir'"),
        ("fold=x", "fold=x is not a number"),
        ("scale=smok", "Did you mean 'smoke'"),
        ("run_dir=x", "the folder of one run"),
        ("study.title=x", "cannot be changed here"),
        ("lmd/table2", "cannot follow a study"),
        ("row='", "cannot be read"),
    ],
)
def test_words_that_a_study_does_not_take(override: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        table("lmd/table1", None, [override])


def test_a_setting_that_does_not_exist_is_refused() -> None:
    from hydra.errors import HydraException

    with pytest.raises(HydraException, match="notakey"):
        table("lmd/table1", None, ["notakey=3"])


def test_every_combination_of_swept_values() -> None:
    assert expand(["seed=0,1", "~x", "row='a, b',c", "lr=1e-3", "fold=range(2)"])[:3] == [
        ["seed=0", "~x", "row='a, b'", "lr=1e-3", "fold=0"],
        ["seed=0", "~x", "row='a, b'", "lr=1e-3", "fold=1"],
        ["seed=0", "~x", "row=c", "lr=1e-3", "fold=0"],
    ]
    assert expand([]) == [[]]
    assert expand(["a=[1,2]", "b={x:1,y:2}", "c=${seed}"]) == [["a=[1,2]", "b={x:1,y:2}", "c=${seed}"]]
    with pytest.raises(UserError, match="optuna"):
        expand(["lr=interval(0,1)"])
    with pytest.raises(UserError, match="List the names"):
        expand(["method=glob(cb_*)"])


def test_values_of_a_word() -> None:
    assert values("row='a, b',c") == ["a, b", "c"]
    assert values("fold=0,1") == values("fold=range(2)") == ["0", "1"]
    assert values("data='/a b'") == values("data=/a b") == ["/a b"]
    assert values("row=null") == [None]


@pytest.mark.parametrize(
    "override", ["row='a b'", "plain=1", "row='it''s'", 'x="$HOME"', "x='$(ls)!'", 'x="a\'b"', "x=a b"]
)
def test_a_line_for_a_shell_is_the_same_words(override: str) -> None:
    assert shlex.split(shell(["python", override])) == ["python", override]
