"""What is shown, in every format: figures by hand, marks, missing cells, and text that is well-formed."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from ltmed.report import csv as as_csv
from ltmed.report import html, latex, markdown, terminal
from ltmed.report.build import from_runs
from ltmed.report.document import document
from ltmed.report.model import Cell, Published, Table
from ltmed.report.shown import Document, Grid, Shown
from ltmed.runs import find_runs
from tests.report.factory import write

METRIC = "balanced_accuracy"
HOSTILE = "<b>R&D</b> | 100 % of $a_1$ {x} \\ #~^"
VOID = {"meta", "link", "br", "img", "hr", "input"}


def grid(shown: Document, title: str) -> Grid:
    return next(one for one in shown.grids if one.title.startswith(title))


def cells(one: Grid, row: str) -> dict[str, Shown]:
    return dict(zip(one.headings, dict(one.rows)[row], strict=True))


@pytest.fixture
def three(tmp_path) -> Table:
    """Two seeds of erm, one of proco, and of aduni one equal to erm's mean."""
    folder = tmp_path / "three"
    for seed, value in enumerate((0.60, 0.70)):
        write(folder, "erm", seed=seed, scalars={METRIC: value, "ece": 0.3})
    write(folder, "proco", scalars={METRIC: 0.7114, "ece": 0.1}, predicted=list("AAAAAABBAACC"))
    write(folder, "aduni", scalars={METRIC: 0.6504, "ece": 0.2})
    return from_runs(*find_runs([folder]))


def test_figures_marks_and_ties(three):
    shown = grid(document(three), "Test results")
    # Two seeds: standard deviation .1 / sqrt 2, half width 12.7062 * .05, cut at 100.
    assert cells(shown, "erm")["balanced accuracy"] == Shown("65.0 ± 7.1", "[1.5, 100.0]", "second")
    assert cells(shown, "aduni")["balanced accuracy"] == Shown("65.0", "[60.0, 69.0]", "second")
    assert cells(shown, "proco")["balanced accuracy"] == Shown("71.1", "[66.1, 75.1]", "best")


def test_less_calibration_error_is_better(three):
    shown = grid(document(replace(three, metrics=("ece",))), "Test results")
    assert [cells(shown, row)["ECE"].mark for row in ("erm", "aduni", "proco")] == ["", "second", "best"]


def test_recall_by_tier(three):
    shown = grid(document(three), "Recall by class frequency")
    assert [cell.text for cell in cells(shown, "proco").values()] == ["100.0", "50.0", "100.0"]


def test_comparison_with_the_reference(three):
    shown = grid(document(three), "Compared with erm")
    assert [row for row, _ in shown.rows] == ["aduni", "proco"]
    difference, bootstrap, ranks = dict(shown.rows)["proco"]
    assert difference.text == "-16.7"  # A sixth: half of one of three classes is wrong.
    assert re.fullmatch(r"\[-\d+\.\d, 0\.0\]|\[-\d+\.\d, \+0\.0\]", difference.small)
    assert bootstrap.small == "12 images"
    assert (ranks.text, ranks.small) == ("too few", "1 seed in common, 6 needed")


def test_protocol_in_words(three):
    shown = document(three)
    ((column, facts),) = shown.facts
    said = dict(facts)
    assert column == "toy, grouped, 5 folds"
    assert said["hash"] == "hash0"
    assert said["folds"] == "0 of 5 (0 to 4)"
    assert said["leakage"].startswith("unknown")
    assert cells(grid(shown, "Runs"), "erm") == {
        "runs": Shown("2"), "folds": Shown("0"), "seeds": Shown("0, 1"), "epochs": Shown("7"),
        "image size": Shown("64"), "commit": Shown("012345678"),
    }  # fmt: skip
    assert "a single run of aduni, proco" in shown.warnings[0]


def test_leakage_of_all_folds(tmp_path):
    runs = [write(tmp_path, fold=fold, groups=list(range(12))) for fold in (0, 1)]
    ((_, facts),) = document(from_runs(runs)).facts
    assert dict(facts)["leakage"].startswith("25.0 % of the test images (6 of 24) are of a lesion")
    assert dict(facts)["hash"] == "hash0 (fold 0), hash1 (fold 1)"


def test_what_the_data_set_warned_of_is_repeated_once(tmp_path):
    runs = [write(tmp_path, method) for method in ("a", "b")]
    for run in runs:
        run.found["warnings"] = ["toy: the classes come from different sources"]
    said = [warning for warning in document(from_runs(runs)).warnings if "sources" in warning]
    assert said == ["toy: the classes come from different sources."]


def test_rows_that_lack_folds_are_not_ranked(tmp_path):
    runs = [write(tmp_path, m, f) for m in ("a", "b") for f in (0, 1)]
    runs.append(write(tmp_path, "c", 0, scalars={METRIC: 1.0}))
    shown = document(from_runs(runs))
    lacking = cells(grid(shown, "Test results"), "c")["balanced accuracy"]
    assert lacking.mark == ""
    assert lacking.small.endswith("without fold 1")
    assert any("different folds" in warning for warning in shown.warnings)


def test_two_splits_have_two_columns(tmp_path):
    write(tmp_path, "erm")
    other = {"split._target_": "ltmed.data.splits.random"}
    write(tmp_path, "proco", name="random", split_hash="else", settings=other)
    whole = document(from_runs(*find_runs([tmp_path])))
    assert "toy, random, 5 folds: erm was not run, so nothing is compared with it." in whole.warnings
    shown = grid(whole, "Test results: balanced accuracy")
    assert shown.headings == ("toy, grouped, 5 folds", "toy, random, 5 folds")
    texts = {row: [cell.text for cell in line] for row, line in shown.rows}
    assert texts == {"erm": ["100.0", "missing"], "proco": ["missing", "100.0"]}


@pytest.fixture
def study(tmp_path) -> Table:
    run = write(tmp_path, scalars={"accuracy": 0.854}, predicted=list("AAAAABBBBBCC"))
    published = (
        Published("accuracy", 0.841, 0.005),
        Published("recall", 0.9, part="Class A"),
        Published("recall", 1.0, part="tail"),
        Published("f1", 0.3, part="B"),
        Published("auroc", 0.9, part="A"),
    )
    rows = {
        HOSTILE: Cell((run,), published=published),
        "B": Cell(missing=("python run.py method='<b>'",), published=(Published("accuracy", 0.5),)),
        "C": Cell(published=(Published("accuracy", 0.6),), note="reported, not re-run"),
    }
    return Table("A & B < C", tuple(rows), ("toy",), {(row, "toy"): cell for row, cell in rows.items()})


def test_difference_to_the_published_figures(study):
    shown = grid(document(study), "Difference to the published")
    mine = cells(shown, HOSTILE)
    assert mine["accuracy"].text == "+1.3 (84.1 ± 0.5)"
    assert mine["Class A recall"].text == "-6.7 (90.0)"  # 5 of 6.
    assert mine["tail recall"].text == "+0.0 (100.0)"
    assert mine["B f1"].text == "-5.0 (30.0)"
    assert mine["A auroc"].text == "not measured (90.0)"
    assert cells(shown, "B")["accuracy"].text == "not run (50.0)"
    assert "C: reported, not re-run." in shown.notes
    results = grid(document(study), "Test results")
    assert cells(results, "B")["accuracy"] == Shown("missing", mark="missing")
    assert cells(results, "C")["accuracy"] == Shown("reported only", mark="missing")


def test_nothing_run_is_all_missing(study):
    table = Table("t", ("B",), ("toy",), {("B", "toy"): Cell(missing=("python run.py",))})
    shown = document(table)
    assert shown.missing == (("B; toy", ("python run.py",)),)
    for render in (html.render, latex.render, markdown.render, terminal.render):
        assert "missing" in render(shown)


class _Page(HTMLParser):
    """Checks that tags nest and collects text and attributes."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.text = ""
        self.seen: list[tuple[str, dict]] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_html_is_one_well_formed_page(study):
    text = html.render(document(study))
    page = _Page()
    page.feed(text)
    page.close()
    assert page.open == []
    assert HOSTILE in page.text
    assert "<b>" not in text
    assert "python run.py method='<b>'" in page.text
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in page.seen}
    assert not any({"src", "href", "style"} & attributes.keys() for _, attributes in page.seen)
    assert not re.search(r"url\(|@import|https?:", text)
    assert text.count("<table>") == len(document(study).grids)


def test_marks_do_not_need_colour(three):
    shown = document(three)
    assert "71.1</span><sup" in html.render(shown)
    assert "71.1¹" in terminal.render(shown)
    assert "65.0 ± 7.1²" in terminal.render(shown)
    assert "**71.1**<br>" in markdown.render(shown)
    assert "<ins>65.0 ± 7.1</ins>" in markdown.render(shown)
    assert r"\textbf{71.1}" in latex.render(shown)
    assert r"\underline{65.0 $\pm$ 7.1}" in latex.render(shown)


def test_markdown_tables_are_rectangular(study):
    text = markdown.render(document(study))
    assert markdown.escape(HOSTILE) in text
    bare = re.sub(r"\\.", "", text)
    for block in re.findall(r"(?:^\|.*\n)+", bare, re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1
    assert "<b>" not in re.sub(r"^    .*$", "", text, flags=re.MULTILINE)


def test_latex_is_escaped_and_rectangular(study):
    text = latex.render(document(study))
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert body.count(r"\begin{table}") == body.count(r"\end{table}") == len(document(study).grids)
    for width, rows in re.findall(r"\\begin\{tabular\}\{l(r+)\}\n(.*?)\\end\{tabular\}", body, re.DOTALL):
        for line in (line for line in rows.splitlines() if line.endswith(r"\\")):
            assert len(re.findall(r"(?<!\\)&", line)) == len(width)
    bare = re.sub(r"\\[a-z]+|\\.|\$[^$]*\$", "", body)
    assert not set(bare) & set("#%$_~^<>|±")
    depth = 0
    for sign in bare:
        depth += {"{": 1, "}": -1}.get(sign, 0)
        assert depth >= 0
    assert depth == 0
    assert latex.escape("-6.7 (90.0), [-1.0, 2.0], pre-trained, 2-3") == (
        "$-$6.7 (90.0), [$-$1.0, 2.0], pre-trained, 2-3"
    )


def test_latex_rows_that_begin_with_a_bracket():
    r"""It is no argument of the \\\\ before; \midrule and \bottomrule follow theirs at once, or LaTeX stops."""
    assert latex._row("[a]", "1") == r"{}[a] & 1 \\"
    assert latex._row("*a", "1") == r"{}*a & 1 \\"
    assert latex._row("a", "[1]") == r"a & [1] \\"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(study, tmp_path):
    (tmp_path / "tables.tex").write_text(latex.render(document(study)))
    (tmp_path / "all.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\\input{tables}\\end{document}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]


def test_terminal_cuts_nothing(study):
    text = terminal.render(document(study))
    assert "…" not in text
    assert "! toy: a single run of every row" in text


def test_csv_has_every_figure_in_full(study, three):
    lines = list(csv.DictReader(io.StringIO(as_csv.render(study))))
    mine = {(line["metric"], line["part"]): line for line in lines if line["row"] == HOSTILE}
    assert float(mine["accuracy", "all"]["mean"]) == 0.854
    assert float(mine["accuracy", "all"]["difference"]) == pytest.approx(0.013)
    assert mine["accuracy", "all"]["interval"] == "bootstrap"
    assert float(mine["recall", "A"]["mean"]) == pytest.approx(5 / 6)
    assert float(mine["recall", "Class A"]["published"]) == 0.9
    assert float(mine["recall", "tail"]["published"]) == 1
    assert mine["auroc", "A"]["mean"] == ""
    (other,) = [line for line in lines if line["row"] == "B" and line["metric"] == "accuracy"]
    assert (other["mean"], other["published"], other["missing"], other["runs"]) == ("", "0.5", "1", "0")
    seeds = [line for line in csv.DictReader(io.StringIO(as_csv.render(three))) if line["row"] == "erm"]
    (balanced,) = [line for line in seeds if line["metric"] == METRIC]
    assert float(balanced["std"]) == pytest.approx(0.0707107, abs=1e-6)
    assert (balanced["interval"], balanced["seeds"], balanced["split_hashes"]) == ("t", "0 1", "hash0")
