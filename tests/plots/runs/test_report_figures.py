"""The figures of an HTML report: which there are, what joined runs show, and that none costs the report."""

from __future__ import annotations

import base64
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from ltmed.cli.main import main
from ltmed.plots import embedded
from ltmed.plots.runs import report_figures as module
from ltmed.plots.runs.report_figures import report_figures
from ltmed.report.build import from_runs
from tests.report.factory import METRIC, write


def captions(table) -> list[str]:
    return [figure.caption for group in report_figures(table) for figure in group.figures]


@pytest.fixture
def undrawn(monkeypatch) -> None:
    """Figures are made and not drawn, where only what they are made of or called is tested."""
    monkeypatch.setattr(embedded, "_svg", lambda figure: b"")


@pytest.mark.filterwarnings("error")
def test_methods_are_beside_each_other_and_each_has_confusion_and_reliability(tmp_path):
    runs = [write(tmp_path, method, fold) for method in ("erm", "proco") for fold in (0, 1)]
    assert captions(from_runs(runs)) == [
        "Recall of each class, mean of folds 0, 1, seed 0", "F1 of each class, mean of folds 0, 1, seed 0",
        "erm, 2 runs: confusion", "erm, 2 runs: reliability", "proco, 2 runs: confusion", "proco, 2 runs: reliability",
    ]  # fmt: skip


@pytest.mark.filterwarnings("error")
def test_a_single_method_is_shown_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_ROWS", 0)  # Its matrix is drawn as those of several methods are.
    alone = from_runs([write(tmp_path / "a")])
    assert captions(alone)[:2] == ["erm: recall of each class", "erm: F1 of each class"]
    several = from_runs([write(tmp_path / "b", fold=fold) for fold in (0, 1)])
    assert captions(several)[:2] == ["erm, 2 runs: recall of each class", "erm, 2 runs: F1 of each class"]


def test_joined_runs_are_summed(undrawn, tmp_path, monkeypatch):
    """Fold 0 has six images of A, all right; fold 1 has two, one of them taken for B."""
    first = write(tmp_path, fold=0)
    other = write(tmp_path, fold=1, labels=list("AABBCC"), predicted=list("ABBBCC"))
    shown = {}
    real = module.confusion.confusion_matrix
    monkeypatch.setattr(
        module.confusion, "confusion_matrix", lambda matrix, *rest: shown.update(matrix=matrix) or real(matrix, *rest)
    )
    bins = module.reliability.reliability_diagram
    monkeypatch.setattr(
        module.reliability,
        "reliability_diagram",
        lambda confidence, correct, ece: shown.update(correct=correct, ece=ece) or bins(confidence, correct, ece),
    )
    report_figures(from_runs([first, other]))
    np.testing.assert_array_equal(shown["matrix"], [[7, 1, 0], [0, 6, 0], [0, 0, 4]])
    assert shown["correct"].sum() == 17
    assert len(shown["correct"]) == 18
    assert shown["ece"] == pytest.approx((1 + 5 / 6) / 2), "the mean of the runs' (which the factory makes up)"


def test_of_many_methods_the_best_have_matrices_and_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_ROWS", 2)
    runs = [write(tmp_path, f"m{i}", scalars={METRIC: i / 20}) for i in range(4)]
    *_, group = report_figures(from_runs(runs))
    assert [figure.caption for figure in group.figures] == [
        "m3: confusion", "m3: reliability", "m2: confusion", "m2: reliability"
    ]  # fmt: skip
    assert "2" in group.note


def test_several_columns_are_folded(undrawn, tmp_path):
    groups = report_figures(from_runs([write(tmp_path, dataset=name) for name in ("one", "two")]))
    assert [(group.title.split(":")[0], group.folded) for group in groups] == [
        ("Classes", False), ("Confusion and reliability", True),
    ] * 2  # fmt: skip


def test_a_figure_that_fails_is_a_warning(undrawn, tmp_path):
    run = write(tmp_path)
    (run.path / "predictions.parquet").unlink()
    with pytest.warns(UserWarning, match="no figure 'erm: reliability'"):
        found = captions(from_runs([run]))
    assert found == ["erm: recall of each class", "erm: F1 of each class", "erm: confusion"]


@pytest.mark.filterwarnings("error")
def test_the_page_has_them_inside(tmp_path):
    for method in ("erm", "proco"):
        write(tmp_path / "runs", method)
    page = tmp_path / "r.html"
    main(["report", str(tmp_path / "runs"), "--output", str(page)])
    text = page.read_text()
    sources = re.findall(r'(?:src|srcset)="([^"]*)"', text)
    assert len(sources) == 8, "six figures, two of them also narrow"
    for source in sources:
        kind, _, data = source.partition(",")
        assert kind == "data:image/svg+xml;base64"
        root = ElementTree.fromstring(base64.b64decode(data))
        assert root.tag.endswith("svg")
        assert not [element for element in root.iter() if element.tag.endswith("script")]
    assert text.count("<figure") == text.count('alt="') == 6
    assert 'alt=""' not in text
    assert not re.search(r"""(?:src|href|srcset)=(?!"data:)|@import|url\(""", re.sub(r'"data:[^"]*"', '"data:"', text))
    main(["report", str(tmp_path / "runs"), "--output", str(page), "--no-figures"])
    assert "<figure" not in page.read_text()
