"""`ltmed evaluate`, `decide` and `card` on a run whose images carry several labels."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from ltmed.cli.main import main
from ltmed.config.targets import trusted
from ltmed.evaluation.calibration import fit_platt
from ltmed.inference.card_results import card_results
from ltmed.inference.ensemble import VIEWS
from ltmed.inference.parts import own_part
from ltmed.inference.predictor import Predictor
from ltmed.report.decisions.evaluation import evaluation_document
from ltmed.runs.reader import read_run
from tests.cli.test_commands import refused, said
from tests.several import CLASSES, trained

pytestmark = pytest.mark.filterwarnings("ignore:manifest")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return trained(tmp_path_factory.mktemp("run")).path


def found_in(run: Path, name: str) -> dict:
    return json.loads((run / "evaluations" / name / "evaluation.json").read_text())


def decided(run: Path, name: str = "test") -> dict:
    return json.loads((run / "decisions" / name / "decisions.json").read_text())


def known_of(table: pd.DataFrame, code: str) -> pd.Series:
    return table[f"label_{code}"].notna()


def test_its_own_test_part_gives_metrics_json_again(capsys, run):
    out = said(capsys, "evaluate", str(run), "--by", "sex", "--trust")
    found, recorded = found_in(run, "own"), json.loads((run / "metrics.json").read_text())
    assert found["test"] == recorded["test"]
    assert found["reproduces"] == {"exact": True, "largest_difference": 0.0}
    table = pd.read_parquet(run / "predictions.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(run / "evaluations/own/predictions.parquet"), table)
    assert [report["metric"] for report in found["subgroups"]] == ["macro_ap", *(f"auroc:{code}" for code in CLASSES)]
    # 30 test images of 15 patients: both sexes are withheld, and said to be.
    assert all(group["metric"] is None for report in found["subgroups"] for group in report["subgroups"])
    assert "macro AP by sex" in out
    assert "AUROC of each class by sex" in out
    figures = {file.name for file in (run / "evaluations/own/figures").iterdir()}
    assert figures >= {"reliability.png", "subgroups_macro_ap.png", "subgroups_auroc_rare.png"}


def test_validation_predictions_are_made_again(capsys, run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    kept = pd.read_parquet(copy / "validation.parquet")
    (copy / "validation.parquet").unlink()
    said(capsys, "decide", str(copy), "--no-figures", "--trust")
    pd.testing.assert_frame_equal(pd.read_parquet(copy / "validation.parquet"), kept)


def test_labels_of_several_views_are_decided_at_thresholds_of_the_same_views(capsys, run):
    said(capsys, "evaluate", str(run), "--tta", "flips", "--no-figures", "--trust")
    found, opened = found_in(run, "own-flips"), read_run(run)
    assert opened is not None
    with trusted(True):
        val = own_part(opened, "val", views=VIEWS["flips"]).predictions
    expected = {}
    for k, code in enumerate(CLASSES):
        known = ~np.isnan(val.labels[:, k])
        truth, scores = val.labels[known, k] == 1, val.probabilities[known, k]
        f1 = {float(cut): f1_score(truth, scores >= cut) for cut in scores}
        expected[code] = max(cut for cut, value in f1.items() if value == max(f1.values()))
    assert found["test"]["thresholds"] == pytest.approx(expected, rel=1e-5)
    assert found["test"]["thresholds"] != pytest.approx(opened.metrics["test"]["thresholds"], rel=1e-5)
    assert found["members"]["threshold_views"] == "flips"
    assert not any("views" in warning for warning in evaluation_document(found).warnings)
    table = pd.read_parquet(run / "evaluations/own-flips/predictions.parquet")
    for code in CLASSES:
        cut = np.float32(found["test"]["thresholds"][code])
        np.testing.assert_array_equal(table[f"predicted_{code}"] == 1, table[f"prob_{code}"] >= cut)
    rows = [table[known_of(table, code)] for code in CLASSES]
    scores = [
        f1_score(part[f"label_{code}"], part[f"predicted_{code}"]) for part, code in zip(rows, CLASSES, strict=True)
    ]
    assert found["test"]["scalars"]["macro_f1"] == pytest.approx(np.mean(scores))


def test_the_card_takes_the_subgroups_of_the_evaluation(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns("stages"))
    found = found_in(run, "own")
    found["subgroups"] = [{**found["subgroups"][0], "attribute": "as evaluated"}]
    opened = read_run(copy)
    assert opened is not None
    for members, taken in ((found["members"], True), (found["members"] | {"tta": "flips"}, False)):
        (copy / "evaluations/own/evaluation.json").write_text(json.dumps({**found, "members": members}))
        subgroups = card_results(opened, resamples=20).subgroups
        assert (subgroups == tuple(found["subgroups"])) == taken


def test_thresholds_of_one_view_are_said_to_be_used_with_several(capsys, run, hospital, tmp_path):
    moved = shutil.copytree(run, tmp_path / "moved", ignore=shutil.ignore_patterns("evaluations", "decisions"))
    text = (moved / "config.yaml").read_text()
    old = next(line for line in text.splitlines() if line.startswith("  root: "))
    (moved / "config.yaml").write_text(text.replace(old, "  root: null"))
    arguments = ["dataset=manifest", f"dataset.root={hospital}", "dataset.name=clinic",
             "dataset.multilabel=true", "dataset.label_columns=[dark,bright,glare,red,scar]"]  # fmt: skip
    main(
        [
            "evaluate",
            str(moved),
            *arguments,
            f"map={hospital / 'map.yaml'}",
            "--tta",
            "flips",
            "--no-figures",
            "--trust",
        ]
    )
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "chosen on one view" in line]
    assert line.startswith("warning: labels of --tta flips")
    found = found_in(moved, "clinic-flips")
    assert found["test"]["thresholds"] == json.loads((run / "metrics.json").read_text())["test"]["thresholds"]
    assert found["members"]["threshold_views"] == "none"
    said_on_page = "Labels of views flips are decided at thresholds that were chosen on one view."
    assert said_on_page in evaluation_document(found).warnings
    with pytest.warns(UserWarning, match="chosen on one view"):
        Predictor(run, tta="flips", trust=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Predictor(run, trust=True)


@pytest.fixture
def hospital(tmp_path) -> Path:
    """40 images with columns for dark, light in two parts, an unknown finding, and red without a positive."""
    rng = np.random.default_rng(5)
    lines = ["image,dark,bright,glare,red,scar"]
    for number in range(40):
        cv2.imwrite(str(tmp_path / f"b{number:02d}.png"), rng.integers(0, 255, (20, 20, 3), dtype=np.uint8))
        bright, glare = number % 4 == 0, number % 4 in (0, 1)
        dark = "" if number == 7 else int(number % 3 == 0)
        lines.append(f"b{number:02d},{dark},{int(bright)},{'' if number == 2 else int(glare)},0,{number % 2}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    (tmp_path / "map.yaml").write_text("light: [bright, glare]\ndrop: [scar]\n")
    return tmp_path


def test_another_hospital_through_a_map_of_labels(capsys, run, hospital):
    arguments = ["dataset=manifest", f"dataset.root={hospital}", "dataset.name=clinic",
             "dataset.multilabel=true", "dataset.label_columns=[dark,bright,glare,red,scar]"]  # fmt: skip
    said(capsys, "evaluate", str(run), *arguments, f"map={hospital / 'map.yaml'}", "--no-figures", "--trust")
    found = found_in(run, "clinic")
    table = pd.read_parquet(run / "evaluations/clinic/predictions.parquet")
    given = pd.read_csv(hospital / "manifest.csv")
    light = np.where((given["bright"] == 1) | (given["glare"] == 1), 1, np.where(given["glare"].isna(), np.nan, 0))
    np.testing.assert_array_equal(table["label_light"], light)
    np.testing.assert_array_equal(table["label_dark"], given["dark"])
    assert table["label_rare"].isna().all()
    # Red has no positive image there, and rare is not theirs: both are absent on both sides.
    assert found["test"]["absent"] == ["red", "rare"] == found["internal"]["absent"]
    own = pd.read_parquet(run / "predictions.parquet")
    for part, scored in ((table, found["test"]), (own, found["internal"])):
        aps, areas = [], []
        for code in ("dark", "light"):
            rows = part[known_of(part, code)]
            aps.append(average_precision_score(rows[f"label_{code}"], rows[f"prob_{code}"]))
            areas.append(roc_auc_score(rows[f"label_{code}"], rows[f"prob_{code}"]))
        assert scored["scalars"]["macro_ap"] == pytest.approx(np.mean(aps))
        assert scored["scalars"]["macro_auroc"] == pytest.approx(np.mean(areas))
    cuts = json.loads((run / "metrics.json").read_text())["test"]["thresholds"]
    both = [(known_of(table, code), table[f"label_{code}"], table[f"prob_{code}"] >= np.float32(cuts[code]))
            for code in ("dark", "light")]  # fmt: skip
    right = np.all([~known | (label == decided) for known, label, decided in both], axis=0)
    usable = np.any([known for known, *_ in both], axis=0)
    assert found["test"]["scalars"]["exact_match"] == pytest.approx(right[usable].mean())
    assert found["data"]["dropped"] == {"scar": 20}
    assert found["data"]["classes"]["light"] == ["bright", "glare"]
    said(capsys, "decide", str(run), "--on", "clinic", "--no-figures")
    rows = {(row["class"], row["criterion"]): row for row in decided(run, "clinic")["points"]}
    assert rows["rare", "youden"]["test"] is None
    assert rows["light", "youden"]["test"]["positives"] == np.nansum(light)


def test_labels_that_do_not_fit_are_refused(capsys, run, hospital):
    arguments = ["dataset=manifest", f"dataset.root={hospital}", "dataset.multilabel=true",
             "dataset.label_columns=[dark,bright,glare,scar]"]  # fmt: skip
    assert "no class for" in refused(capsys, "evaluate", str(run), *arguments)
    (hospital / "map.yaml").write_text("light: [bright, glare]\nother: [scar]\n")
    assert "'other'" in refused(capsys, "evaluate", str(run), *arguments, f"map={hospital / 'map.yaml'}")
    arguments = [
        "dataset=manifest",
        f"dataset.root={hospital}",
        "dataset.columns.label=scar",
        "dataset.classes=[plain,scarred]",
    ]
    assert "have one class" in refused(capsys, "evaluate", str(run), *arguments)


def test_thresholds_of_labels_are_those_of_calibrated_probabilities(capsys, run):
    out = said(capsys, "decide", str(run), "--sensitivity", "dark=0.9", "--specificity", "light=0.8")
    found = decided(run)
    assert [(row["class"], row["criterion"]) for row in found["points"]] == [
        ("dark", "sensitivity"), ("light", "specificity"),
    ]  # fmt: skip
    val, test = (pd.read_parquet(run / name) for name in ("validation.parquet", "predictions.parquet"))
    scores, targets = ([part[[f"{kind}_{code}" for code in CLASSES]].to_numpy(float) for part in (val, test)]
                       for kind in ("prob", "label"))  # fmt: skip
    fitted = fit_platt(scores[0], targets[0])
    assert found["calibration"]["platt"]["dark"]["slope"] == pytest.approx(fitted.slope[0])
    row, calibrated = found["points"][0], fitted(scores[1])[:, 0]
    known = ~np.isnan(targets[1][:, 0])
    positive, truth = (calibrated >= row["threshold"] - 1e-9)[known], targets[1][known, 0] == 1
    assert row["test"]["sensitivity"]["value"] == pytest.approx(positive[truth].mean())
    assert row["test"]["specificity"]["value"] == pytest.approx((~positive[~truth]).mean())
    assert row["test"]["images"] == known.sum()
    few = {code: int(np.nansum(targets[0][:, k])) for k, code in enumerate(CLASSES)}
    assert found["calibration"]["few"] == few  # 30 validation images: no label has 20 with it and 20 without.
    assert "share one" in out
    figures = {file.name for file in (run / "decisions/test/figures").iterdir()}
    assert figures == {"roc_pr_dark.png", "net_benefit_dark.png", "roc_pr_light.png", "net_benefit_light.png"}


def test_test_labels_change_nothing_that_is_fitted(capsys, run, tmp_path):
    found = []
    for name in ("plain", "permuted"):
        copy = shutil.copytree(run, tmp_path / name, ignore=shutil.ignore_patterns("stages", "evaluations"))
        if name == "permuted":
            table = pd.read_parquet(copy / "predictions.parquet")
            columns = [f"label_{code}" for code in CLASSES]
            table[columns] = table[columns].to_numpy()[np.random.default_rng(0).permutation(len(table))]
            table.to_parquet(copy / "predictions.parquet", index=False)
        said(capsys, "decide", str(copy), "--no-figures")
        found.append(decided(copy))
    one, other = found
    assert one["calibration"]["platt"] == other["calibration"]["platt"]
    assert one["calibration"]["after"] != other["calibration"]["after"]
    for a, b in zip(one["points"], other["points"], strict=True):
        assert {**a, "test": None} == {**b, "test": None}
    assert any(a["test"] != b["test"] for a, b in zip(one["points"], other["points"], strict=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--sets", "0.9"], "--sets promises one class"), (["--cost", "COST"], "--cost chooses one class")],
)
def test_what_needs_one_class_per_image_is_refused(capsys, run, tmp_path, arguments, message):
    (tmp_path / "cost.yaml").write_text("dark: {light: 3}\n")
    arguments = [str(tmp_path / "cost.yaml") if argument == "COST" else argument for argument in arguments]
    assert message in refused(capsys, "decide", str(run), *arguments)


def test_its_card_has_labels_points_and_subgroups(capsys, run, tmp_path):
    run = shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns("stages", "evaluations", "decisions"))
    said(capsys, "card", str(run))
    page = (run / "card.html").read_text()
    found = json.loads((run / "metrics.json").read_text())
    for text in ("4 labels (several an image)", "macro AP by sex", "AUROC of each class by sex", "dark, Youden",
                 f"{100 * found['test']['scalars']['macro_ap']:.1f}", "The worst label is"):  # fmt: skip
        assert text in page
    assert page.count("data:image/svg+xml;base64,") == 6


def test_the_worst_misses_of_a_label_are_explained(capsys, run, tmp_path):
    pytest.importorskip("pytorch_grad_cam")
    assert "--class dark" in refused(capsys, "explain", str(run), "--errors", "2")
    code, table = "rare", pd.read_parquet(run / "predictions.parquet")
    copy = shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns("evaluations", "decisions"))
    table["predicted_rare"] = 0  # Whatever the network of two epochs decides: some are missed.
    table.to_parquet(copy / "predictions.parquet", index=False)
    said(capsys, "explain", str(copy), "--errors", "2", "--class", code, "--neighbours", "2", "--trust")
    page = (copy / "explanations/errors.html").read_text()
    worst = table[table["label_rare"] == 1].nsmallest(2, "prob_rare")
    shown = [page.index(name) for name in worst["image"]]
    assert shown == sorted(shown)
    assert page.count("<figcaption>for rare (") == 2
    assert f"worst misses of {code}" in page
    for name, row in zip(worst["image"], worst.to_dict("records"), strict=True):
        card = page[page.index(name) :][:100_000]
        assert f"{100 * row['prob_rare']:.1f} %" in card
        assert ", ".join(one for one in CLASSES if row[f"label_{one}"] == 1) in card
    main(["plot", str(copy), "--maps", "2", "--class", code, "--trust"])
    assert "carry several labels" in capsys.readouterr().err  # The map of features.
    assert (copy / f"figures/class_maps-{code}.png").is_file()
