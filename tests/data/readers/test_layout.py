"""Folders of images: what is a class, what is a part, what is left out, and which root was meant."""

from __future__ import annotations

import unicodedata

import pytest

from ltmed.errors import UserError
from tests.data.readers.reading import classes, labels, module, put, read, together

PARTS = ("train", "val", "test")


def some(*folders: str, number: int = 4, extension: str = ".png") -> list[str]:
    return [f"{folder}/{folder.replace('/', '_')}_{n}{extension}" for folder in folders for n in range(number)]


def folder(root, *overrides: str):
    return read("image_folder", root, *overrides)


@pytest.mark.parametrize(
    ("paths", "meant"),
    [
        (some("archive/benign", "archive/malignant"), "archive"),
        (some("a/b/benign", "a/b/malignant"), "a/b"),
        (some("chest/train/N", "chest/train/P", "chest/test/N", "chest/test/P"), "chest"),
        (some("one/x", "one/y", "two/x", "two/y"), "one"),
        (some("images/x", "images/y", "masks/x", "masks/y"), "images"),
        (some("set/train/x", "set/train/y", "docs"), "set"),
        (some("x", "y", "copy/x", "copy/y"), "copy"),
    ],
)
def test_a_root_that_is_too_high_is_refused_with_the_one_that_was_meant(tmp_path, paths, meant):
    put(tmp_path, *paths)
    with pytest.raises(UserError, match=f"dataset.root={tmp_path / meant}"):
        folder(tmp_path)


def test_the_folders_can_be_classes_all_the_same(tmp_path):
    put(tmp_path, *some("one/x", "one/y", "two/x", "two/y"))
    assert classes(folder(tmp_path, "dataset.classes=[one,two]")[0]) == {"one": 8, "two": 8}


def test_one_class_and_images_without_folders_are_refused(tmp_path):
    put(tmp_path, "a.png", "b.png")
    with pytest.raises(UserError, match="2 images, but none in a class folder.*dataset=manifest"):
        folder(tmp_path)
    put(tmp_path, "x/a.png")
    (tmp_path / "y").mkdir()
    with pytest.raises(UserError, match=r"one class folder \('x'\)"):
        folder(tmp_path)


def test_folders_with_deeper_ones_are_pointed_out(tmp_path):
    put(tmp_path, *some("data/x", "data/y", "docs"))
    manifest, messages = folder(tmp_path)
    assert classes(manifest) == {"data": 8, "docs": 4}
    assert f"if those are the classes, say dataset.root={tmp_path / 'data'}" in messages


@pytest.mark.parametrize(
    "words", [("train", "validate", "test"), ("Training", "dev", "Testing"), ("train_set", "val-set", "Test Set"),
              ("training_data", "valid", "test_images")],
)  # fmt: skip
def test_the_parts_in_many_spellings(tmp_path, words):
    put(tmp_path, *some(*(f"{text}/{label}" for text in words for label in "xy")))
    manifest, messages = folder(tmp_path)
    assert manifest.parts is not None
    actual = {image.split("/")[0]: part for image, part in zip(manifest.images, manifest.parts, strict=True)}
    assert actual == dict(zip(words, PARTS, strict=True))
    assert not messages


def test_other_folders_beside_the_parts_are_named_and_counted(tmp_path):
    put(tmp_path, *some("train/x", "train/y", "test/x", "test/y", "auto_test/x"), "test/loose.png", "loose.png")
    manifest, messages = folder(tmp_path)
    assert len(manifest) == 16
    assert "4 images in the folder 'auto_test'" in messages
    assert "1 image in 'test' itself" in messages
    assert f"1 image in {tmp_path} itself" in messages


def test_parts_inside_of_the_classes(tmp_path):
    put(tmp_path, *some("x/train", "y/train", "x/test", "y/test"))
    manifest, _ = folder(tmp_path)
    assert manifest.parts is not None
    assert classes(manifest) == {"x": 8, "y": 8}
    assert manifest.parts.tolist() == [image.split("/")[1] for image in manifest.images]


def test_training_and_validation_part_alone(tmp_path):
    put(tmp_path, *some("train/x", "train/y", "val/x", "val/y"))
    manifest, _ = folder(tmp_path)
    assert manifest.parts is not None
    assert set(manifest.parts.tolist()) == {"train", "val"}
    (tmp_path / "train").rename(tmp_path / "test")
    with pytest.raises(UserError, match="no training part"):
        folder(tmp_path)


def test_a_class_called_test(tmp_path):
    put(tmp_path, *some("control", "test"))
    with pytest.raises(UserError, match=r"dataset.classes=\[control,test\]"):
        folder(tmp_path)
    assert classes(folder(tmp_path, "dataset.classes=[control,test]")[0]) == {"control": 4, "test": 4}


def test_masks_are_left_out_with_a_warning_and_can_be_chosen(tmp_path):
    put(tmp_path, *(f"{label}/{kind}/{n}.png" for label in "xy" for kind in ("images", "masks") for n in range(4)))
    manifest, messages = folder(tmp_path)
    assert classes(manifest) == {"x": 4, "y": 4}
    assert all("/images/" in image for image in manifest.images)
    assert "8 masks of other images, in 'x/masks', 'y/masks'" in messages
    manifest, messages = folder(tmp_path, "dataset.include=*/masks/*")
    assert all("/masks/" in image for image in manifest.images)
    assert not messages
    assert len(folder(tmp_path, "dataset.include=['*/masks/*','*/images/*']")[0]) == 16
    with pytest.raises(UserError, match="no image that fits dataset.include=z"):
        folder(tmp_path, "dataset.include=z")


def test_versions_of_the_images_are_refused(tmp_path):
    put(tmp_path, *(f"{label}/{kind}/{n}.png" for label in "xy" for kind in ("images", "enhanced") for n in range(4)))
    with pytest.raises(UserError, match="x/images and x/enhanced hold files of the same names"):
        folder(tmp_path)


def test_an_image_in_two_formats_is_pointed_out(tmp_path):
    put(tmp_path, *some("x", "y"), "x/x_0.jpg")
    manifest, messages = folder(tmp_path)
    assert len(manifest) == 9
    assert "1 image called like another one but for the extension (x/x_0.jpg and x/x_0.png)" in messages


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("Melanoma", "melanoma", "nevus"), "'Melanoma' and 'melanoma' differ in spelling alone"),
        (("train/NORMAL", "train/x", "test/Normal", "test/x"), "'NORMAL' and 'Normal' differ"),
        (("nan", "x", "y"), "'nan' holds images without a label"),
        (("test/x", "test/y"), "no training part"),
    ],
)
def test_folders_that_are_no_classes(tmp_path, folders, message):
    put(tmp_path, *some(*folders))
    with pytest.raises(UserError, match=message):
        folder(tmp_path)


def test_names_of_classes_composed_differently_in_two_parts_are_one_class(tmp_path):
    names = {part: unicodedata.normalize(form, "Nävus") for part, form in (("train", "NFC"), ("test", "NFD"))}
    put(tmp_path, *some(*(f"{part}/{name}" for part, name in names.items()), "train/x", "test/x"))
    assert classes(folder(tmp_path)[0]) == {unicodedata.normalize("NFC", "Nävus"): 8, "x": 8}


def test_numbers_are_in_their_order_and_may_be_head_or_tail(tmp_path):
    put(tmp_path, *some(*map(str, range(11)), number=12))
    data = module("image_folder", tmp_path, "dataset.head=[0]", "dataset.tail=[10,9]")
    assert data.manifest.classes == tuple(map(str, range(11)))
    assert all(image.startswith(f"{label}/") for image, label in labels(data.manifest).items())
    assert (data.tiers["head"], data.tiers["tail"]) == ([0], [9, 10])
    with pytest.raises(UserError, match="'11' in the head/tail lists"):
        module("image_folder", tmp_path, "dataset.head=[11]")


def test_booleans_are_classes(tmp_path):
    put(tmp_path, *some("TRUE", "FALSE", number=12))
    data = module("image_folder", tmp_path, "dataset.classes=[TRUE,FALSE]", "dataset.tail=[FALSE]")
    assert data.manifest.classes == ("TRUE", "FALSE")
    assert data.tiers["tail"] == [1]


def test_every_extension_is_read_or_named(tmp_path):
    read_ones = ["a.jfif", "b.gif", "c.JPE", "d.dcm", "e.dib", "f.WEBP", "g.jp2", "h.ppm", "i.avif"]
    put(tmp_path, *some("x", "y"), *(f"x/{name}" for name in read_ones))
    put(tmp_path, "x/IM0001", data=b"\0" * 128 + b"DICM")
    put(tmp_path, "x/1.2.840.5", data=b"\xff\xd8\xff\xe0")
    put(tmp_path, "x/README", "x/Thumbs.db", "x/k.heic", "y/l.nii.gz", "y/m.svs", "y/n.txt", data=b"nothing")
    manifest, messages = folder(tmp_path)
    assert classes(manifest) == {"x": 4 + len(read_ones) + 2, "y": 4}
    assert "4 files that cannot be read as images ((no extension) 1, .heic 1, .nii.gz 1, .svs 1" in messages
    assert any(".txt 1" in note for note in manifest.notes)
    assert "Thumbs" not in messages


def test_patients_in_names_of_files(tmp_path):
    put(tmp_path, *(f"{part}/{label}/person{n}_{part}.png" for part in PARTS for label in "xy" for n in range(6)))
    manifest, messages = folder(tmp_path)
    assert manifest.groups is None
    assert "36 of 36 file names look as if they named one patient several times" in messages
    assert "dataset.group_pattern=" in manifest.group_source
    pattern = messages.partition("'dataset.group_pattern=")[2].partition("'")[0]
    manifest, messages = folder(tmp_path, f"dataset.group_pattern={pattern}")
    assert manifest.groups is not None
    assert len(together(manifest)) == 6
    assert "6 groups with images in several parts" in messages
    manifest, _ = folder(tmp_path, "dataset.group_pattern='(?P<patient>person[0-9]+)'")
    assert manifest.group_name == "patient"
    with pytest.raises(UserError, match="matches none of 36 paths"):
        folder(tmp_path, "dataset.group_pattern='subject([0-9]+)'")


def test_a_folder_that_links_lead_to_is_in_each_of_its_classes(tmp_path):
    put(tmp_path, *some("pool"))
    (tmp_path / "data").mkdir()
    put(tmp_path / "data", *some("y"))
    (tmp_path / "data/x").symlink_to(tmp_path / "pool")
    (tmp_path / "data/a").symlink_to(tmp_path / "data/y")
    manifest, _ = folder(tmp_path / "data")
    assert classes(manifest) == {"a": 4, "x": 4, "y": 4}
    assert set(labels(manifest).values()) == {"a", "x", "y"}


@pytest.mark.parametrize(
    "paths",
    [
        some("one/train/a", "one/train/b", "one/test/a", "one/test/b", "two/train/a", "two/train/b", "two/test/a"),
        some("train/one/a", "train/one/b", "train/two/a", "train/two/b", "test/one/a", "test/two/b"),
    ],
)
def test_classes_below_sites_are_not_taken_for_sites_whatever_parts_are_beside(tmp_path, paths):
    put(tmp_path, *paths)
    with pytest.raises(UserError, match="'one' and 'two' hold the same subfolders"):
        folder(tmp_path)
    assert folder(tmp_path, "dataset.classes=[one,two]")[0].classes == ("one", "two")


def test_one_common_subfolder_is_warned_of(tmp_path):
    put(tmp_path, *some("one/a", "one/b", "two/a", "two/c"))
    assert "one folder too high" in folder(tmp_path)[1]


def test_a_class_of_masks_is_refused(tmp_path):
    put(tmp_path, *(f"{name}/{n}.png" for name in ("benign", "malignant", "masks") for n in range(4)))
    with pytest.raises(UserError, match="'masks' holds files with the names of images"):
        folder(tmp_path)
    assert len(folder(tmp_path, "dataset.classes=[benign,malignant,masks]")[0].classes) == 3


def test_classes_called_after_masks_are_classes_where_all_are(tmp_path):
    put(tmp_path, *(f"{name}/{n}.png" for name in ("with_mask", "without_mask") for n in range(4)))
    assert folder(tmp_path)[0].classes == ("with_mask", "without_mask")


def test_one_file_in_two_classes_by_a_link_is_refused(tmp_path):
    put(tmp_path, *some("a", "b"))
    (tmp_path / "b" / "link.png").symlink_to("../a/a_0.png")
    with pytest.raises(UserError, match="one file, by a link"):
        folder(tmp_path)


def test_links_from_a_pool_elsewhere_are_images(tmp_path):
    put(tmp_path / "pool", "0.png", "1.png")
    for name, label in (("0", "a"), ("1", "b")):
        (tmp_path / "set" / label).mkdir(parents=True)
        (tmp_path / "set" / label / "x.png").symlink_to(f"../../pool/{name}.png")
    assert classes(folder(tmp_path / "set")[0]) == {"a": 1, "b": 1}


def test_archives_are_named_where_there_is_no_image(tmp_path):
    put(tmp_path, "a.zip", "b.tar.gz")
    with pytest.raises(UserError, match=r"archives \('a.zip', 'b.tar.gz'\)"):
        folder(tmp_path)
