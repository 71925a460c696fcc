"""`ltmed evaluate` and `ltmed decide` on a run that was trained, from the command line to the files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from ltmed.inference.decide import decide_run
from ltmed.runs.reader import read_run
from tests.cli.test_commands import refused, said
from tests.harness import ROOT
from tests.plots.cases import make_run
from tests.trained_runs import trained

pytestmark = pytest.mark.filterwarnings("ignore:isic2018.*images, not 10015", "ignore:manifest")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return trained(tmp_path_factory.mktemp("run"), "method=erm", "split.test=0.4", "split.val=0.2")[0]


@pytest.fixture
def hospital(tmp_path) -> Path:
    """70 images of another hospital: AK and SCC for AKIEC, X for none of the classes; of MEL, NV, AK, SCC, X alone."""
    rng = np.random.default_rng(5)
    lines = ["image,label,lesion,age,sex"]
    for number in range(70):
        code = ("mel", "nv", "AK", "SCC", "X")[number % 5]
        pixels = rng.integers(0, 255, (30, 30, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"b{number:02d}.png"), pixels)
        lines.append(f"b{number:02d},{code},L{number // 2},{20 + number},{('male', 'female')[number % 7 % 2]}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    (tmp_path / "map.yaml").write_text("AKIEC: [AK, SCC]\nother: [X]\n")
    return tmp_path


def found_in(run: Path, name: str) -> dict:
    return json.loads((run / "evaluations" / name / "evaluation.json").read_text())


def test_its_own_test_part_gives_metrics_json_again(capsys, run):
    old = run / "evaluations/own/figures/subgroups_sex.png"
    old.parent.mkdir(parents=True)
    old.write_text("of an earlier command, with other numbers")
    said(capsys, "evaluate", str(run), "--no-figures")
    assert not old.exists()
    found, recorded = found_in(run, "own"), json.loads((run / "metrics.json").read_text())
    assert found["test"] == recorded["test"]
    assert found["reproduces"] == {"exact": True, "largest_difference": 0.0}
    again = pd.read_parquet(run / "evaluations/own/predictions.parquet")
    pd.testing.assert_frame_equal(again, pd.read_parquet(run / "predictions.parquet"))


def test_a_run_without_validation_predictions_makes_them_again(capsys, run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    kept = pd.read_parquet(copy / "validation.parquet")
    (copy / "validation.parquet").unlink()
    said(capsys, "evaluate", str(copy), "--no-figures")
    pd.testing.assert_frame_equal(pd.read_parquet(copy / "validation.parquet"), kept)


def test_another_hospital_through_a_map(capsys, run, hospital):
    out = said(capsys, "evaluate", str(run), "dataset=manifest", f"dataset.root={hospital}", "dataset.name=bcn",
               f"map={hospital / 'map.yaml'}", "--by", "sex,age")  # fmt: skip
    found = found_in(run, "bcn")
    table = pd.read_parquet(run / "evaluations/bcn/predictions.parquet")
    assert len(table) == 70
    known = table[table["label"] != ""]
    assert len(known) == 56
    codes = table.columns[table.columns.str.startswith("prob_")].str.removeprefix("prob_")
    predicted = codes[known.filter(like="prob_").to_numpy().argmax(1)]
    assert found["test"]["scalars"]["accuracy"] == pytest.approx(accuracy_score(known["label"], predicted))
    present = ["MEL", "NV", "AKIEC"]
    recalls = [np.mean(predicted[known["label"] == code] == code) for code in present]
    assert found["test"]["scalars"]["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert found["test"]["absent"] == ["BCC", "BKL", "DF", "VASC"]
    assert {row["class"]: row["support"] for row in found["test"]["per_class"]}["AKIEC"] == 28
    assert found["other"]["images"] == 14
    assert sum(found["other"]["predicted"].values()) == 14
    assert found["data"]["classes"] == {"MEL": ["mel"], "NV": ["nv"], "AKIEC": ["AK", "SCC"], "other": ["X"]}
    assert found["test"]["intervals"]["unit"] == "lesion"
    # The internal test, in the same classes.
    own = pd.read_parquet(run / "predictions.parquet")
    own = own[own["label"].isin(present)]
    assert found["internal"]["scalars"]["balanced_accuracy"] == pytest.approx(
        balanced_accuracy_score(own["label"], own["predicted"])
    )
    assert found["overlap"] == {"checked": True, "reason": None, "equal": 0, "alike": 0, "left_out": 0}
    sexes = {group["value"]: group for group in found["subgroups"][0]["subgroups"]}
    assert sexes["female"]["images"] + sexes["male"]["images"] == 56
    for name, group in sexes.items():
        assert (group["metric"] is None) == (group["images"] < 30), name
    assert "AKIEC = AK + SCC" in out
    figures = {file.name for file in (run / "evaluations/bcn/figures").iterdir()}
    assert figures >= {"subgroups_balanced_accuracy.png", "reliability.png", "confusion_matrix.png"}


def test_a_hospital_with_one_class(capsys, run, hospital):
    (hospital / "one.yaml").write_text("drop: [X, AK, SCC, mel]\n")
    said(capsys, "evaluate", str(run), "dataset=manifest", f"dataset.root={hospital}", "dataset.name=one",
         f"map={hospital / 'one.yaml'}")  # fmt: skip
    found = found_in(run, "one")
    assert found["test"]["absent"] == ["MEL", "BCC", "AKIEC", "BKL", "DF", "VASC"]
    assert found["test"]["scalars"]["macro_auroc"] is None
    assert found["test"]["scalars"]["accuracy"] == found["test"]["scalars"]["balanced_accuracy"]
    assert found["data"]["dropped"] == {"AK": 14, "SCC": 14, "X": 14, "mel": 14}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("AKIEK: [AK]", "'AKIEC'"),
        ("AKIEC: [AKK]", "'AKK'"),
        ("AKIEC: [AK]\nNV: [AK]", "'AK' twice"),
        ("AKIEC: [AK]", "no class for SCC, X"),
        ("[AK]", "no map"),
        ("", "no map"),
    ],
)
def test_maps_that_do_not_fit(capsys, run, hospital, text, message):
    (hospital / "map.yaml").write_text(text)
    arguments = ["dataset=manifest", f"dataset.root={hospital}", f"map={hospital / 'map.yaml'}"]
    assert message in refused(capsys, "evaluate", str(run), *arguments)


def test_images_of_the_training_part_are_refused(capsys, run, hospital):
    from omegaconf import OmegaConf

    root = Path(OmegaConf.load(run / "config.yaml").dataset.root)
    tested = set(pd.read_parquet(run / "predictions.parquet")["image"])
    used = sorted(str(file.relative_to(root)) for file in root.rglob("*.jpg"))
    used = [name for name in used if name not in tested]
    shutil.copy(root / used[0], hospital / "b00.png")  # An equal file under another name.
    image = cv2.imread(str(root / used[-1]))
    cv2.imwrite(str(hospital / "b01.png"), cv2.flip(image, 1))  # One that looks the same.
    arguments = ["dataset=manifest", f"dataset.root={hospital}", f"map={hospital / 'map.yaml'}", "dataset.name=seen"]
    error = refused(capsys, "evaluate", str(run), *arguments)
    assert "2 of the 70 images" in error
    assert "1 equal files, 1 that look the same" in error
    said(capsys, "evaluate", str(run), *arguments, "--leave-out-trained", "--no-figures")
    found = found_in(run, "seen")
    assert found["overlap"]["left_out"] == 2
    assert len(pd.read_parquet(run / "evaluations/seen/predictions.parquet")) == 68


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--by", "colour"], "no attribute 'colour'"),
        (["--metric", "acuracy"], "'accuracy'"),
        (["seed=1"], "seed=1 would change the run"),
        (["dataset.cache_scale=2"], "dataset.cache_scale=2 would change the run"),
        (["dataset.intensity=range"], "dataset.intensity=range would change the run"),
        (["map=x.yaml"], "map=FILE is for another data set"),
        (["--name", "../x"], "--name"),
        (["dataset=manifest"], "dataset.root is not set"),
        (["dataset=manifest", "dataset.fit=crop"], "dataset.fit=crop would have no effect"),
        (["dataset=manifest", "dataset.intensity=[0,4095]"], "dataset.intensity=[0,4095] would have no effect"),
        (["dataset=manifest", "split=official"], "split=official would have no effect: all images"),
        (["dataset=manifest", "+pixels.mean=[0,0,0]"], "+pixels.mean=[0,0,0] would have no effect"),
    ],
)
def test_mistakes_end_in_one_line(capsys, run, arguments, message):
    assert message in refused(capsys, "evaluate", str(run), *arguments)


def test_a_metric_without_subgroups_is_refused(capsys, tmp_path):
    run = make_run(tmp_path / "run")
    assert "--metric is of subgroups" in refused(capsys, "evaluate", str(run), "--metric", "macro_f1")


def test_an_attribute_of_many_values_is_refused(capsys, run, hospital):
    arguments = ["dataset=manifest", f"dataset.root={hospital}", f"map={hospital / 'map.yaml'}"]
    error = refused(capsys, "evaluate", str(run), *arguments, "dataset.columns.attribute=[image]", "--by", "image")
    assert "'image' has 56 different values" in error


def test_a_missing_attribute_is_named_before_the_images_are_predicted(capsys, run, hospital, monkeypatch):
    monkeypatch.setattr("ltmed.inference.other_data.other_images", lambda *_: pytest.fail("predicted"))
    arguments = ["dataset=manifest", f"dataset.root={hospital}", f"map={hospital / 'map.yaml'}", "--by", "sexe"]
    assert "has no attribute 'sexe'. Did you mean 'sex'" in refused(capsys, "evaluate", str(run), *arguments)


def decided(run: Path, name: str = "test") -> dict:
    return json.loads((run / "decisions" / name / "decisions.json").read_text())


def test_decide_works_from_the_folder_alone(capsys, run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("stages", "evaluations"))
    old = copy / "decisions/test/figures/roc_pr_BCC.png"
    old.parent.mkdir(parents=True)
    old.write_text("of an earlier command, with other numbers")
    out = said(capsys, "decide", str(copy), "--sensitivity", "mel=0.9", "--specificity", "NV=0.8", "--sets", "0.9")
    assert not old.exists()
    found = decided(copy)
    assert [(row["class"], row["criterion"], row["target"]) for row in found["points"]] == [
        ("MEL", "sensitivity", 0.9), ("NV", "specificity", 0.8),
    ]  # fmt: skip
    table = pd.read_parquet(copy / "predictions.parquet")
    truth = (table["label"] == "MEL").to_numpy()
    scores = table.filter(like="prob_").to_numpy(float)
    scaled = scores ** (1 / found["calibration"]["temperature"])
    positive = (scaled / scaled.sum(1, keepdims=True))[:, 0] >= found["points"][0]["threshold"] - 1e-9
    assert found["points"][0]["test"]["sensitivity"]["value"] == pytest.approx(positive[truth].mean())
    assert found["points"][0]["test"]["specificity"]["value"] == pytest.approx((~positive[~truth]).mean())
    assert len(found["sets"]["kinds"]) == 6
    figures = {file.name for file in (copy / "decisions/test/figures").iterdir()}
    assert figures == {
        "roc_pr_MEL.png", "roc_pr_NV.png", "net_benefit_MEL.png", "net_benefit_NV.png", "coverage_by_tier.png",
    }  # fmt: skip
    assert "MEL, sensitivity 90.0" in out


def test_test_labels_change_nothing_that_is_fitted(capsys, run, tmp_path):
    found = []
    for name in ("as it is", "labels permuted"):
        copy = tmp_path / name.replace(" ", "_")
        shutil.copytree(run, copy, ignore=shutil.ignore_patterns("stages", "evaluations"))
        if name == "labels permuted":
            table = pd.read_parquet(copy / "predictions.parquet")
            table["label"] = np.random.default_rng(0).permutation(table["label"])
            table.to_parquet(copy / "predictions.parquet", index=False)
        said(capsys, "decide", str(copy), "--sets", "0.8", "--no-figures")
        found.append(decided(copy))
    one, other = found
    assert len(one["points"]) == 14
    assert one["calibration"]["temperature"] == other["calibration"]["temperature"]
    for a, b in zip(one["points"], other["points"], strict=True):
        assert a["test"] != b["test"] or a["threshold"] is None
        assert {**a, "test": None} == {**b, "test": None}
    for a, b in zip(one["sets"]["kinds"], other["sets"]["kinds"], strict=True):
        assert (a["mean_size"]["value"], a["empty"]) == (b["mean_size"]["value"], b["empty"])


def test_the_documented_lines_apply_a_threshold_to_probabilities_of_the_network(run, tmp_path, monkeypatch):
    opened = read_run(run)
    assert opened is not None
    results = decide_run(opened, resamples=20).results
    (tmp_path / "RUN/decisions/test").mkdir(parents=True)
    (tmp_path / "RUN/decisions/test/decisions.json").write_text(json.dumps(results))
    table = pd.read_parquet(run / "predictions.parquet")
    table.to_csv(tmp_path / "predictions.csv", index=False)
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs/howto/decisions.md").read_text().partition("### Apply a threshold")[2]
    lines = "\n".join(line.strip() for line in text.splitlines() if line.startswith("    "))
    checked = 0
    for index, point in enumerate(results["points"]):
        if point["threshold"] is None or not point["test"]["positives"]:
            continue
        names: dict[str, Any] = {}
        exec(lines.replace('["points"][0]', f'["points"][{index}]'), names)
        of_class = (table["label"] == point["class"]).to_numpy()
        assert names["positive"][of_class].mean() == pytest.approx(point["test"]["sensitivity"]["value"])
        assert 1 - names["positive"][~of_class].mean() == pytest.approx(point["test"]["specificity"]["value"])
        checked += 1
    assert checked > 7


def test_decide_on_another_hospital_and_by_cost(capsys, run, hospital):
    arguments = ["dataset=manifest", f"dataset.root={hospital}", "dataset.name=clinic", f"map={hospital / 'map.yaml'}"]
    said(capsys, "evaluate", str(run), *arguments, "--no-figures")
    (hospital / "cost.yaml").write_text("MEL: {NV: 20}\n")
    said(capsys, "decide", str(run), "--on", "clinic", "--cost", str(hospital / "cost.yaml"), "--no-figures")
    found = decided(run, "clinic")
    assert found["images"] == 56
    assert found["on"] == "clinic"
    rows = {(row["class"], row["criterion"]): row for row in found["points"]}
    assert rows["BCC", "youden"]["test"]["sensitivity"]["value"] is None
    assert found["costs"]["least_cost"]["recall"][0] >= found["costs"]["most_probable"]["recall"][0]
    assert "decisions/clinic is of the evaluation before" in said(
        capsys, "evaluate", str(run), *arguments, "--no-figures"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sensitivity", "MLE=0.9"], "'MEL'"),
        (["--sensitivity", "MEL"], "not CLASS=SHARE"),
        (["--specificity", "MEL=90"], "not CLASS=SHARE"),
        (["--sets", "90"], "--sets=90"),
        (["--on", "nowhere"], "no evaluation 'nowhere'"),
        (["--cost", "nothing.yaml"], "--cost=nothing.yaml cannot be read"),
        (["seed=3"], "seed=3 would change the run"),
        (["dataset=manifest", "dataset.root=."], "does not choose the images"),
    ],
)
def test_decisions_that_cannot_be_made(capsys, run, tmp_path, arguments, message):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("evaluations"))
    assert message in refused(capsys, "decide", str(copy), *arguments)
