"""Every format: text that is well-formed, whole and without loss."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from rich.console import Console

from ltmed.report.build import from_runs
from ltmed.report.document import document
from ltmed.report.model import Cell, Document, Table
from ltmed.report.renderers import csv as as_csv
from ltmed.report.renderers import html, latex, markdown, terminal
from ltmed.studies.published import Published
from tests.report.factory import HOSTILE, METRIC, write

VOID = {"meta", "link", "br", "img", "hr", "input"}
"""HTML's tags without an end."""


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


def test_html_explains_marks_where_there_are_any(three):
    legend = "second best (underlined)"
    assert legend in html.render(document(three))
    assert legend not in html.render(Document("Nothing ranked", (), (), (), (), ()))


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
    assert body.count(r"\begin{table}") == body.count(r"\end{table}") >= len(document(study).grids)
    for width, rows in re.findall(r"\\begin\{tabular\}\{l(r+)\}\n(.*?)\n\\end\{tabular\}", body, re.DOTALL):
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


@pytest.fixture
def wide(tmp_path) -> Document:
    """35 figures of a paper with classes of one word and of several."""
    published = [Published("recall", n / 100, part=f"Class {n}", text=f"{n}.25 ± 1.5") for n in range(34)]
    published += [Published("recall", 0.5, part="Proliferative retinopathy")]
    row = Cell(missing=("python run.py",), published=tuple(published))
    return document(Table("t", ("A long name of a method", "B"), ("toy",), {("B", "toy"): row}))


def test_wide_tables_are_divided_by_whole_columns(wide):
    text = terminal.render(wide)
    assert max(map(len, text.splitlines())) <= terminal.WIDTH
    assert "published figures: toy (1 of 4)" in text
    for figure in (f"({n}.25 ± 1.5)" for n in range(34)):
        assert text.count(figure) == 1, "no figure is broken or repeated"
    for word in ("Proliferative", "retinopathy", "recall"):
        assert re.search(rf"\b{word}\b", text)
    tables = latex.render(wide)
    assert max(map(len, re.findall(r"\{l(r+)\}", tables))) < 10
    for figure in (f"{n}.25 $\\pm$ 1.5" for n in range(34)):
        assert tables.count(f"({figure})") == 1


def test_a_narrow_terminal_breaks_no_word(three):
    console = Console(file=io.StringIO(), width=50)
    terminal.show(document(three), console)
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()
    assert "Test results: toy, grouped, 5 folds (1 of 2)" in said
    assert "65.0 ± 7.1²" in said
    assert "[1.5, 100.0]" in said


def test_terminal_cuts_nothing(study):
    text = terminal.render(document(study))
    assert "…" not in text
    assert "! toy: a single run of every row" in text


def test_csv_has_no_noise_of_binary_fractions(tmp_path):
    runs = [write(tmp_path, seed=s, scalars={"accuracy": v}) for s, v in enumerate((0.1, 0.2, 0.6))]
    lines = csv.DictReader(io.StringIO(as_csv.render(from_runs(runs))))
    assert next(line for line in lines if line["metric"] == "accuracy")["mean"] == "0.3"


def test_csv_counts_the_runs_that_a_mean_is_of(tmp_path):
    """A fold without a test image of the tail classes has no tail recall: the mean is of the two others."""
    runs = [write(tmp_path, fold=f, scalars={"tail_recall": v, "mcc": None}) for f, v in enumerate((0.4, None, 0.6))]
    lines = {(n["metric"], n["part"]): n for n in csv.DictReader(io.StringIO(as_csv.render(from_runs(runs))))}
    assert (lines["recall", "tail"]["mean"], lines["recall", "tail"]["runs"]) == ("0.5", "2")
    assert (lines["mcc", "all"]["status"], lines["mcc", "all"]["runs"]) == ("undefined", "0")
    assert lines["accuracy", "all"]["runs"] == "3"


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
    status = {(line["row"], line["metric"], line["part"]): line["status"] for line in lines}
    assert status[HOSTILE, "accuracy", "all"] == "measured"
    assert status[HOSTILE, "auroc", "A"] == "undefined"
    assert (status["B", "accuracy", "all"], status["C", "accuracy", "all"]) == ("missing", "quoted")
    seeds = [line for line in csv.DictReader(io.StringIO(as_csv.render(three))) if line["row"] == "erm"]
    (balanced,) = [line for line in seeds if line["metric"] == METRIC]
    assert float(balanced["std"]) == pytest.approx(0.0707107, abs=1e-6)
    assert (balanced["interval"], balanced["seeds"], balanced["split_hashes"]) == ("t", "0 1", "hash0")
