"""The labels of another data set as those of a run."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ltmed.inference.class_map import DROP
from ltmed.inference.other_data import compared, merged, only
from ltmed.runs.predictions import Predictions

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
