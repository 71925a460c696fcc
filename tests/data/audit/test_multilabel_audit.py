"""What `ltmed check` says of images with several labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats.contingency import association

from ltmed.data.audit import multilabel, overview
from ltmed.data.audit.problems import confounding
from ltmed.data.manifest import Manifest


def toy(labels, groups=None, sources=None) -> Manifest:
    labels = np.array(labels, np.float32)
    codes = tuple("ABCDEF"[: labels.shape[1]])
    images = tuple(f"{row}.png" for row in range(len(labels)))
    groups = None if groups is None else np.array(groups)
    return Manifest("toy", Path("/toy"), images, labels, codes, codes, groups, "patient", sources=sources)


def test_positives_unknowns_and_prevalence_are_counted():
    actual = toy([[1, 0, np.nan], [1, 1, 0], [0, 0, np.nan], [1, 0, 1]])
    lines = overview.classes(actual, ())
    rows = {line.split()[0]: line.split()[1:] for line in lines[1:5]}
    assert rows == {
        "label": ["positive", "unknown", "prevalence"],
        "A": ["3", "0", "75.00%"],
        "B": ["1", "0", "25.00%"],
        "C": ["1", "2", "50.00%"],
    }
    assert "1 images without any label, 2 with several" in "\n".join(lines)


def test_pairs_of_labels_are_counted_as_in_a_loop():
    labels = (np.random.default_rng(1).random((60, 4)) < 0.4).astype(np.float32)
    loop = [[sum(r[i] == 1 and r[j] == 1 for r in labels.tolist()) for j in range(4)] for i in range(4)]
    assert multilabel.co_occurrence(labels).tolist() == loop


@pytest.mark.parametrize(
    ("labels", "groups", "agree"),
    [
        ([[1, 0], [1, 0], [0, 1], [0, 1]], [0, 0, 1, 1], True),
        ([[1, 0], [1, 0], [0, 1], [1, 1]], [0, 0, 1, 1], False),
        ([[1, 0], [0, 1]], [0, 1], False),  # No group of several images: nothing is known.
        ([[1, 0], [1, 0], [1, 0], [1, 0]], [0, 0, 1, 1], False),
        ([[1, np.nan], [1, np.nan], [0, 1], [0, 1]], [0, 0, 1, 1], True),
    ],
)
def test_flags_of_patients_are_recognised(labels, groups, agree):
    assert multilabel.groups_always_agree(np.array(labels, np.float32), np.array(groups)) is agree
    assert bool(multilabel.flags_of_groups(toy(labels, groups))) is agree


def test_groups_and_copies_of_several_labels_are_described():
    actual = toy([[1, 1], [1, 0], [np.nan, 0], [0, 1]], [0, 0, 1, 1])
    assert "2 patients" in overview.groups(actual)[0]
    assert [rows.tolist() for rows in overview._differing(actual.labels, [np.array([0, 1]), np.array([1, 2])])] == [
        [0, 1]
    ]
    assert overview._labelled(actual, np.array([0, 2])) == ["0.png A|B", "2.png A?"]


def test_the_strongest_label_decides_on_confounding():
    rng = np.random.default_rng(2)
    labels = (rng.random((200, 3)) < 0.3).astype(np.float32)
    sources = np.where(labels[:, 1] == 1, "x", np.where(rng.random(200) < 0.5, "x", "y"))
    _, table, strength = confounding(replace(toy(labels), sources=sources))
    assert table.sum(1).tolist() == labels.sum(0).tolist()
    each = [association(np.array([[((labels[:, k] == v) & (sources == s)).sum() for s in "xy"] for v in (0, 1)]))
            for k in range(3)]  # fmt: skip
    assert strength == pytest.approx(max(each))
