"""Results of single runs as a file, and its tables without the runs."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from scipy import stats

from ltmed.cli.main import main
from ltmed.errors import UserError
from ltmed.report.build import from_runs
from ltmed.report.renderers import csv as report_csv
from ltmed.report.renderers import markdown
from tests.report.factory import METRIC, write

VALUES = {"erm": (0.5, 0.6, 0.4), "proco": (0.7,)}


@pytest.fixture
def table(tmp_path):
    runs = [
        write(tmp_path / "runs", method, fold, scalars={METRIC: value, "macro_f1": value / 3, "ece": None})
        for method, of_folds in VALUES.items()
        for fold, value in enumerate(of_folds)
    ]
    return from_runs(runs)


def test_every_run_and_metric_has_a_line_with_all_digits(table):
    lines = list(csv.DictReader(io.StringIO(report_csv.render_results(table))))
    found = {(line["row"], line["fold"]): line for line in lines if line["metric"] == "macro_f1"}
    assert {key: float(line["value"]) for key, line in found.items()} == {
        (method, str(fold)): value / 3 for method, of_folds in VALUES.items() for fold, value in enumerate(of_folds)
    }
    assert found["erm", "1"]["split_hash"] == "hash1"
    assert found["erm", "1"]["commit"] == "0123456789abcdef"
    undefined = [line for line in lines if line["metric"] == "ece"]
    assert len(undefined) == 4
    assert {line["value"] for line in undefined} == {""}


def test_the_tables_of_a_file_are_means_with_students_interval_best_first(table, tmp_path):
    file = tmp_path / "results.csv"
    file.write_text(report_csv.render_results(table))
    (grid,) = report_csv.document_of_results(file).grids
    assert grid.title == "toy, grouped, 5 folds"
    assert [row for row, _ in grid.rows] == ["proco", "erm"]
    cells = {row: dict(zip(grid.headings, (cell.text for cell in line), strict=True)) for row, line in grid.rows}
    low, high = stats.t.interval(0.95, 2, 0.5, stats.sem(VALUES["erm"]))
    assert cells["erm"]["balanced accuracy"] == "0.500 ± 0.100"
    assert cells["erm"]["95 % interval"] == f"{low:.3f} to {high:.3f}"
    assert cells["erm"]["macro F1"] == f"{0.5 / 3:.3f} ± {np.std(VALUES['erm'], ddof=1) / 3:.3f}"
    assert cells["proco"]["runs"] == "1"
    assert cells["proco"]["95 % interval"] == "0.650 to 0.740", "its own: a single run has no spread"


def test_later_lines_on_one_run_count(table, tmp_path):
    file = tmp_path / "results.csv"
    text = report_csv.render_results(table)
    again = next(line for line in text.splitlines() if line.startswith("proco") and f",{METRIC}," in line)
    file.write_text(text + again.replace(",0.7,", ",0.9,") + "\n")
    (grid,) = report_csv.document_of_results(file).grids
    assert dict(grid.rows)["proco"][1].text == "0.900"


def test_the_command_writes_and_shows_them(table, tmp_path, capsys):
    file = tmp_path / "results.csv"
    main(["report", str(tmp_path / "runs"), "--format", "results", "--output", str(file)])
    assert file.read_text() == report_csv.render_results(table)
    capsys.readouterr()
    main(["report", str(file), "--format", "markdown"])
    assert capsys.readouterr().out == markdown.render(report_csv.document_of_results(file))


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", ",".join(report_csv.RESULT_COLUMNS) + "\n" + ",".join("x" * 13) + "\n"]
)
def test_other_files_are_refused(text, tmp_path):
    file = tmp_path / "results.csv"
    file.write_text(text)
    with pytest.raises(UserError, match=r"results\.csv"):
        report_csv.document_of_results(file)


@pytest.mark.parametrize("arguments", ["--metric mcc", "--reference erm", "--format csv", "--scale smoke"])
def test_what_needs_the_runs_is_refused(arguments, table, tmp_path, capsys):
    file = tmp_path / "results.csv"
    file.write_text(report_csv.render_results(table))
    with pytest.raises(SystemExit) as ended:
        main(["report", str(file), *arguments.split()])
    assert ended.value.code == 2
    assert "needs the runs" in capsys.readouterr().err
