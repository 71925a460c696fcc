"""The labels of another data set as those of a run."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from ltmed.data.manifest import Manifest
from ltmed.errors import UserError
from ltmed.inference.class_map import DROP
from ltmed.inference.other_data import classes_of_run, compared, merged, only
from ltmed.runs.predictions import Predictions
from ltmed.runs.reader import Run

UNKNOWN = float("nan")


def test_a_label_is_present_where_one_of_its_parts_is_and_unknown_where_that_could_still_be() -> None:
    labels = np.array(list(itertools.product((0, 1, UNKNOWN), repeat=3)))
    found = merged(labels, np.array([1, DROP, 1]), 3)
    assert np.isnan(found[:, [0, 2]]).all()
    for row, (first, _, last) in zip(found, labels, strict=True):
        parts = (first, last)
        expected = 1 if 1 in parts else UNKNOWN if np.isnan(parts).any() else 0
        assert row[1] == pytest.approx(expected, nan_ok=True)


def test_labels_are_compared_where_there_are_images_with_and_without() -> None:
    labels = np.array([[1, 1, 0, UNKNOWN], [0, 1, 0, UNKNOWN], [UNKNOWN, UNKNOWN, 0, UNKNOWN]], dtype=np.float32)
    part = Predictions(("a", "b", "c", "d"), np.full((3, 4), 0.5, np.float32), labels)
    assert compared(part).tolist() == [True, False, False, False]
    kept = only(part, compared(part))
    assert kept.labels[:, 0].tolist() == pytest.approx([1, 0, UNKNOWN], nan_ok=True)
    assert np.isnan(kept.labels[:, 1:]).all()
    assert kept.usable.tolist() == [True, True, False]
    single = Predictions(("a", "b"), np.full((2, 2), 0.5, np.float32), np.array([1, -1]))
    assert compared(single).tolist() == [False, True]


def a_run(*classes: str, multilabel: bool = False) -> Run:
    test = {"per_class": [{"class": code, "name": code} for code in classes]}
    return Run(Path("run"), {"test": test | ({"thresholds": {}} if multilabel else {})})


def a_manifest(labels: np.ndarray, *classes: str) -> Manifest:
    images = tuple(f"{row}.png" for row in range(len(labels)))
    return Manifest("theirs", Path(), images, labels, classes, classes)


@pytest.mark.parametrize("mapped", [True, False], ids=["map", "code"])
def test_a_label_without_a_positive_is_still_unknown_where_it_is_merged(tmp_path: Path, mapped: bool) -> None:
    theirs = ("glare", "bright" if mapped else "light")
    labels = np.array([[0, UNKNOWN], [1, UNKNOWN], [0, 0]], dtype=np.float32)
    file = tmp_path / "map.yaml"
    file.write_text("light: [glare, bright]\n" if mapped else "light: [glare]\n")
    targets = classes_of_run(a_run("light", "dark", multilabel=True), a_manifest(labels, *theirs), file).targets
    found = merged(labels, targets, 2)
    assert found[:, 0].tolist() == pytest.approx([UNKNOWN, 1, 0], nan_ok=True)
    assert np.isnan(found[:, 1]).all()


def test_a_map_may_list_classes_without_images_and_they_need_no_place(tmp_path: Path) -> None:
    manifest = a_manifest(np.array([0, 3, 3]), "AK", "SCC", "UNK", "mel")
    file = tmp_path / "map.yaml"
    file.write_text("AKIEC: [AK, SCC]\n")
    found = classes_of_run(a_run("MEL", "AKIEC"), manifest, file)
    assert found.targets.tolist() == [1, 1, DROP, 0]
    assert found.assigned == {"MEL": ["mel"], "AKIEC": ["AK", "SCC"]}
    file.write_text("AKIEC: [SCC]\n")
    with pytest.raises(UserError, match="no class for AK "):
        classes_of_run(a_run("MEL", "AKIEC"), manifest, file)
    file.write_text("AKIEC: [AK, SCX]\n")
    with pytest.raises(UserError, match="'SCX', which is no class of the data set"):
        classes_of_run(a_run("MEL", "AKIEC"), manifest, file)
