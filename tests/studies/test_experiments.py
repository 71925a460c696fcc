"""The tables of experiments/*/README.md are those of the results kept beside them."""

from __future__ import annotations

import csv
import runpy
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from ltmed.config.paths import experiments
from ltmed.studies import catalogue

ROOT = Path(__file__).parents[2]
SUMMARY = runpy.run_path(str(ROOT / "experiments" / "summary.py"))
KEPT = [name for name in catalogue.names() if (experiments() / Path(name).parent / "results.csv").is_file()]
NOT_RUN_YET = ("ham10000/pretrained", "ham10000/probe", "phantom/demo")


@pytest.mark.parametrize("name", KEPT)
def test_tables_are_those_of_the_kept_results(name, capsys):
    SUMMARY["main"](name, [])
    heading, rule, *lines = capsys.readouterr().out.splitlines()
    if name in NOT_RUN_YET and not lines:
        pytest.skip("none of its runs is in results.csv yet")
    text = (experiments() / Path(name).parent / "README.md").read_text()
    assert f"{heading}\n{rule}\n" in text
    assert [line for line in lines if f"{line}\n" not in text] == []
    assert len(lines) > 5


def test_the_front_page_shows_the_same_table(capsys):
    SUMMARY["main"]("ham10000/methods", [])
    assert capsys.readouterr().out in (ROOT / "README.md").read_text()


def test_a_row_is_the_mean_over_folds_with_students_interval(tmp_path):
    values = {"balanced_accuracy": (0.5, 0.6, 0.4), "macro_f1": (0.3, 0.3, 0.3), "tail_recall": (0.1, 0.2, 0.6)}
    names = ("accuracy", "macro_auroc", "head_recall", "medium_recall")
    with (tmp_path / "results.csv").open("w", newline="") as opened:
        table = csv.writer(opened)
        table.writerow(["dataset", "method", "overrides", "fold", "seed", "metric", "value", "low95", "high95"])
        for metric, row in {**values, **dict.fromkeys(names, (0.25, 0.25, 0.25))}.items():
            table.writerows(["toy", "erm", "a=1", f, 0, metric, v, 0, 1] for f, v in [(0, 0.9), *enumerate(row)])
    runs = SUMMARY["read"](tmp_path / "results.csv")
    assert set(runs) == {Path("toy/erm/a=1", f"fold{fold}-seed0") for fold in range(3)}
    place, line = SUMMARY["row"]("ERM", list(runs.values()))
    low, high = stats.t.interval(0.95, 2, 0.5, stats.sem(values["balanced_accuracy"]))
    assert place == pytest.approx(np.mean(values["balanced_accuracy"]))
    assert line == (
        f"| ERM | 3 | 0.500 ± 0.100 | {low:.3f} to {high:.3f} | 0.300 ± 0.000 | 0.250 ± 0.000 | 0.250 ± 0.000 | "
        "0.25 / 0.25 / 0.30 |"
    )


def test_an_unknown_study_is_named():
    with pytest.raises(Exception, match="no study 'ham/methods'"):
        SUMMARY["main"]("ham/methods", [])
