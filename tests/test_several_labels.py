"""A run whose images carry several labels, from its command to predictions, exports, pictures and reports."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from sklearn import metrics as sk

import ltmed
from ltmed.errors import UserError
from ltmed.evaluation.scalars import MULTILABEL_SCALARS, PER_LABEL
from ltmed.inference.export import export, load_export
from ltmed.inference.predictor import Predictor
from ltmed.plots.run import figures
from ltmed.report.build import from_runs
from ltmed.report.document import document
from ltmed.report.paired import PairedBootstrap
from ltmed.report.renderers import csv
from ltmed.runs.reader import Run
from tests.logging.test_wandb_report import require_logged
from tests.several import CLASSES, overrides, trained


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("several")


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return trained(folder)


@pytest.fixture(scope="module")
def other(folder: Path) -> Run:
    return trained(folder, "seed=1")


def test_metrics_are_those_of_its_predictions(run: Run) -> None:
    test, table = run.metrics["test"], run.predictions
    assert list(test["scalars"]) == list(MULTILABEL_SCALARS)
    assert list(run.metrics["val"]["scalars"]) == list(MULTILABEL_SCALARS)
    assert test["intervals"]["unit"] == "patient"
    assert "confusion" not in test
    assert run.multilabel
    aps, aucs = [], []
    for code, row in zip(CLASSES, test["per_class"], strict=True):
        known = table[f"label_{code}"].notna()
        truth, scores = table.loc[known, f"label_{code}"], table.loc[known, f"prob_{code}"]
        aps.append(sk.average_precision_score(truth, scores))
        aucs.append(sk.roc_auc_score(truth, scores))
        decided = table.loc[known, f"predicted_{code}"]
        np.testing.assert_array_equal(decided, scores >= np.float32(test["thresholds"][code]))
        assert row["f1"] == pytest.approx(sk.f1_score(truth, decided, zero_division=0))
        assert row["unknown"] == int((~known).sum())
        assert set(PER_LABEL) <= set(row)
    assert test["scalars"]["macro_ap"] == pytest.approx(np.mean(aps))
    assert test["scalars"]["macro_auroc"] == pytest.approx(np.mean(aucs))


def test_the_checkpoint_is_chosen_by_macro_ap_and_a_second_command_only_reports(run: Run, folder: Path) -> None:
    assert run.config.monitor == "macro_ap"
    assert trained(folder).metrics == run.metrics


def test_predictions_of_image_files_are_those_of_the_run(run: Run, folder: Path) -> None:
    table = run.predictions
    found = Predictor(run, device="cpu", threads=1)([folder / "tiny" / image for image in table["image"]])
    for code in CLASSES:
        np.testing.assert_allclose(found[f"prob_{code}"], table[f"prob_{code}"], atol=1e-5)
        clear = np.abs(table[f"prob_{code}"] - run.metrics["test"]["thresholds"][code]) > 1e-4
        np.testing.assert_array_equal(found.loc[clear, f"predicted_{code}"], table.loc[clear, f"predicted_{code}"])
    for _, row in found.iterrows():
        assert row["predicted"] == "|".join(code for code in CLASSES if row[f"predicted_{code}"] == 1)
    unreadable = Predictor(run, device="cpu", threads=1)([folder / "missing.png"])
    assert unreadable["error"].notna().all()
    assert unreadable["predicted"].isna().all()


def test_an_export_has_sigmoids_and_thresholds(run: Run, folder: Path) -> None:
    file, difference = export(run, "torch", folder / "model.pt")
    assert difference < 1e-5
    classifier = load_export(file)
    images = torch.rand(3, 3, 16, 16)
    with torch.no_grad():
        logits = classifier.network((images - classifier.mean) / classifier.std)
        torch.testing.assert_close(classifier(images), logits.sigmoid())
    about = torch.load(file, weights_only=True)["metadata"]
    assert about["thresholds"] == [run.metrics["test"]["thresholds"][code] for code in CLASSES]


def test_a_linear_probe_learns_several_labels(folder: Path) -> None:
    arguments = [
        argument for argument in overrides(folder, "method=probe", "sampler=repeat_factor") if argument != "method=erm"
    ]
    run = ltmed.train(arguments)
    table, test = run.predictions, run.metrics["test"]
    aps = []
    for code in CLASSES:
        known = table[f"label_{code}"].notna()
        aps.append(sk.average_precision_score(table.loc[known, f"label_{code}"], table.loc[known, f"prob_{code}"]))
    assert test["scalars"]["macro_ap"] == pytest.approx(np.mean(aps))


@pytest.mark.parametrize("form", ["onnx", "torchscript"])
@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated")
def test_exports_for_others_give_the_probabilities_of_the_run(run: Run, folder: Path, form: str) -> None:
    file, difference = export(run, form, folder / f"model.{'onnx' if form == 'onnx' else 'pt'}")
    assert difference < 1e-5
    files = [folder / "tiny" / image for image in run.predictions["image"][:4]]
    predictor = Predictor(run, device="cpu", threads=1)
    pixels = np.stack([predictor.preprocessing(image.read_bytes()) for image in files])
    images = (pixels.transpose(0, 3, 1, 2) / 255).astype(np.float32)
    if form == "onnx":
        session = onnxruntime.InferenceSession(str(file))
        probabilities = np.asarray(session.run(None, {"images": images})[0])
    else:
        with torch.no_grad():
            probabilities = torch.jit.load(file)(torch.from_numpy(images)).numpy()
    expected = predictor(files)[[f"prob_{code}" for code in CLASSES]].to_numpy()
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)
    assert np.abs(probabilities.sum(1) - 1).max() > 1e-2, "sigmoids, not a softmax"


def test_figures(run: Run, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        written = figures.save(run, tmp_path)
    names = {file.stem for file in written}
    assert {"ap_by_positives", "precision_recall", "co_occurrence", "class_distribution", "training_curves"} <= names
    assert not {"confusion_matrix", "recall_by_size", "reliability"} & names


def test_a_dashboard_names_what_is_logged(run: Run) -> None:
    require_logged(run, several_labels=True)


def test_a_report_has_their_metrics_and_compares_by_macro_ap(run: Run, other: Run) -> None:
    table = from_runs([run, other])
    shown = document(table)
    assert "macro AP" in shown.grids[0].headings
    assert shown.grids[1].headings == ("head AP", "medium AP", "tail AP")
    lines = csv.render(table).splitlines()
    assert any(",macro_ap,all,measured," in line for line in lines)
    assert any(",ap,tail,measured," in line for line in lines)
    assert any(",ap,rare,measured," in line for line in lines)
    assert not any("balanced_accuracy" in line for line in lines)
    assert PairedBootstrap([run], "macro_ap", resamples=20)([run]).difference == 0  # pyright: ignore
    assert "macro_ap" in csv.render_results(table)


def test_one_label_and_several_are_never_in_one_column(run: Run) -> None:
    found = json.loads(json.dumps(run.metrics))
    del found["test"]["thresholds"]
    found["test"]["scalars"] = found["test"]["intervals"]["scalars"] = {}
    single = replace(run, metrics=found)
    single.facts["fingerprint"] = "another"
    table = from_runs([run, single])
    assert len(table.columns) == 2
    assert [several for several, _ in table.by_kind()] == [False, True]


@pytest.mark.parametrize(
    ("further", "said"),
    [
        (["method=pcct", "~loss"], "exactly one class per image"),
        (["loss=ce"], "cross_entropy expects exactly one class"),
        (["monitor=balanced_accuracy"], "monitor=balanced_accuracy"),
        (["method=ldam_drw", "~loss"], "exactly one class"),
        (["class_losses=true"], "class_losses"),
        (["finetune.class_means=10"], "class_means"),
    ],
)
def test_what_needs_one_class_per_image_is_refused(folder: Path, further: list[str], said: str) -> None:
    arguments = [argument for argument in further if argument != "~loss"]
    replaced = {"epochs=2"} | ({"loss=bce", "method=erm", "batch_size=20"} if "~loss" in further else set())
    command = [argument for argument in overrides(folder, *arguments) if argument not in replaced]
    with pytest.raises(UserError, match=said):
        ltmed.train(command)
