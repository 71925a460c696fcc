"""The card of a run: its figures are those of the run's files, and what no run can know is a blank."""

from __future__ import annotations

import copy
import json
import math
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import log_loss

from ltmed.cli.main import main
from ltmed.inference.card_results import card_results
from ltmed.plots.run import card_figures
from ltmed.report.card import BLANKS, Section, card
from ltmed.report.card_sections import performance
from ltmed.runs.reader import Run, read_run
from tests.cli.test_commands import refused
from tests.trained_runs import trained

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    folder, _ = trained(tmp_path_factory.mktemp("card"), "method=erm")
    found = read_run(folder)
    assert found is not None
    return found


def _sections(run: Run) -> dict[str, Section]:
    return {section.title: section for section in card(run, card_results(run, resamples=50)).sections}


@pytest.fixture(scope="module")
def sections(run) -> dict[str, Section]:
    """Of the run as it is; tests change copies of it."""
    return _sections(run)


def test_intended_use_is_a_blank(sections):
    section = sections["Intended use"]
    assert section.blanks == BLANKS
    assert not section.facts


def test_its_figures_are_those_of_the_run(run, sections):
    overall, by_class = sections["Performance"].grids
    cells = dict(overall.rows)
    test = run.metrics["test"]
    for name, title in (("balanced_accuracy", "balanced accuracy"), ("macro_f1", "macro F1")):
        low, high = test["intervals"]["scalars"][name]
        assert cells[title][0].text == f"{100 * test['scalars'][name]:.1f}"
        assert cells[title][0].small == f"[{100 * low:.1f}, {100 * high:.1f}]"
    assert [row for row, _ in by_class.rows] == run.classes
    assert [cells[1].text for _, cells in by_class.rows] == [f"{100 * one['recall']:.1f}" for one in test["per_class"]]


def test_an_interval_without_width_is_said_to_be_no_bound(run):
    intervals = {code: {"recall": [0.1, 0.2]} for code in run.classes}
    for bounds, said in (([0.1, 0.2], False), ([0.0, 0.0], True), ([None, None], False)):
        metrics = copy.deepcopy(run.metrics)
        metrics["test"]["intervals"]["per_class"] = {**intervals, run.classes[0]: {"recall": bounds}}
        (_, by_class) = performance(Run(run.path, metrics))
        assert any("bound nothing" in note for note in by_class.notes) == said


def test_calibration_is_scikit_learns(run, sections):
    before = {name: cells[0].text for name, cells in sections["Calibration"].grids[0].rows}
    table = run.predictions
    probabilities = table[[f"prob_{code}" for code in run.classes]].to_numpy(float)
    places = np.array([run.classes.index(code) for code in table["label"]])
    hot = np.eye(len(run.classes))[places]
    brier = ((probabilities - hot) ** 2).sum(1).mean()
    assert float(before["Brier score"]) == pytest.approx(brier, abs=6e-4)
    nll = log_loss(places, probabilities, labels=range(len(run.classes)))
    assert float(before["negative log likelihood"]) == pytest.approx(nll, abs=6e-4)
    assert f"{math.log(len(run.classes)):.3f}" in " ".join(sections["Calibration"].sentences)


def test_without_predictions_it_says_so(run, tmp_path):
    copy = shutil.copytree(run.path, tmp_path / "copy")
    (copy / "predictions.parquet").unlink()
    again = read_run(copy)
    assert again is not None
    sections = _sections(again)
    for title in ("Calibration", "Operating points", "Subgroups"):
        assert "predictions.parquet" in " ".join(sections[title].sentences)


def test_without_validation_predictions_it_computes_nothing_from_images(run, tmp_path):
    copy = shutil.copytree(run.path, tmp_path / "copy")
    (copy / "validation.parquet").unlink()
    again = read_run(copy)
    assert again is not None
    assert "ltmed decide" in " ".join(_sections(again)["Operating points"].sentences)
    assert not (copy / "validation.parquet").exists()


def test_operating_points_are_those_of_decide(run, sections, capsys, tmp_path):
    rows = dict(sections["Operating points"].grids[0].rows)
    assert len(rows) == 2 * len(run.classes)
    copy = shutil.copytree(run.path, tmp_path / "copy")
    main(["decide", str(copy), "--sensitivity", "NV=0.8", "--no-figures"])
    again = read_run(copy)
    assert again is not None
    ((label, cells),) = _sections(again)["Operating points"].grids[0].rows
    assert label == "NV, sensitivity 80.0"
    found = json.loads((copy / "decisions/test/decisions.json").read_text())["points"][0]
    assert cells[4].text == f"{100 * found['test']['sensitivity']['value']:.1f}"
    low, high = found["test"]["sensitivity"]["interval"]
    assert cells[4].small == f"{100 * low:.1f} to {100 * high:.1f}"


def test_subgroups_are_those_of_evaluate_or_of_the_recorded_predictions(run, sections, capsys, tmp_path):
    grids = sections["Subgroups"].grids
    assert [grid.title for grid in grids] == [f"balanced accuracy by {name}" for name in ("age", "sex", "localization")]
    copy = shutil.copytree(run.path, tmp_path / "copy")
    main(["evaluate", str(copy), "--by", "sex", "--metric", "macro_f1", "--no-figures"])
    again = read_run(copy)
    assert again is not None
    assert [grid.title for grid in _sections(again)["Subgroups"].grids] == ["macro F1 by sex"]
    file = copy / "evaluations/own/evaluation.json"
    kept = file.read_text()
    found = json.loads(kept)
    for report in found["subgroups"]:
        del report["left_out"]  # As before averages were compared over common classes.
    file.write_text(json.dumps(found))
    assert "macro F1 by sex" not in [grid.title for grid in _sections(again)["Subgroups"].grids]
    file.write_text(kept)
    for name, file, key in (("Subgroups", "evaluations/own/evaluation.json", "data"),
                            ("Operating points", "decisions/test/decisions.json", "own")):  # fmt: skip
        main(["decide", str(copy), "--sensitivity", "NV=0.8", "--no-figures"])
        found = json.loads((copy / file).read_text())
        found[key] = {**found["data"], "own": False} if key == "data" else False
        (copy / file).write_text(json.dumps(found))  # As other data that somebody has named like the run's own.
        grids = _sections(again)[name].grids
        titles = [grid.title for grid in grids]
        assert "macro F1 by sex" not in titles
        if name == "Operating points":
            assert len(grids[0].rows) == 2 * len(run.classes)


def test_limits_name_the_weak_classes(run, sections):
    points = " ".join(sections["Limits"].points)
    few = [row["class"] for row in run.metrics["test"]["per_class"] if row["support"] < 30]
    assert all(code in points for code in few)
    assert "another hospital" in points


def test_limits_name_evaluations_on_other_data(run, tmp_path):
    copy = shutil.copytree(run.path, tmp_path / "copy")
    for name, own in (("itself", True), ("elsewhere", False)):
        (copy / "evaluations" / name).mkdir(parents=True)
        (copy / "evaluations" / name / "evaluation.json").write_text(json.dumps({"data": {"own": own}}))
    again = read_run(copy)
    assert again is not None
    points = " ".join(_sections(again)["Limits"].points)
    assert "evaluations on others: elsewhere." in points
    assert "another hospital" not in points


def test_pages(run, capsys, tmp_path, monkeypatch):
    few = partial(card_results, resamples=50)
    monkeypatch.setattr(card_figures, "card_results", few)
    monkeypatch.setattr("ltmed.inference.card_results.card_results", few)
    main(["card", str(run.path)])
    page = (run.path / "card.html").read_text()
    assert page.count("data:image/svg+xml;base64,") == 6
    assert page.count('class="blank"') == len(BLANKS)
    assert not [link for link in ("http://", "https://") if link in page]
    monkeypatch.setattr(card_figures, "FIGURES", {"Calibration": ("reliability",)})
    main(["card", str(run.path), "-o", str(tmp_path / "my card.md")])
    text = (tmp_path / "my card.md").read_text()
    assert text.count("(to be filled in)") == len(BLANKS)
    assert "![reliability](my%20card_figures/reliability.svg)" in text
    assert (tmp_path / "my card_figures/reliability.svg").read_bytes().lstrip().startswith(b"<?xml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["nowhere"], "not the folder of a run"), (["RUN", "-o", "card.pdf"], "neither .html nor .md")],
)
def test_mistakes_end_in_one_line(run, capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert message in refused(
        capsys, "card", *(str(run.path) if argument == "RUN" else argument for argument in arguments)
    )
    assert not Path("card.pdf").exists()
