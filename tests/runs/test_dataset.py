"""What a run records of its data set."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from omegaconf import OmegaConf

from ltmed.data.manifest import Manifest
from ltmed.data.splits.protocols import Split
from ltmed.errors import UserError
from ltmed.runs import facts
from ltmed.runs.dataset import begin_data, digest_of_all, open_dataset, open_images
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
        digest = split.digest(MANIFEST)
        data: Any = SimpleNamespace(split=split, digest=digest, listed_digest=digest, manifest=MANIFEST, pixels={})
        run_dir = begun(tmp_path / str(test)).run_dir
        begin_data(run_dir, data, "/d", None)
        recorded.append(facts.read(run_dir)["split"])
        data.manifest = replace(MANIFEST, groups=None)
        begin_data(run_dir, data, "/d", None)
        assert facts.read(run_dir)["split"] == recorded[-1]
    assert recorded[0]["hash"] != recorded[1]["hash"]
    assert recorded[0]["data"] == recorded[1]["data"] == digest_of_all(MANIFEST)


class _Damaged:
    """Opens without its last training image."""

    manifest = MANIFEST
    pixels: ClassVar[dict[str, Any]] = {}

    def __init__(self, unreadable: list[int], **_: Any) -> None:
        self.unreadable = unreadable
        self.split = Split("random", np.array([0, 1]), np.array([2]), np.array([3]))
        self.listed_digest = self.digest

    @property
    def digest(self) -> str:
        return self.split.digest(self.manifest)

    def open(self) -> None:
        self.split = self.split.without(self.unreadable)


def test_a_run_continues_only_with_the_images_that_it_began_with(tmp_path: Path) -> None:
    run_dir = begun(tmp_path).run_dir
    first: Any = _Damaged([1])
    open_images(first, run_dir)
    begin_data(run_dir, first, "/d", None)
    lines = ["test 4 Y\n", "train 1 X\n", "val 3 X\n"]
    recorded = facts.read(run_dir)["split"]
    assert recorded["hash"] == hashlib.sha256("".join(lines).encode()).hexdigest()[:12]
    lines.insert(2, "train 2 Y\n")
    assert recorded["listed"] == hashlib.sha256("".join(lines).encode()).hexdigest()[:12]
    again: Any = _Damaged([1])
    open_images(again, run_dir)
    restored: Any = _Damaged([])
    with pytest.raises(UserError, match=f"was begun with the split {recorded['hash']}, but the images that can be"):
        open_images(restored, run_dir)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_label_files_are_compared_before_any_image_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir = begun(tmp_path).run_dir
    first: Any = _Damaged([1])
    open_images(first, run_dir)
    begin_data(run_dir, first, "/d", None)
    monkeypatch.setattr("ltmed.runs.dataset.build", lambda *_, **__: _Damaged([1]))
    cfg: Any = OmegaConf.create(
        {"dataset": {"root": "/d"}, "image_size": 8, "fold": 0, "split": 0, "evaluation": 0, "cache_dir": "",
         "pixels": {"interpolation": "bilinear"}}
    )  # fmt: skip
    assert open_dataset(cfg, run_dir).listed_digest == facts.read(run_dir)["split"]["listed"]
    monkeypatch.setattr(_Damaged, "manifest", replace(MANIFEST, labels=np.array([0, 0, 0, 1])))
    with pytest.raises(UserError, match="images, labels or groups"):
        open_dataset(cfg, run_dir)
