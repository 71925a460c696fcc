"""`dataset=image_folder`: classes from folders, with and without parts."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir

from ltmed.config.instantiate import build
from ltmed.data.readers.image_folder import ImageFolder
from ltmed.data.splits.protocols import official, random
from ltmed.errors import UserError
from tests.data.readers.folder_trees import reader
from tests.data.readers.isic2018_trees import images
from tests.harness import ROOT


def read(root, *overrides: str):
    """Through the yaml, with every image in the training part."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", ["dataset=image_folder", f"dataset.root={root}", "split=random", *overrides])
    return build(
        cfg.dataset, fold=0, split=build(cfg.split), evaluation=build(cfg.evaluation), cache_dir="none"
    )  # fmt: skip


def flat(root):
    images(root / "b", [f"{n}" for n in range(9)])
    images(root / "a/0001-1000", ["x1", "x2", "x3", "x4"], ".JPG")
    images(root / "a/1001-1003", ["x5", "x6", "x7"], ".PNG")
    images(root / ".ipynb_checkpoints", ["1"])
    images(root / "b/.ipynb_checkpoints", ["1"])
    images(root / "__MACOSX/b", ["1"])
    (root / "readme.txt").write_text("not an image")
    (root / "a/notes.csv").write_text("not an image")
    images(root, ["stray"])
    return root


def parted(root, val: str = "valid"):
    for part, number in (("train", 6), (val, 2), ("TEST", 2)):
        for label in "abc":
            images(root / part / label, [f"{part}{label}{n}" for n in range(number)])
    return root


def test_folders_are_the_classes_in_sorted_order(tmp_path):
    data = read(flat(tmp_path))
    manifest = data.manifest
    assert isinstance(data, ImageFolder)
    assert manifest.classes == ("a", "b")
    assert manifest.counts.tolist() == [7, 9]
    assert list(manifest.images) == sorted(manifest.images)
    assert all(image.startswith("ab"[label]) for image, label in zip(manifest.images, manifest.labels, strict=True))
    assert manifest.parts is None
    assert manifest.groups is None
    assert data.tiers is not None


def test_classes_can_be_put_in_order_and_the_set_can_be_named(tmp_path):
    manifest = read(flat(tmp_path), "dataset.classes=[b,a]", "dataset.name=mine").manifest
    assert manifest.classes == ("b", "a")
    assert manifest.counts.tolist() == [9, 7]
    assert manifest.name == "mine"
    assert ImageFolder.name == "image_folder"


@pytest.mark.parametrize("val", ["val", "valid", "Validation"])
def test_parts_are_taken_from_their_folders(tmp_path, val):
    manifest = read(parted(tmp_path, val)).manifest
    split = official(manifest, 0)
    assert [len(rows) for rows in split.parts.values()] == [18, 6, 6]
    assert all(manifest.images[row].startswith(f"{val}/") for row in split.val)
    assert len(random(manifest, 0).test) < 6


def test_a_class_that_a_part_lacks_keeps_its_number(tmp_path):
    parted(tmp_path)
    for path in (tmp_path / "TEST/a").iterdir():
        path.unlink()
    (tmp_path / "TEST/a").rmdir()
    manifest = read(tmp_path).manifest
    assert manifest.classes == ("a", "b", "c")
    labels = {image.split("/")[1]: label for image, label in zip(manifest.images, manifest.labels, strict=True)}
    assert labels == {"a": 0, "b": 1, "c": 2}


def test_an_empty_class_is_an_error_unless_allowed(tmp_path):
    (flat(tmp_path) / "c").mkdir()
    with pytest.raises(UserError, match=r"class 'c' has no image.*dataset.allow_empty=true"):
        read(tmp_path)
    with pytest.raises(UserError, match=r"no training image of class c \(0 in all\)"):
        read(tmp_path, "dataset.allow_empty=true")
    made = reader(ImageFolder, order=(), allow_empty=True, include=(), group_pattern=None)
    assert made.read(tmp_path).counts.tolist() == [7, 9, 0]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["dataset.classes=[a]"], "the folder 'b' is not in dataset.classes"),
        (["dataset.classes=[a,b,c]"], "class 'c' has no image"),
        (["dataset.classes=[a,b,a]"], "names a class twice"),
        (["dataset.root=null"], "dataset.root is not set.*Expected layout"),
        (["dataset.root=/nowhere"], "/nowhere.*Expected layout"),
    ],
)
def test_mistakes_are_named(tmp_path, overrides, message):
    with pytest.raises(UserError, match=f"(?s){message}"):
        read(flat(tmp_path), *overrides)


def test_a_folder_without_images_and_one_without_test_part(tmp_path):
    with pytest.raises(UserError, match="has no image in a class folder"):
        read(tmp_path)
    images(tmp_path / "test/a", ["1"])
    images(tmp_path / "test/b", ["1"])
    with pytest.raises(UserError, match="no training part"):
        read(tmp_path)
