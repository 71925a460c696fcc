"""Image-level splits of HAM10000 leak as much as they were measured to leak elsewhere."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from ltmed.data.manifest import Manifest
from ltmed.data.splits.protocols import Split, random
from tests.data.manifests import manifest_of

CODES = ("mel", "nv", "bcc", "akiec", "bkl", "df", "vasc")


@pytest.fixture(scope="module")
def ham10000(shared) -> Manifest:
    with open(shared / "data/ham10000/HAM10000_metadata.csv", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["image_id"])
    lesions = np.unique([row["lesion_id"] for row in rows], return_inverse=True)[1]
    return manifest_of([CODES.index(row["dx"]) for row in rows], lesions)


@pytest.mark.parametrize(
    ("options", "validation_counts", "percent"),
    [({"folds": 5}, True, 38.8), ({"test": 0.3}, True, 35.3), ({"test": 0.2, "val": 0.125}, False, 35.0)],
    ids=["80/20", "70/30", "70/10/20"],
)
def test_share_of_test_images_with_a_sibling_in_training(ham10000, options, validation_counts, percent):
    actual = []
    for seed in range(10):
        split = random(ham10000, 0, seed=seed, **options)
        if validation_counts:  # The papers train on all that is not tested.
            split = Split("random", np.sort(np.r_[split.train, split.val]), split.val[:0], split.test)
        actual.append(100 * split.leakage(ham10000)["fraction"])
    assert np.mean(actual) == pytest.approx(percent, abs=1)
