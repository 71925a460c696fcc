"""The tables of experiments/*/README.md are those of the results kept beside them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ltmed.config.paths import experiments
from ltmed.report.renderers import markdown
from ltmed.report.results import document_of_results

ROOT = Path(__file__).parents[2]
FOLDERS = sorted({file.parent for file in experiments().glob("*/results.csv")})


def lines(file: Path) -> list[str]:
    """The rows of the tables of a file of results, as Markdown."""
    text = markdown.render(document_of_results(file)).splitlines()
    return [line for line in text if line.startswith("| ") and not line.startswith("| ---")]


def test_there_are_some():
    assert {folder.name for folder in FOLDERS} >= {"ham10000", "phantom", "chestxray"}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_tables_are_those_of_the_saved_results(folder):
    """READMEs show tables of the studies; results of single other runs are in the text."""
    text = (folder / "README.md").read_text()
    shown = [line for file in folder.glob("*results.csv") for line in lines(file) if f"{line}\n" in text]
    rows = [line for line in text.splitlines() if re.match(r"\| [^|]+ \| \d+ \|", line) and line.count("|") == 9]
    assert rows, "no table of results"
    assert [row for row in rows if row not in shown] == []
    assert len(shown) > 5


def test_the_front_page_shows_the_same_numbers():
    """Balanced accuracy with its interval, accuracy and recalls; some rows have longer names there."""
    front = (ROOT / "README.md").read_text()
    shown = re.findall(r"^\| [^|]+ (\| \d\.\d{3} ± \d\.\d{3} \(.+)$", front, re.MULTILINE)
    saved = [line.split(" | ") for line in lines(experiments() / "ham10000/pretrained_results.csv")[1:]]
    assert shown == [f"| {cells[2]} ({cells[3]}) | {cells[5]} | {cells[7]}" for cells in saved]


def test_the_front_page_counts_methods_right():
    """`erm and N baselines` are all presets but those of the five papers."""
    front = (ROOT / "README.md").read_text()
    methods = {file.stem for file in (ROOT / "conf/method").glob("*.yaml")}
    assert f"{len(methods)} methods on equal terms" in front
    papers = {"pcct", "efficient_pcct", "proco", "aduni", "lmd", "alpa"}
    assert f"| `erm` and {len(methods - papers) - 1} baselines |" in front
