"""The tables of experiments/*/README.md are those of the results kept beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltmed.config.paths import experiments
from ltmed.report.renderers import csv as report_csv
from ltmed.report.renderers import markdown

ROOT = Path(__file__).parents[2]
KEPT = sorted(experiments().glob("*/results.csv"))


def lines(file: Path) -> list[str]:
    """The rows of the tables of a file of results, as Markdown."""
    text = markdown.render(report_csv.document_of_results(file)).splitlines()
    return [line for line in text if line.startswith("| ") and not line.startswith("| ---")]


def test_there_are_some():
    assert {file.parent.name for file in KEPT} >= {"ham10000", "phantom", "chestxray"}


@pytest.mark.parametrize("file", KEPT, ids=lambda file: file.parent.name)
def test_tables_are_those_of_the_kept_results(file):
    """READMEs show tables of the study; results of single other runs are in the text."""
    text = (file.parent / "README.md").read_text()
    shown = [line for line in lines(file) if f"{line}\n" in text]
    rows = [line for line in text.splitlines() if line.startswith("| ") and " ± " in line and line.count("|") == 9]
    assert rows, "no table of results"
    assert [row for row in rows if row not in shown] == []
    assert len(shown) > 5


def test_the_front_page_shows_the_same_numbers():
    front = (ROOT / "README.md").read_text()
    rows = [line for line in front.splitlines() if line.startswith("| ") and " ± " in line and line.count("|") == 9]
    assert set(rows) <= set(lines(experiments() / "ham10000/results.csv"))


def test_the_front_page_counts_methods_right():
    """`erm and N baselines` are all presets but those of the five papers."""
    front = (ROOT / "README.md").read_text()
    methods = {file.stem for file in (ROOT / "conf/method").glob("*.yaml")}
    assert f"{len(methods)} methods on equal terms" in front
    papers = {"pcct", "efficient_pcct", "proco", "aduni", "lmd", "alpa"}
    assert f"| `erm` and {len(methods - papers) - 1} baselines |" in front
