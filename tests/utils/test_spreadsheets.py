"""Text that a spreadsheet would run as a formula, in every CSV that people open."""

from __future__ import annotations

import csv
import io

import pytest

from ltmed.report.build import from_runs
from ltmed.report.model import Cell, Table
from ltmed.report.renderers import csv as report_csv
from ltmed.report.results import document_of_results
from ltmed.utils.spreadsheets import as_text, read_back
from tests.report.factory import write

FORMULAS = ("=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\tx", "\rx")


@pytest.mark.parametrize("formula", FORMULAS)
def test_formulas_become_text(formula):
    assert as_text(formula) == f"'{formula}"
    assert read_back(f"'{formula}") == formula


@pytest.mark.parametrize("text", ["", "MEL", "a=b", "a-b", "1.5", "it's", "'MEL'", "'", " =x", "images/=x.jpg"])
def test_other_text_stays(text):
    assert as_text(text) == text
    assert read_back(text) == text


@pytest.mark.parametrize("render", [report_csv.render, report_csv.render_results])
def test_rows_and_columns_of_a_report(render, tmp_path):
    run = write(tmp_path, "erm")
    table = Table("t", ("=ROW()",), ("@column",), {("=ROW()", "@column"): Cell((run,))})
    lines = list(csv.DictReader(io.StringIO(render(table))))
    assert {(line["row"], line["column"]) for line in lines} == {("'=ROW()", "'@column")}


def test_results_that_are_read_back_have_their_own_names(tmp_path):
    run, file = write(tmp_path / "runs", "erm"), tmp_path / "results.csv"
    table = Table("t", ("+sampler",), ("@column",), {("+sampler", "@column"): Cell((run,))})
    file.write_text(report_csv.render_results(table))
    (grid,) = document_of_results(file).grids
    assert (grid.title, [row for row, _ in grid.rows]) == ("@column", ["+sampler"])


def test_negative_numbers_stay_numbers(tmp_path):
    run = write(tmp_path, "erm", scalars={"mcc": -0.25})
    lines = csv.DictReader(io.StringIO(report_csv.render(from_runs([run]))))
    assert {line["mean"] for line in lines if line["metric"] == "mcc"} == {"-0.25"}
