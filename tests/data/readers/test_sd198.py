"""SD-198: class folders, the release's lists, the repack's folds."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from ltmed.data.readers.sd198 import SD198
from ltmed.data.splits.protocols import official, random
from ltmed.errors import UserError
from tests.data.readers.folder_trees import classes_of, put, reader, write

pytestmark = pytest.mark.filterwarnings("ignore:sd198.*images of")
NAMES = ("Actinic_solar_Damage(Actinic_Cheilitis)", "Beau's_Lines", "Becker's_Nevus", "Xerosis")
IMAGES = {
    f"{name}/{'photo' if n < 2 else name[:4]} {n}.jpg": name for name in NAMES for n in range(5 + NAMES.index(name))
}


def release(root: Path) -> Path:
    top = root / "sd-198"
    put(top, *(f"images/{image}" for image in IMAGES))
    write(top / "classes.txt", *(f"{number} {name}" for number, name in enumerate(NAMES, 1)), end="\r\n")
    write(top / "images.txt", *(f"{number} {image}" for number, image in enumerate(IMAGES, 1)))
    rows = (f"{number} {NAMES.index(name) + 1}" for number, name in enumerate(IMAGES.values(), 1))
    write(top / "image_class_labels.txt", *rows)
    return root


def repack(root: Path, lists: str = "8_2", folds: int = 5) -> Path:
    put(root, *(f"images/{image}" for image in IMAGES))
    lines = [f"{image} {NAMES.index(name)}" for image, name in IMAGES.items()]
    for fold in range(folds):
        write(root / f"{lists}_split/val_{fold}.txt", *(line for n, line in enumerate(lines) if n % 5 == fold))
        write(root / f"{lists}_split/train_{fold}.txt", *(line for n, line in enumerate(lines) if n % 5 != fold))
    return root


def read(root: Path, lists: str = "8_2", list_number: int | None = None, more_than: int = 0):
    return reader(SD198, lists=lists, list_number=list_number, more_than=more_than).read(root)


def names_of(manifest) -> dict[str, str]:
    return {image.removeprefix("images/"): code for image, code in classes_of(manifest).items()}


@pytest.mark.parametrize("make", [release, repack])
def test_classes_come_from_folders_and_names_may_repeat(tmp_path, make):
    manifest = read(make(tmp_path))
    assert manifest.classes == NAMES
    assert manifest.class_names[1] == "Beau's Lines"
    assert names_of(manifest) == IMAGES
    assert all((manifest.root / image).is_file() for image in manifest.images)


def test_layouts_are_divided_alike(tmp_path):
    put(tmp_path / "c", *(f"{image[:-4]}.JPG" for image in IMAGES))
    manifests = [read(release(tmp_path / "a")), read(repack(tmp_path / "b")), read(tmp_path / "c")]
    rows = [random(manifest, 2).test.tolist() for manifest in manifests]
    assert rows[0] == rows[1] == rows[2]


def test_folds_keep_the_first_line_of_each_list(tmp_path):
    manifest = read(repack(tmp_path))
    sizes = []
    for fold in range(5):
        tested = {manifest.images[row].removeprefix("images/") for row in official(manifest, fold).test}
        assert tested == {image for number, image in enumerate(IMAGES) if number % 5 == fold}
        sizes.append(len(tested))
    assert sum(sizes) == len(IMAGES)


def test_one_pair_of_lists_as_parts(tmp_path):
    manifest = read(repack(tmp_path), list_number=3)
    tested = {manifest.images[row].removeprefix("images/") for row in official(manifest, 0).test}
    assert tested == {image for number, image in enumerate(IMAGES) if number % 5 == 3}
    alone = read(repack(tmp_path / "b", folds=1))
    assert alone.folds is None
    assert sorted(set(alone.parts)) == ["test", "train"]
    with pytest.raises(UserError, match="no val_9.txt .dataset.list_number.. There are 0, 1, 2, 3, 4"):
        read(tmp_path, list_number=9)


def test_overlapping_lists_are_no_folds(tmp_path):
    repack(tmp_path, "5_5")
    folder = tmp_path / "5_5_split"
    for part in ("train", "val"):
        (folder / f"{part}_1.txt").write_bytes((folder / f"{part}_0.txt").read_bytes())
    with pytest.warns(UserWarning, match="are no folds of one set; .* dataset.list_number=0"):
        assert read(tmp_path, "5_5").folds is None
    assert np.count_nonzero(read(tmp_path, "5_5", 1).parts == "test") == len(range(0, len(IMAGES), 5))
    assert read(tmp_path, "8_2").parts is None


def test_small_classes_can_be_left_out(tmp_path):
    manifest = read(release(tmp_path), more_than=6)
    assert manifest.classes == NAMES[2:]
    assert manifest.counts.tolist() == [7, 8]
    with pytest.raises(UserError, match="No class of sd198 .* has more than 8 images"):
        read(tmp_path, more_than=8)


def test_images_that_the_release_does_not_list_are_not_used(tmp_path):
    put(release(tmp_path), "sd-198/images/Xerosis/thumbnail.jpg")
    assert names_of(read(tmp_path)) == IMAGES


@pytest.mark.parametrize(
    ("file", "pattern", "new", "message"),
    [
        (
            "classes.txt",
            "Beau's_Lines",
            "Beaus_Lines",
            "classes.txt and the folders have different classes: Beau's_Lines",
        ),
        ("classes.txt", "2 Beau", "two Beau", "classes.txt, line 2: .* is not 'number name'"),
        ("images.txt", "photo 0.jpg", "foto 0.jpg", "images.txt lists 1 images that are not there: actinic"),
        ("image_class_labels.txt", "^1 1", "1 2", "image 1 has the class 2 .Beau's_Lines., not that of its folder"),
        ("image_class_labels.txt", "^1 1", "1 x", "image 1 has the class x"),
    ],
)
def test_lists_of_the_release_that_contradict_the_folders(tmp_path, file, pattern, new, message):
    path = release(tmp_path) / "sd-198" / file
    path.write_text(re.sub(pattern, new, path.read_text(), count=1, flags=re.MULTILINE))
    with pytest.raises(UserError, match=message):
        read(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (" 0\n", " 1\n", r"val_2.txt: class number 1 is Actinic.* and, for .*, Beau's_Lines"),
        (" 0\n", " zero\n", "val_2.txt, line 1: .* is not 'path number'"),
        (".jpg 0\n", ".gif 0\n", "val_2.txt lists 1 images that are not there"),
    ],
)
def test_lists_of_the_repack_that_contradict_the_folders(tmp_path, old, new, message):
    path = repack(tmp_path) / "8_2_split/val_2.txt"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=message):
        read(tmp_path)


def test_other_mistakes_are_named(tmp_path):
    folder = repack(tmp_path) / "8_2_split"
    with open(folder / "train_4.txt", "a") as file:
        file.write((folder / "val_4.txt").read_text())
    with pytest.raises(UserError, match="is in train_4.txt and in val_4.txt"):
        read(tmp_path)
    (folder / "train_4.txt").unlink()
    with pytest.raises(UserError, match="train_4.txt does not exist, though other lists do"):
        read(tmp_path)
    put(tmp_path / "none", "1.jpg")
    with pytest.raises(UserError, match="images does not exist, and .* has no class folders"):
        read(tmp_path / "none")
    with pytest.raises(UserError, match="dataset.lists=8_3 is not known. Did you mean '8_2'"):
        SD198(lists="8_3")


@pytest.mark.filterwarnings("default:sd198")
def test_real_class_names(shared, tmp_path):
    names = (shared / "splits/sd198_classes.txt").read_text().split()
    put(tmp_path, *(f"images/{name}/1.jpg" for name in names))
    with pytest.warns(UserWarning, match="has 198 images of 198 classes, not 6584 of 198"):
        assert list(read(tmp_path).classes) == names
