"""ISIC 2018: the five layouts with their traps, in miniature; the real labels where they are at hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from ltmed.data.manifest import Manifest
from ltmed.data.readers.isic2018 import ISIC2018
from ltmed.data.splits.coverage import require_training_images
from ltmed.data.splits.protocols import grouped, official, random
from ltmed.errors import UserError
from tests.data.readers.isic2018_trees import (
    CODES,
    EXPECTED,
    TRAINING,
    TRUTH,
    challenge,
    folders,
    ham10000,
    images,
    lists,
    onehot,
    skin7,
)

pytestmark = pytest.mark.filterwarnings("ignore:isic2018.*images, not 10015")


def read(root: Path) -> Manifest:
    """`read` alone: constructing the module would need the rest of a run."""
    return ISIC2018.__new__(ISIC2018).read(root)


def truth_of(manifest: Manifest) -> dict[str, str]:
    return {Path(image).stem: CODES[label] for image, label in zip(manifest.images, manifest.labels, strict=True)}


def assert_lesions(manifest: Manifest) -> None:
    """Rows with one number are exactly the rows with one lesion id."""
    assert manifest.groups is not None
    names = [Path(image).stem for image in manifest.images]
    for one, group in zip(names, manifest.groups, strict=True):
        for two, other in zip(names, manifest.groups, strict=True):
            ids = [TRUTH[name][1] if name in TRUTH else name for name in (one, two)]
            assert (group == other) == (ids[0] == ids[1])


def test_constants():
    assert ISIC2018.classes == CODES
    assert len(ISIC2018.class_names) == 7
    assert sum(ISIC2018.published_counts) == 10015


@pytest.mark.parametrize("csv_beside", [False, True])
def test_challenge_layout(tmp_path, csv_beside):
    manifest = read(challenge(tmp_path, csv_beside=csv_beside))
    part = dict(zip((Path(image).stem for image in manifest.images), manifest.parts, strict=True))
    assert len(manifest) == len(TRUTH) + 14
    assert "ISIC_0035068" not in part
    assert {name for name, where in part.items() if where == "train"} == set(TRUTH)
    actual = truth_of(manifest)
    assert {name: actual[name] for name in TRUTH} == EXPECTED
    assert [actual[f"ISIC_{34524 + number:07d}"] for number in range(7)] == list(CODES)
    assert all((tmp_path / image).is_file() for image in manifest.images)
    assert_lesions(manifest)

    split = official(manifest, 0)
    assert [len(rows) for rows in split.parts.values()] == [len(TRUTH), 7, 7]
    divided = grouped(manifest, 0)
    assert set(np.concatenate(list(divided.parts.values()))) == set(np.flatnonzero(manifest.parts == "train"))


def test_the_excluded_test_image_is_left_out_even_if_it_is_there(tmp_path):
    challenge(tmp_path)
    images(tmp_path / "ISIC2018_Task3_Test_Input", ["ISIC_0035068"])
    assert "ISIC_0035068" not in truth_of(read(tmp_path))


def test_challenge_with_training_images_only(tmp_path):
    challenge(tmp_path, official_parts=False, lesions=False)
    onehot(tmp_path / "ISIC2018_Task3_Test_GroundTruth.csv", {"ISIC_0034524": "NV"})
    manifest = read(tmp_path)
    assert manifest.parts is None
    assert manifest.groups is None
    with pytest.raises(UserError, match=r"Add ISIC2018_Task3_Training_LesionGroupings.csv .* or use split=random"):
        grouped(manifest, 0)
    with pytest.raises(UserError, match="no parts of its own"):
        official(manifest, 0)
    require_training_images(random(manifest, 0), manifest)


def test_tables_are_read_by_column_name_with_mark_line_ends_and_blank_lines(tmp_path):
    challenge(tmp_path, official_parts=False)
    onehot(tmp_path / TRAINING / f"{TRAINING}.csv", EXPECTED, codes=sorted(CODES), end="\r\n\r\n", bom="\ufeff")
    assert truth_of(read(tmp_path)) == EXPECTED


def test_a_copy_with_segmentations_beside_the_images(tmp_path):
    images(tmp_path / "images", TRUTH)
    images(tmp_path / "masks", {f"{name}_segmentation": truth for name, truth in TRUTH.items()})
    onehot(tmp_path / "GroundTruth.csv", EXPECTED)
    assert truth_of(read(tmp_path)) == EXPECTED


@pytest.mark.parametrize(
    ("suffix", "separator", "end"), [(".csv", ",", "\n"), (".csv", ",", "\r\n"), (".tab", "\t", "\n"), ("", ",", "\n")]
)
def test_ham10000_layout(tmp_path, suffix, separator, end):
    manifest = read(ham10000(tmp_path, suffix, separator, end))
    assert truth_of(manifest) == EXPECTED
    assert manifest.parts is None
    assert_lesions(manifest)


def test_repeated_copies_of_images_are_dropped(tmp_path):
    ham10000(tmp_path)
    shutil.copytree(tmp_path / "HAM10000_images_part_1", tmp_path / "copy/ham10000_images_part_1")
    images(tmp_path / "__MACOSX", ["._ISIC_0024306", "ISIC_0024306"])
    (tmp_path / "hmnist_28_28_L.csv").write_text("pixel0,label\n1,2\n")
    manifest = read(tmp_path)
    assert len(manifest) == len(TRUTH)
    assert all(image.startswith("HAM10000_images_part") for image in manifest.images)


def test_same_images_are_divided_in_the_same_way_in_every_layout(tmp_path):
    digests = set()
    for name, make in {"a": challenge, "b": ham10000}.items():
        manifest = read(make(tmp_path / name))
        digests.add(grouped(manifest, 2, folds=3).digest(manifest))
    assert len(digests) == 1


@pytest.mark.parametrize(("index", "header"), [(False, True), (True, True), (True, False)])
def test_skin7_layout(tmp_path, index, header):
    manifest = read(skin7(tmp_path, index, header))
    assert truth_of(manifest) == EXPECTED
    assert manifest.groups is None
    for fold in range(5):
        tested = [Path(manifest.images[row]).stem for row in official(manifest, fold).test]
        assert sorted(tested) == sorted(name for number, name in enumerate(TRUTH) if number % 5 == fold)


@pytest.mark.parametrize("make", [lists, folders])
def test_lists_and_class_folders(tmp_path, make):
    manifest = read(make(tmp_path))
    assert truth_of(manifest) == EXPECTED
    assert manifest.groups is None
    part = dict(zip((Path(image).stem for image in manifest.images), manifest.parts, strict=True))
    assert part == {name: "test" if number % 3 == 0 else "train" for number, name in enumerate(TRUTH)}
    assert len(official(manifest, 0).test) == sum(number % 3 == 0 for number in range(len(TRUTH)))


def test_lesions_can_be_added_to_any_layout_and_show_its_leakage(tmp_path):
    challenge(tmp_path / "a")
    folders(tmp_path / "e")
    name = "ISIC2018_Task3_Training_LesionGroupings.csv"
    shutil.copy(tmp_path / "a" / name, tmp_path / "e" / name)
    manifest = read(tmp_path / "e")
    assert_lesions(manifest)
    split = official(manifest, 0, val=0.05)
    assert split.leakage(manifest)["leaking"] > 0


def test_a_class_missing_from_the_test_folder_keeps_its_index(tmp_path):
    folders(tmp_path)
    shutil.rmtree(tmp_path / "test/bcc")
    actual = truth_of(read(tmp_path))
    assert actual == {name: code for name, code in EXPECTED.items() if name in actual}
    assert "BCC" in actual.values()


# mistakes


def test_missing_root_and_unknown_layout_print_the_layouts(tmp_path):
    with pytest.raises(UserError, match="nowhere does not exist") as caught:
        read(tmp_path / "nowhere")
    assert "HAM10000_metadata.csv" in str(caught.value)
    assert "wget" in str(caught.value)
    images(tmp_path / "pictures", ["a"])
    with pytest.raises(UserError, match="no label file of a known layout") as caught:
        read(tmp_path)
    assert "Expected layout" in str(caught.value)


@pytest.mark.parametrize(
    ("make", "gone"),
    [
        (challenge, f"{TRAINING}/{TRAINING}.csv"),
        (ham10000, "HAM10000_metadata.csv"),
        (lambda root: skin7(root, True), "ISIC2018/split_data/split_data_3_fold_test.csv"),
        (lists, "train.txt"),
        (lists, "test.txt"),
        (folders, "train"),
    ],
)
def test_the_missing_label_file_is_named(tmp_path, make, gone):
    path = make(tmp_path) / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(UserError) as caught:
        read(tmp_path)
    assert str(caught.value).startswith(f"{path} does not exist")


def test_missing_images_are_counted_per_class(tmp_path):
    ham10000(tmp_path)
    gone = [name for name, code in EXPECTED.items() if code in ("DF", "VASC")]
    for path in tmp_path.glob("*/*.jpg"):
        if path.stem in gone:
            path.unlink()
    with pytest.raises(UserError, match=rf"12 of {len(TRUTH)} listed images are not under .*\(DF 6, VASC 6\).*isic_"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: text.replace("0.0,1.0,0.0", "1.0,1.0,0.0", 1), "has not exactly one class.*MEL=1.0, NV=1.0"),
        (lambda text: text.replace("1.0", "0.0", 1), "'isic_0024306' has not exactly one class"),
        (lambda text: text.replace("1.0", "maybe", 1), "has not exactly one class.*MEL=maybe"),
        (lambda text: text.replace("AKIEC", "AK"), "no column 'AKIEC'. Did you mean 'ak'"),
        (lambda text: text.replace("image,", "picture,"), "no column 'image'"),
        (lambda text: text.replace(",0.0\n", "\n", 1), "'ISIC_0024306' has 7 cells, the header has 8"),
        (lambda text: text.splitlines()[0], "no rows under its header"),
        (lambda text: text + "ISIC_0024306,0,1,0,0,0,0,0\n", "isic_0024306 is listed twice"),
    ],
)
def test_spoilt_tables_are_named(tmp_path, spoil, message):
    path = challenge(tmp_path) / TRAINING / f"{TRAINING}.csv"
    path.write_text(spoil(path.read_text().rstrip("\n") + "\n"))
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path)
    assert str(path) in str(caught.value)


def test_contradictions_in_lists_and_folders_are_named(tmp_path):
    lists(tmp_path / "d")
    train = tmp_path / "d/train.txt"
    good = train.read_text()
    for line, message in {
        (tmp_path / "d/test.txt").read_text().splitlines()[0]: "is listed twice",
        "x.jpg 7": "class number 7 does not exist",
        "x.jpg NV": "line .*is not 'path number'",
    }.items():
        train.write_text(good + line + "\n")
        with pytest.raises(UserError, match=message):
            read(tmp_path / "d")
    order = sorted(CODES)
    for path in (train, tmp_path / "d/test.txt"):
        lines = [line.split() for line in (good if path == train else path.read_text()).splitlines()]
        path.write_text("".join(f"{image} {order.index(CODES[int(number)])}\n" for image, number in lines))
    with pytest.raises(UserError, match="not in the order MEL, NV"):
        read(tmp_path / "d")

    folders(tmp_path / "e")
    images(tmp_path / "e/train/naevus", ["ISIC_0000001"])
    with pytest.raises(UserError, match="'naevus' is not a class of isic2018"):
        read(tmp_path / "e")
    (tmp_path / "e/train/naevus").rename(tmp_path / "e/train/melanocytic_nevus")
    assert truth_of(read(tmp_path / "e"))["ISIC_0000001"] == "NV"


def test_fold_lists_that_do_not_fit_together_are_named(tmp_path):
    folder = skin7(tmp_path, False) / "ISIC2018/split_data"
    extra = (folder / "split_data_2_fold_test.csv").read_text().splitlines()[1]
    with open(folder / "split_data_2_fold_train.csv", "a") as file:
        file.write(extra + "\n")
    with pytest.raises(UserError, match="fold 2 has 1 images in both of its lists and 0"):
        read(tmp_path)


@pytest.mark.filterwarnings("default:isic2018")
def test_reduced_tables_and_missing_lesion_ids_are_warned_about(tmp_path):
    challenge(tmp_path)
    path = tmp_path / "ISIC2018_Task3_Training_LesionGroupings.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-3]))
    with (
        pytest.warns(UserWarning, match=f"has {len(TRUTH)} images, not 10015: MEL 8 of 1113"),
        pytest.warns(UserWarning, match="3 training images have no lesion id"),
    ):
        read(tmp_path)


# real labels


@pytest.mark.filterwarnings("error")
def test_real_ham10000(shared):
    manifest = read(shared / "data/ham10000")
    assert manifest.counts.tolist() == [1113, 6705, 514, 327, 1099, 115, 142]
    lesions = [len(np.unique(manifest.groups[manifest.labels == label])) for label in range(7)]
    assert lesions == [614, 5403, 327, 228, 727, 73, 98]
    assert len(np.unique(manifest.groups)) == 7470
    split = grouped(manifest, 0)
    require_training_images(split, manifest)
    assert split.leakage(manifest)["leaking"] == 0
