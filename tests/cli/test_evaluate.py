"""`ltmed evaluate` and `ltmed decide` on a run that was trained, from the command line to the files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from tests.cli.test_commands import refused, said
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
    said(capsys, "evaluate", str(run), "--no-figures")
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
    words = ["dataset=manifest", f"dataset.root={hospital}", f"map={hospital / 'map.yaml'}"]
    assert message in refused(capsys, "evaluate", str(run), *words)


def test_images_of_the_training_part_are_refused(capsys, run, hospital):
    from omegaconf import OmegaConf

    root = Path(OmegaConf.load(run / "config.yaml").dataset.root)
    tested = set(pd.read_parquet(run / "predictions.parquet")["image"])
    used = sorted(str(file.relative_to(root)) for file in root.rglob("*.jpg"))
    used = [name for name in used if name not in tested]
    shutil.copy(root / used[0], hospital / "b00.png")  # An equal file under another name.
    image = cv2.imread(str(root / used[-1]))
    cv2.imwrite(str(hospital / "b01.png"), cv2.flip(image, 1))  # One that looks the same.
    words = ["dataset=manifest", f"dataset.root={hospital}", f"map={hospital / 'map.yaml'}", "dataset.name=seen"]
    error = refused(capsys, "evaluate", str(run), *words)
    assert "2 of the 70 images" in error
    assert "1 equal files, 1 that look the same" in error
    said(capsys, "evaluate", str(run), *words, "--leave-out-trained", "--no-figures")
    found = found_in(run, "seen")
    assert found["overlap"]["left_out"] == 2
    assert len(pd.read_parquet(run / "evaluations/seen/predictions.parquet")) == 68


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--by", "colour"], "no attribute 'colour'"),
        (["--metric", "acuracy"], "'accuracy'"),
        (["seed=1"], "seed=1 would change the run"),
        (["map=x.yaml"], "map=FILE is for another data set"),
        (["--name", "../x"], "--name"),
        (["dataset=manifest"], "dataset.root is not set"),
    ],
)
def test_mistakes_end_in_one_line(capsys, run, words, message):
    assert message in refused(capsys, "evaluate", str(run), *words)


def test_an_attribute_of_many_values_is_refused(capsys, run, hospital):
    words = ["dataset=manifest", f"dataset.root={hospital}", f"map={hospital / 'map.yaml'}"]
    error = refused(capsys, "evaluate", str(run), *words, "dataset.columns.attribute=[image]", "--by", "image")
    assert "'image' has 56 different values" in error
