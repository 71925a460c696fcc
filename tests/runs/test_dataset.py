"""What a run records of its data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ltmed.data.manifest import Manifest
from ltmed.data.splits.protocols import Split
from ltmed.runs import facts
from ltmed.runs.dataset import begin_data, digest_of_all
from tests.runs.test_facts import begun

MANIFEST = Manifest(
    name="toy", root=Path(), images=("a/1.jpg", "a/2.jpg", "b/3.jpg", "b/4.jpg"), labels=np.array([0, 1, 0, 1]),
    classes=("X", "Y"), class_names=("X", "Y"), groups=np.array([0, 0, 1, 2]),
)  # fmt: skip
EQUAL: dict[str, dict[str, Any]] = {
    "other numbers of the groups": {"groups": np.array([7, 7, 0, 5])},
    "other folders": {"images": ("1.jpg", "2.jpg", "3.jpg", "4.jpg"), "root": Path("elsewhere")},
    "another order": {
        "images": ("b/4.jpg", "b/3.jpg", "a/2.jpg", "a/1.jpg"), "labels": np.array([1, 0, 1, 0]),
        "groups": np.array([0, 1, 2, 2]),
    },
}  # fmt: skip
CHANGED: dict[str, dict[str, Any]] = {
    "a label": {"labels": np.array([0, 1, 0, 0])},
    "an image": {"images": ("a/1.jpg", "a/2.jpg", "b/3.jpg", "b/5.jpg")},
    "a group": {"groups": np.array([0, 0, 1, 1])},
    "no groups": {"groups": None},
}


@pytest.mark.parametrize("change", EQUAL.values(), ids=EQUAL)
def test_a_data_set_is_the_same_wherever_it_is(change: dict[str, Any]) -> None:
    assert digest_of_all(replace(MANIFEST, **change)) == digest_of_all(MANIFEST)


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED)
def test_a_data_set_that_changed_is_another(change: dict[str, Any]) -> None:
    assert digest_of_all(replace(MANIFEST, **change)) != digest_of_all(MANIFEST)


def test_every_fold_records_the_same_data_set_and_a_restart_keeps_it(tmp_path: Path) -> None:
    recorded = []
    for test in (0, 3):
        split = Split("random", np.array([1]), np.array([2]), np.array([test]))
        data: Any = SimpleNamespace(split=split, digest=split.digest(MANIFEST), manifest=MANIFEST, pixels={})
        run_dir = begun(tmp_path / str(test)).run_dir
        begin_data(run_dir, data, "/d", None)
        recorded.append(facts.read(run_dir)["split"])
        data.manifest = replace(MANIFEST, groups=None)
        begin_data(run_dir, data, "/d", None)
        assert facts.read(run_dir)["split"] == recorded[-1]
    assert recorded[0]["hash"] != recorded[1]["hash"]
    assert recorded[0]["data"] == recorded[1]["data"] == digest_of_all(MANIFEST)
