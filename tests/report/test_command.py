"""`ltmed report` as people call it."""

from __future__ import annotations

import csv

import pytest

from ltmed.cli.main import main
from ltmed.report import study_table
from ltmed.report.model import Cell, Table
from ltmed.studies import catalogue
from ltmed.studies.published import Published
from tests.report.factory import write


@pytest.fixture
def runs(tmp_path):
    folder = tmp_path / "runs"
    for method in ("erm", "proco"):
        write(folder, method, scalars={"mcc": 0.5})
    return folder


def refused(capsys, *arguments) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["report", *map(str, arguments)])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_terminal_by_default(runs, capsys):
    main(["report", str(runs)])
    said = capsys.readouterr().out
    assert "Test results: toy, grouped, 5 folds" in said
    assert "Compared with erm" in said


@pytest.mark.parametrize(
    ("name", "start"), [("r.md", "# Runs"), ("r.tex", "% Runs"), ("r.html", "<!doctype html>"), ("r.txt", "Runs in")]
)
def test_a_files_ending_is_its_format(runs, tmp_path, capsys, name, start):
    figures = ["--no-figures"] if name.endswith("html") else []  # See tests/plots/runs/test_report_figures.py.
    main(["report", str(runs), "--output", str(tmp_path / name), *figures])
    assert (tmp_path / name).read_text().startswith(start)
    assert capsys.readouterr().out == f"Written: {tmp_path / name}\n"


def test_format_goes_to_standard_output(runs, capsys):
    main(["report", str(runs), "--format", "csv"])
    assert {line["row"] for line in csv.DictReader(capsys.readouterr().out.splitlines())} == {"erm", "proco"}


def test_metrics_and_reference_can_be_chosen(runs, capsys):
    main(["report", str(runs), "--format", "markdown", "--metric", "mcc", "--reference", "proco"])
    said = capsys.readouterr().out
    assert "|  | MCC |" in said
    assert "Compared with proco" in said


def test_mistakes_are_one_line(runs, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert "No run in" in refused(capsys, tmp_path / "empty")
    assert "no/study does not exist" in refused(capsys, "no/study")
    assert "Did you mean 'mcc'" in refused(capsys, runs, "--metric", "mc")
    assert "Did you mean 'proco'" in refused(capsys, runs, "--reference", "proc")
    assert "does not say which format" in refused(capsys, runs, "--output", tmp_path / "r.doc")
    assert "cannot be written" in refused(capsys, runs, "--output", tmp_path / "none" / "r.md")
    assert "--scale is for studies" in refused(capsys, runs, "--scale", "smoke")
    assert "none does not exist" in refused(capsys, runs, tmp_path / "none")
    write(tmp_path / "half", finished=False)
    assert "None of 1 runs is finished" in refused(capsys, tmp_path / "half")


def test_what_is_neither_a_folder_nor_a_study(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "afile").write_text("x")
    assert refused(capsys, "afile").startswith("error: afile is a file. Give the folder")
    for path in ("/no/such/place", "./none", "runs/isic2018", "elsewhere"):
        said = refused(capsys, path)
        assert said.startswith(f"error: {path} does not exist")
        assert "lmd/table1" not in said
    assert refused(capsys, "lmd/tabel1").startswith("error: There is no study or folder 'lmd/tabel1'. Did you mean")
    assert "is for studies" in refused(capsys, runs, "data=/d")
    assert "'lmd/table2' cannot follow a study" in refused(capsys, "lmd/table1", "lmd/table2")


def test_a_file_that_cannot_be_written_is_said_before_the_work(tmp_path, capsys):
    for output in ("/proc/r.md", tmp_path / ("n" * 300 + ".md"), tmp_path / "none" / "r.md"):
        assert "cannot be written" in refused(capsys, tmp_path, "--output", output)  # And not that there is no run.
    (tmp_path / "r.md").mkdir()
    assert "it is a folder" in refused(capsys, tmp_path, "--output", tmp_path / "r.md")
    assert [path.name for path in tmp_path.iterdir()] == ["r.md"]


def test_a_damaged_run_costs_no_other_its_report(runs, capsys):
    write(runs, "pcct").path.joinpath("metrics.json").write_text("{")
    main(["report", str(runs)])
    printed = capsys.readouterr()
    assert "warning: " in printed.err
    assert "metrics.json cannot be read" in printed.err
    assert "Compared with erm" in printed.out


def test_a_setting_that_no_run_has_is_refused(capsys):
    assert "There is no setting 'notakey'" in refused(capsys, "lmd/table1", "notakey=3")


def test_a_study_without_runs_shows_what_to_run(capsys, tmp_path, monkeypatch):
    cells = {("CE", "toy"): Cell(missing=("python run.py method=erm",), published=(Published("accuracy", 0.841),))}
    monkeypatch.setattr(catalogue, "names", lambda: ["paper/table1"])
    monkeypatch.setattr(study_table, "table", lambda *given: Table(f"Given {given}", ("CE",), ("toy",), cells))
    main(["report", "paper/table1", "runs=elsewhere", "--scale", "smoke"])
    said = capsys.readouterr().out
    assert "Given ('paper/table1', 'smoke', ['runs=elsewhere'])" in said
    assert "not run" in said
    assert "(84.1)" in said
    assert "python run.py method=erm" in said
    assert "Did you mean 'paper/table1'" in refused(capsys, "paper/table2")
