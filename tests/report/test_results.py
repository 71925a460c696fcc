"""Results of single runs as a file, and its tables without the runs."""

from __future__ import annotations

import csv
import io
import re

import numpy as np
import pytest
from scipy import stats

from ltmed.cli.main import main
from ltmed.errors import UserError
from ltmed.report.build import from_runs
from ltmed.report.document import document
from ltmed.report.renderers import csv as report_csv
from ltmed.report.renderers import markdown
from ltmed.report.results import document_of_results
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
    (grid,) = document_of_results(file).grids
    marked = tmp_path / "saved_by_a_spreadsheet.csv"
    marked.write_text(report_csv.render_results(table), encoding="utf-8-sig")
    assert document_of_results(marked).grids == (grid,)
    assert grid.title == "toy, grouped, 5 folds"
    assert [row for row, _ in grid.rows] == ["proco", "erm"]
    cells = {row: dict(zip(grid.headings, (cell.text for cell in line), strict=True)) for row, line in grid.rows}
    low, high = stats.t.interval(0.95, 2, 0.5, stats.sem(VALUES["erm"]))
    assert cells["erm"]["balanced accuracy"] == "0.500 ± 0.100"
    assert cells["erm"]["95 % interval"] == f"{low:.3f} to {high:.3f}"
    assert cells["erm"]["macro F1"] == f"{0.5 / 3:.3f} ± {np.std(VALUES['erm'], ddof=1) / 3:.3f}"
    assert cells["proco"]["runs"] == "1"
    assert cells["proco"]["95 % interval"] == "0.650 to 0.740", "its own: a single run has no spread"


MIXED = {
    "more": {(0, 0): 0.50, (0, 1): 0.51, (0, 2): 0.52, (1, 0): 0.80},
    "plain": {(0, 0): 0.55, (1, 0): 0.75},
    "lacking": {(1, 0): 0.79},
    "third": {(0, 0): 0.40, (1, 0): 0.88},
    "own": {(0, 0): 0.50, (1, 0): 0.60, (2, 0): 0.99},
}
"""(fold, seed) -> value."""


def percents(text: str) -> list[float]:
    """The numbers of a cell in percent; those with three decimals are fractions."""
    numbers = re.findall(r"\d+\.\d+", text)
    return [
        round(100 * float(number) if len(number.partition(".")[2]) == 3 else float(number), 1) for number in numbers
    ]


def shown(document) -> dict[str, tuple[list[float], list[float], list[str]]]:
    """Row -> figures of the cell of balanced accuracy, its interval, remarks; of the first grid."""
    rows = {}
    for row, cells in document.grids[0].rows:
        at = dict(zip(document.grids[0].headings, cells, strict=True))
        main = at["balanced accuracy"]
        lines = main.small.split("\n")
        interval = at["95 % interval"].text if "95 % interval" in at else lines.pop(0)
        remarks = [line for line in lines if line and line != "one run"]
        numbers = [number for line in remarks if line.startswith("ranked by") for number in percents(line)]
        words = [re.sub(r"\d\S*$", "", line) if line.startswith("ranked by") else line for line in remarks]
        rows[row] = (percents(main.text), percents(interval), [*words, *map(str, numbers)])
    return rows


@pytest.fixture
def mixed(tmp_path):
    return from_runs(
        [
            write(tmp_path / "mixed", row, fold, seed, scalars={METRIC: value})
            for row, of_row in MIXED.items()
            for (fold, seed), value in of_row.items()
        ]
    )


def test_the_file_gives_the_table_that_the_runs_give(mixed, tmp_path):
    """Folds with unequal numbers of seeds, a row without a fold, and one with a fold of its own."""
    file = tmp_path / "results.csv"
    file.write_text(report_csv.render_results(mixed))
    saved = document_of_results(file)
    assert shown(saved) == shown(document(mixed))
    more = np.array([0.51, 0.80])
    low, high = stats.t.interval(0.95, 1, more.mean(), stats.sem(more))
    assert shown(saved)["more"] == ([65.5, 20.5], [100 * max(low, 0), 100 * min(high, 1)], [])
    assert shown(saved)["lacking"][2] == ["not ranked: without fold 0"]
    assert shown(saved)["own"][2] == ["ranked by ", "55.0"]
    order = [row for row, _ in saved.grids[0].rows]
    assert order == ["more", "plain", "third", "own", "lacking"], (
        "by 65.5, 65, 64, 55; however good the last one's fold"
    )


def test_split_seeds_are_in_the_file(tmp_path):
    """Two random splits with two validation parts each are two units."""
    values = {(0, 0): 0.5, (0, 1): 0.6, (1, 0): 0.7, (1, 1): 0.8}
    runs = [
        write(
            tmp_path / "runs", overrides=f"split.seed={s},split.val_seed={v}", scalars={METRIC: value},
            settings={"split.seed": s, "split.val_seed": v}, split_hash=f"{s}{v}",
        )
        for (s, v), value in values.items()
    ]  # fmt: skip
    file = tmp_path / "results.csv"
    file.write_text(report_csv.render_results(from_runs(runs)))
    lines = {(line["split_seeds"], line["other_split_seeds"]) for line in csv.DictReader(file.open())}
    assert lines == {
        ("split.seed=0", ""), ("split.seed=0", "split.val_seed=1"),
        ("split.seed=1", "split.val_seed=0"), ("split.seed=1", ""),
    }  # fmt: skip
    (grid,) = document_of_results(file).grids
    assert grid.rows[0][1][1].text == f"0.650 ± {np.std([0.55, 0.75], ddof=1):.3f}"


@pytest.mark.parametrize("redrawn", [False, True])
def test_files_of_earlier_versions_tell_divisions_by_their_hash(redrawn, tmp_path):
    """Without columns of split seeds."""
    divisions = [(0, "a"), (0, "b")] if redrawn else [(0, "a"), (1, "b")]
    value = {"a": 0.5, "b": 0.8}
    lines = [
        f"erm,toy,toy,erm,{fold},{seed},grouped,{name},c,{METRIC},{value[name] + seed / 50},,"
        for fold, name in divisions
        for seed in range(3 if name == "a" else 1)
    ]
    file = tmp_path / "results.csv"
    file.write_text("\n".join([",".join(report_csv.RESULT_COLUMNS), *lines]) + "\n")
    (grid,) = document_of_results(file).grids
    assert grid.rows[0][1][1].text == f"{(0.52 + 0.8) / 2:.3f} ± {np.std([0.52, 0.8], ddof=1):.3f}"


def test_later_lines_on_one_run_count(table, tmp_path):
    file = tmp_path / "results.csv"
    text = report_csv.render_results(table)
    again = next(line for line in text.splitlines() if line.startswith("proco") and f",{METRIC}," in line)
    file.write_text(text + again.replace(",0.7,", ",0.9,") + "\n")
    (grid,) = document_of_results(file).grids
    assert dict(grid.rows)["proco"][1].text == "0.900"


def test_the_command_writes_and_shows_them(table, tmp_path, capsys):
    file = tmp_path / "results.csv"
    main(["report", str(tmp_path / "runs"), "--format", "results", "--output", str(file)])
    assert file.read_text() == report_csv.render_results(table)
    capsys.readouterr()
    main(["report", str(file), "--format", "markdown"])
    assert capsys.readouterr().out == markdown.render(document_of_results(file))


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", ",".join(report_csv.RESULT_COLUMNS) + "\n" + ",".join("x" * 13) + "\n"]
)
def test_other_files_are_refused(text, tmp_path):
    file = tmp_path / "results.csv"
    file.write_text(text)
    with pytest.raises(UserError, match=r"results\.csv"):
        document_of_results(file)


def test_a_file_that_ends_within_a_line_is_refused(table, tmp_path):
    file = tmp_path / "results.csv"
    whole = report_csv.render_results(table).splitlines()
    file.write_text("\n".join([*whole[:3], whole[3].partition(",macro_")[0]]))
    with pytest.raises(UserError, match=r"results\.csv.* too few fields, line 4"):
        document_of_results(file)


@pytest.mark.parametrize("arguments", ["--metric mcc", "--reference erm", "--format csv", "--scale smoke"])
def test_what_needs_the_runs_is_refused(arguments, table, tmp_path, capsys):
    file = tmp_path / "results.csv"
    file.write_text(report_csv.render_results(table))
    with pytest.raises(SystemExit) as ended:
        main(["report", str(file), *arguments.split()])
    assert ended.value.code == 2
    option = arguments if "format" in arguments else arguments.split()[0]
    assert capsys.readouterr().err.startswith(f"error: {option} needs the runs")
