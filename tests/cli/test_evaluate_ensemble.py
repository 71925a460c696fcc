"""`ltmed evaluate RUN RUN ...`: the mean of several networks on images that none of them was trained on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import entropy
from sklearn.metrics import accuracy_score, log_loss

from ltmed.runs import checkpoint
from tests.cli.test_commands import refused, said
from tests.harness import TINY, ok, run_command
from tests.trained_runs import CODES, trained, untrained

pytestmark = [
    pytest.mark.slow, pytest.mark.filterwarnings("ignore:isic2018.*images, not 10015", "ignore:manifest")
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("ensemble")


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    return trained(folder, "method=erm", "split.test=0.4", "split.val=0.2")[0]


@pytest.fixture(scope="module")
def other(run: Path, folder: Path) -> Path:
    """A network of the same split with other weights."""
    copy = folder / "other"
    shutil.copytree(run, copy)
    for file in copy.glob("stages/*/*.ckpt"):
        state = checkpoint.read(file)
        state["state_dict"] = {
            key: value * 1.3 if "head" in key or "classifier" in key else value
            for key, value in state["state_dict"].items()
        }
        checkpoint.write(file, state)
    (copy / "validation.parquet").unlink()
    return copy


def scores(run: Path, name: str) -> np.ndarray:
    return pd.read_parquet(run / "evaluations" / name / "predictions.parquet")[
        [f"prob_{code}" for code in CODES]
    ].values


def found_in(run: Path, name: str) -> dict:
    return json.loads((run / "evaluations" / name / "evaluation.json").read_text())


def test_copies_of_a_run_equal_it(capsys, monkeypatch, run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns("evaluations"))
    monkeypatch.chdir(tmp_path)
    said(capsys, "evaluate", str(run), "copy", "--no-figures")
    found, recorded = found_in(run, "own-ensemble2"), json.loads((run / "metrics.json").read_text())
    assert found["test"] == recorded["test"]
    assert found["reproduces"] is None
    assert found["members"]["runs"] == [str(run), str(copy)], "which folders they were, wherever it was said"
    assert found["calibration"]["before"] is not None
    table = pd.read_parquet(run / "evaluations/own-ensemble2/predictions.parquet")
    assert table["disagreement"].abs().max() < 1e-6
    pd.testing.assert_frame_equal(table.drop(columns="disagreement"), pd.read_parquet(run / "predictions.parquet"))


def test_two_networks_are_their_mean(capsys, run, other):
    for arguments, name in (([run], "a"), ([other], "b"), ([run, other], "both")):
        said(capsys, "evaluate", *map(str, arguments), "--no-figures", "--name", name)
    one, two = scores(run, "a"), scores(other, "b")
    assert np.abs(one - two).max() > 1e-3
    assert np.abs(scores(run, "both") - (one + two) / 2).max() < 1e-6
    table = pd.read_parquet(run / "evaluations/both/predictions.parquet")
    expected = entropy((one + two) / 2, axis=1) - (entropy(one, axis=1) + entropy(two, axis=1)) / 2
    assert table["disagreement"].to_numpy() == pytest.approx(expected, abs=1e-5)
    found = found_in(run, "both")
    assert found["test"]["scalars"]["accuracy"] == pytest.approx(accuracy_score(table["label"], table["predicted"]))
    truth = [CODES.index(code) for code in table["label"]]
    mean = (one + two).astype(float) / 2
    assert found["calibration"]["before"]["nll"]["value"] == pytest.approx(
        log_loss(truth, mean / mean.sum(1, keepdims=True), labels=range(7)), abs=1e-5
    )
    # Thresholds would come from the validation predictions of the first run alone.
    assert "is of an ensemble" in refused(capsys, "decide", str(run), "--on", "both")


def test_views_are_a_mean_too_and_change_only_the_numbers(capsys, run):
    said(capsys, "evaluate", str(run), "--no-figures", "--name", "plain")
    said(capsys, "evaluate", str(run), "--no-figures", "--tta", "flips")
    assert np.abs(scores(run, "own-flips") - scores(run, "plain")).max() > 1e-4
    found = found_in(run, "own-flips")
    assert found["internal"] == json.loads((run / "metrics.json").read_text())["test"]
    assert found["reproduces"] is None
    assert "is of an ensemble or of several views" in refused(capsys, "decide", str(run), "--on", "own-flips")
    assert "'flips'" in refused(capsys, "evaluate", str(run), "--tta", "flip")


def test_images_that_any_member_was_trained_on_are_refused(capsys, run, folder):
    """Of another split: what it is trained on is in the first one's test part."""
    places = [f"dataset.root={folder / 'ham'}", f"runs={folder / 'folds'}", f"cache_dir={folder / 'cache'}"]
    ok(
        run_command(
            *TINY, "epochs=1", *places, "method=erm", "split.seed=1", "split.test=0.4", "split.val=0.2", cwd=folder
        )
    )
    (config,) = (folder / "folds").rglob("config.yaml")
    error = refused(capsys, "evaluate", str(run), str(config.parent), "--no-figures")
    assert f"{config.parent} was trained or chosen on" in error
    moved = shutil.move(folder / "ham", folder / "moved")
    try:
        root = f"dataset.root={moved}"
        for where in ([root], [root, "dataset=isic2018"]):
            error = refused(capsys, "evaluate", str(run), str(config.parent), *where, "--no-figures")
            assert "was trained or chosen on" in error
    finally:
        shutil.move(moved, folder / "ham")
    mine, theirs = (set(pd.read_parquet(path / "predictions.parquet")["image"]) for path in (run, config.parent))
    said(capsys, "evaluate", str(run), str(config.parent), "--no-figures", "--leave-out-trained", "--name", "left")
    table = pd.read_parquet(run / "evaluations/left/predictions.parquet")
    assert set(table["image"]) <= mine & theirs
    found = found_in(run, "left")
    assert found["overlap"]["left_out"] == len(mine) - len(table)
    assert found["calibration"] is None
    assert "no validation images in common" in found["calibration_missing"]


def test_runs_of_other_classes_are_refused(capsys, run, tmp_path):
    stranger = untrained(tmp_path / "run", "method=erm")
    found = json.loads((stranger / "metrics.json").read_text())
    found["test"]["per_class"] = [{"class": code, "name": code} for code in (*CODES[:-1], "OTHER")]
    found["test"]["intervals"] = {"per_class": {}}
    (stranger / "metrics.json").write_text(json.dumps(found))
    error = refused(capsys, "evaluate", str(run), str(stranger))
    assert "other classes" in error
    assert "\n" not in error.strip()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere is not the folder of a run"),
        (["runs/backbone=tiny/fold0-seed1"], "fold0-seed1 is not the folder of a run"),
        (["RUN"], "is given twice"),
        (["dataset.root=DIR", "nowhere"], "'nowhere' comes after an override"),
    ],
)
def test_what_is_neither_run_nor_override(capsys, run, arguments, message):
    arguments = [str(run) if argument == "RUN" else argument for argument in arguments]
    assert message in refused(capsys, "evaluate", str(run), *arguments)
